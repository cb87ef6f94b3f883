//! The inbox as a browser without a script uses it.

use placet_server::sign_in_path;
use serde_json::json;

use crate::world::{Doors, ballot};

#[tokio::test(flavor = "multi_thread")]
async fn from_the_link_over_the_inbox_to_a_decision_and_out() {
    let doors = Doors::open("team").await;
    let rob = doors.signed_in("rob").await;
    let empty = rob.get("/").await;
    assert!(empty.text.contains("Nothing waits for you"));

    let request = doors.deploy("production").await;
    let code = request["short_code"].as_str().unwrap();
    let inbox = rob.get("/").await;
    assert!(inbox.text.contains(&format!("href=\"/r/{code}\"")), "{}", inbox.text);
    let review = rob.get(&format!("/r/{code}")).await;
    for shown in
        ["example.deploy", "production", "1.4.2", "the fix is in 1.4.2", "advisory", "bot", "ann", code]
    {
        assert!(review.text.contains(shown), "{shown}");
    }
    let fields = ballot(&review, "approve", "looked at it");
    let answer =
        rob.post(&format!("/r/{code}/vote"), &fields.each_ref().map(|(n, v)| (*n, v.as_str()))).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    let location = answer.headers["location"].to_str().unwrap();
    let after = rob.get(location).await;
    assert!(after.text.contains("Your approval is on record") && after.text.contains("looked at it"));
    assert!(!after.text.contains(">Approve<"), "nothing is left to approve");

    let history = rob.get("/history").await;
    assert!(history.text.contains(code));
    for (path, shown) in [
        ("/audit", "rob approved at"),
        ("/audit/entries", "vote.cast"),
        ("/policy", "ask.cedar"),
        ("/people", "rob"),
        ("/agents", "bot"),
        ("/audit/entries?kind=vote.cast", "vote.cast"),
    ] {
        let page = rob.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.text.contains(shown), "{path}");
    }

    let out = rob.post("/sign-out", &[("token", &fields[0].1)]).await;
    assert_eq!(out.status, 303);
    assert!(out.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    let inbox = rob.get("/").await;
    assert_eq!(inbox.status, 401);
    assert!(inbox.text.contains("You are not signed in") && !inbox.text.contains("/history"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_strict_and_private() {
    let doors = Doors::open("team").await;
    let rob = doors.signed_in("rob").await;
    let request = doors.deploy("production").await;
    let review = format!("/r/{}", request["short_code"].as_str().unwrap());
    let link = sign_in_path(&doors.world.link("ann").await);
    for path in [
        "/",
        "/history",
        &review,
        "/audit",
        "/audit/entries",
        "/policy",
        "/people",
        "/agents",
        "/nothing",
        "/r/0000-0000",
        &link,
    ] {
        let page = rob.get(path).await;
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
        ] {
            assert_eq!(page.headers[name], value, "{path}");
        }
        assert!(!page.text.contains("<script>") && !page.text.contains(" style="), "{path}: nothing inline");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn assets_are_kept_for_ever_under_their_hash() {
    let doors = Doors::open("team").await;
    let rob = doors.signed_in("rob").await;
    let page = rob.get("/").await.text;
    let mut found = 0;
    for quoted in page.split('"').filter(|part| part.starts_with("/assets/")) {
        let asset = doors.send(doors.http.get(doors.at(quoted))).await;
        assert_eq!(asset.status, 200, "{quoted}");
        assert!(asset.headers["cache-control"].to_str().unwrap().contains("immutable"));
        let other = quoted.replace("/assets/", "/assets/0");
        assert_eq!(doors.send(doors.http.get(doors.at(&other))).await.status, 404);
        found += 1;
    }
    assert_eq!(found, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_shown_any_number_of_times_and_work_once() {
    let doors = Doors::open("team").await;
    let path = sign_in_path(&doors.world.link("rob").await);
    for _ in 0..3 {
        let page = doors.send(doors.http.get(doors.at(&path))).await;
        assert_eq!(page.status, 200);
        assert!(page.text.contains("Sign in as rob"));
        assert!(!page.headers.contains_key("set-cookie"));
    }
    let post = |origin: Option<&str>| {
        let call = doors.http.post(doors.at(&path));
        doors.send(origin.into_iter().fold(call, |call, origin| call.header("origin", origin)))
    };
    assert_eq!(post(None).await.status, 403, "no page of ours sent it");
    assert_eq!(post(Some("http://elsewhere.test")).await.status, 403);
    assert_eq!(post(Some(&doors.reviewers)).await.status, 303);
    let used = post(Some(&doors.reviewers)).await;
    assert_eq!(used.status, 404);
    assert!(used.text.contains("link_unusable") && !used.headers.contains_key("set-cookie"));
    assert_eq!(doors.send(doors.http.get(doors.at(&path))).await.status, 404);
    assert_eq!(doors.send(doors.http.get(doors.at("/join/nonsense"))).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_anew_ends_the_session_before() {
    let doors = Doors::open("team").await;
    let before = doors.signed_in("rob").await;
    let path = sign_in_path(&doors.world.link("ann").await);
    let call =
        doors.http.post(doors.at(&path)).header("origin", &doors.reviewers).header("cookie", &before.cookie);
    let answer = doors.send(call).await;
    assert_eq!(answer.status, 303);
    let after = answer.headers["set-cookie"].to_str().unwrap();
    assert!(!after.starts_with(&before.cookie), "rotated");
    assert_eq!(before.get("/").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_good_for_its_host_only() {
    let doors = Doors::open("team").await;
    let rob = doors.signed_in("rob").await;
    let by_number = format!("http://127.0.0.1:{}/", doors.reviewers_address.port());
    let answer = doors.send(doors.http.get(by_number).header("cookie", &rob.cookie)).await;
    assert_eq!(answer.status, 401);
    let rebound = doors.http.get(doors.at("/")).header("host", "evil.example").header("cookie", &rob.cookie);
    let answer = doors.send(rebound).await;
    assert_eq!(answer.status, 421);
    assert!(!answer.text.contains("Sign out"));
    assert_eq!(rob.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_that_comes_late_says_what_happened_and_leads_on() {
    let doors = Doors::open("team").await;
    let rob = doors.signed_in("rob").await;
    let request = doors.deploy("production").await;
    let (id, code) = (request["id"].as_str().unwrap(), request["short_code"].as_str().unwrap());
    let page = rob.get(&format!("/r/{code}")).await;
    let fields = ballot(&page, "approve", "my <b>reason</b>");
    let fields = fields.each_ref().map(|(n, v)| (*n, v.as_str()));
    doors.bot_post(&format!("/v1/requests/{id}/cancel"), "").await;
    let late = rob.post(&format!("/r/{id}/vote"), &fields).await;
    assert_eq!(late.status, 409);
    for shown in
        ["Your vote did not count", "withdrew it", "cancelled", "my &#60;b&#62;reason", "already_decided"]
    {
        assert!(late.text.contains(shown), "{shown}\n{}", late.text);
    }
    assert!(late.text.contains(&format!("href=\"/r/{code}\"")));
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_without_their_token_or_origin_or_whole_decide_nothing() {
    let doors = Doors::open("team").await;
    let (rob, ann) = (doors.signed_in("rob").await, doors.signed_in("ann").await);
    let request = doors.deploy("production").await;
    let path = format!("/r/{}/vote", request["id"].as_str().unwrap());
    let page = rob.get(&format!("/r/{}", request["short_code"].as_str().unwrap())).await;
    let fields = ballot(&page, "approve", "");
    let fields = fields.each_ref().map(|(n, v)| (*n, v.as_str()));
    let with = |name: &str, value: &'static str| {
        fields.map(|(field, old)| if field == name { (field, value) } else { (field, old) })
    };
    for (fields, status) in [
        (with("token", "forged"), 403),
        (with("token", ""), 403),
        (with("verdict", "maybe"), 400),
        (with("version", "x"), 400),
        (with("version", "999"), 409),
        (with("digest", "sha256:00"), 400),
        (with("card", "x"), 400),
    ] {
        let answer = rob.post(&path, &fields).await;
        assert_eq!(answer.status, status, "{fields:?}");
        assert!(answer.text.contains("<h1>"), "a page, not a document");
    }
    for left_out in ["token", "digest", "version", "card", "verdict"] {
        let fields: Vec<_> = fields.into_iter().filter(|(name, _)| *name != left_out).collect();
        assert_eq!(rob.post(&path, &fields).await.status, 400, "without {left_out}");
    }
    for origin in [None, Some("null"), Some("http://elsewhere.test")] {
        assert_eq!(rob.post_from(origin, &path, &fields).await.status, 403, "{origin:?}");
    }
    assert_eq!(ann.post(&path, &fields).await.status, 403, "another session's token");
    let still = doors.bot_get(&format!("/v1/requests/{}", request["id"].as_str().unwrap())).await;
    assert_eq!(still.json()["status"], "pending");
    assert_eq!(rob.post(&path, &fields).await.status, 303, "the same form, whole and from here, counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_vote_is_told_why_and_gets_no_form() {
    let doors = Doors::open("team").await;
    let ann = doors.signed_in("ann").await;
    let request = doors.deploy("production").await;
    let page = ann.get(&format!("/r/{}", request["short_code"].as_str().unwrap())).await;
    assert!(page.text.contains("You cannot vote on this") && page.text.contains("sponsor"), "{}", page.text);
    assert!(!page.text.contains(">Approve<") && !page.text.contains(">Deny<"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_outcomes_are_resolved_by_a_named_person() {
    let doors = Doors::open("team").await;
    let rob = doors.signed_in("rob").await;
    let request = doors.deploy("production").await;
    let id = request["id"].as_str().unwrap();
    assert_eq!(rob.decide(request["short_code"].as_str().unwrap(), "approve", "").await.status, 303);
    let claim = json!({"digest": request["digest"], "claim": "c"}).to_string();
    let claimed = doors.bot_post(&format!("/v1/requests/{id}/execution"), claim).await.json();
    let outcome =
        json!({"execution_id": claimed["execution_id"], "outcome": "unknown", "summary": "lost contact"});
    doors.bot_post(&format!("/v1/requests/{id}/outcome"), outcome.to_string()).await;
    let page = rob.get(&format!("/r/{id}")).await;
    assert!(
        page.text.contains("What really happened?") && page.text.contains("lost contact"),
        "{}",
        page.text
    );
    let token = page.field("token");
    let path = format!("/r/{id}/resolution");
    assert_eq!(rob.post(&path, &[("token", "x"), ("text", "it worked")]).await.status, 403);
    assert_eq!(rob.post(&path, &[("token", &token), ("text", " ")]).await.status, 400);
    assert_eq!(rob.post(&path, &[("token", &token), ("text", "it worked")]).await.status, 303);
    let page = rob.get(&format!("/r/{id}")).await;
    assert!(page.text.contains("it worked") && !page.text.contains("What really happened?"));
    assert_eq!(rob.post(&path, &[("token", &token), ("text", "it did not")]).await.status, 409);
}
