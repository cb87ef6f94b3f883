//! The reviewers' API: person tokens, sessions used by programs, votes, entries, the ledger's files.

use placet_api::client::{ListReviews, Reviewers};
use placet_api::review::{VerdictWord, VoteRequest};
use placet_core::digest::Sha256Digest;
use placet_core::entry::Kind;
use placet_core::secret::Secret;
use placet_store::EntryFilter;
use serde_json::json;

use crate::world::{Doors, ballot};

fn client(doors: &Doors, token: &str) -> Reviewers {
    Reviewers::new(&doors.reviewers, Secret::new(token.as_bytes())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_reads_and_denies_and_approves_only_where_policy_says_so() {
    let doors = Doors::open("team").await;
    let request = doors.deploy("production").await;
    let rob = client(&doors, &doors.world.person_token("rob").await);
    let list = rob.reviews(&ListReviews { mine: true, ..ListReviews::default() }).await.unwrap();
    assert_eq!(list.reviews.len(), 1);
    let line = list.reviews.first().unwrap();
    assert!(line.may_vote && line.my_vote.is_none());
    assert!(line.missing.as_deref().unwrap().contains("reviewers"), "{:?}", line.missing);

    let code = request["short_code"].as_str().unwrap();
    let review = rob.review(code).await.unwrap();
    assert_eq!(review.request.id, request["id"]);
    assert_eq!(Sha256Digest::of(review.card_bytes.as_bytes()).to_string(), review.card_hash);
    assert!(review.standing.may_deny && !review.standing.may_approve);
    assert_eq!(review.standing.code.as_deref(), Some("token_may_not_approve"));
    assert_eq!(review.timeline.first().unwrap().kind, "request.received");

    let mut vote = VoteRequest {
        verdict: VerdictWord::Approve,
        reason: None,
        digest: review.request.digest.clone(),
        version: review.request.content_version,
        card: Some(review.card_hash.clone()),
    };
    let refused = rob.vote(&review.request.id, &vote).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (Some(403), Some("token_may_not_approve")));
    vote.card = None;
    assert_eq!(rob.vote(&review.request.id, &vote).await.unwrap_err().code(), Some("missing_card"));

    vote.verdict = VerdictWord::Deny;
    vote.reason = Some("no\u{202e}t now".into());
    let denied = rob.vote(&review.request.id, &vote).await.unwrap();
    assert_eq!(denied.status.as_str(), "denied");
    assert_eq!(rob.vote(code, &vote).await.unwrap_err().code(), Some("already_decided"));
    let after = rob.review(&review.request.id).await.unwrap();
    assert_eq!(after.votes.first().unwrap().reason.as_deref(), Some("no\\u{202e}t now"));
}

#[tokio::test(flavor = "multi_thread")]
async fn votes_name_what_was_read() {
    let doors = Doors::open("team").await;
    let request = doors.deploy("production").await;
    let rob = client(&doors, &doors.world.person_token("rob").await);
    let review = rob.review(request["id"].as_str().unwrap()).await.unwrap();
    let vote = VoteRequest {
        verdict: VerdictWord::Deny,
        reason: None,
        digest: review.request.digest.clone(),
        version: review.request.content_version,
        card: Some(review.card_hash.clone()),
    };
    for (altered, status, code) in [
        (VoteRequest { digest: "0".repeat(64), ..vote.clone() }, 409, "other_digest"),
        (VoteRequest { digest: "sha256:0".into(), ..vote.clone() }, 400, "bad_digest"),
        (VoteRequest { version: 9, ..vote.clone() }, 409, "content_moved"),
        (VoteRequest { card: Some("0".repeat(64)), ..vote.clone() }, 409, "content_moved"),
        (VoteRequest { card: Some("x".into()), ..vote.clone() }, 400, "bad_card"),
    ] {
        let refused = rob.vote(&review.request.id, &altered).await.unwrap_err();
        assert_eq!((refused.status(), refused.code()), (Some(status), Some(code)));
    }
    assert_eq!(
        doors.bot_get(&format!("/v1/requests/{}", review.request.id)).await.json()["status"],
        "pending"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sponsor_and_strangers_have_no_vote() {
    let doors = Doors::open("team").await;
    doors.world.person("eve", &[]).await;
    let request = doors.deploy("production").await;
    let id = request["id"].as_str().unwrap();
    for (name, code) in [("ann", "self_approval"), ("eve", "no_standing")] {
        let person = client(&doors, &doors.world.person_token(name).await);
        let review = person.review(id).await.unwrap();
        let vote = VoteRequest {
            verdict: VerdictWord::Deny,
            reason: None,
            digest: review.request.digest.clone(),
            version: review.request.content_version,
            card: None,
        };
        let refused = person.vote(id, &vote).await.unwrap_err();
        assert_eq!((refused.status(), refused.code()), (Some(403), Some(code)), "{name}");
    }
    let rob = doors.signed_in("rob").await;
    let refused = rob.get(&format!("/v1/audit/entries?kind=vote.refused&request={id}")).await.json();
    assert_eq!(refused["entries"].as_array().unwrap().len(), 2, "each refused vote is an entry");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_agent_gets_in() {
    let doors = Doors::open("team").await;
    let request = doors.deploy("production").await;
    let vote = format!("/v1/reviews/{}/votes", request["id"].as_str().unwrap());
    for path in ["/v1/reviews", "/v1/audit/entries", "/log/checkpoint", "/v1/reviews/events"] {
        let answer = doors.send(doors.http.get(doors.at(path)).bearer_auth(&doors.bot)).await;
        assert_eq!(answer.problem(), (401, "unauthenticated".into()), "{path}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("agent's token"));
    }
    let body =
        json!({"verdict": "approve", "digest": request["digest"], "version": 1, "card": "0".repeat(64)});
    let call =
        doors.http.post(doors.at(&vote)).bearer_auth(&doors.bot).header("content-type", "application/json");
    assert_eq!(doors.send(call.body(body.to_string())).await.problem(), (401, "unauthenticated".into()));
    let rob = doors.signed_in("rob").await;
    let noted = rob.get("/v1/audit/entries?kind=intake.refused").await.json();
    assert_eq!(noted["entries"].as_array().unwrap().len(), 1);
    for path in ["/", "/v1/reviews"] {
        assert_eq!(doors.send(doors.http.get(doors.at(path))).await.status, 401, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_changes_things_only_with_origin_and_token() {
    let doors = Doors::open("team").await;
    let request = doors.deploy("production").await;
    let rob = doors.signed_in("rob").await;
    let page = rob.get(&format!("/r/{}", request["short_code"].as_str().unwrap())).await;
    let [(_, token), (_, digest), _, (_, card), ..] = ballot(&page, "deny", "");
    let body = json!({"verdict": "deny", "digest": digest, "version": 1, "card": card}).to_string();
    let url = doors.at(&format!("/v1/reviews/{}/votes", request["id"].as_str().unwrap()));
    let call = |origin: Option<&str>, token: Option<&str>| {
        let mut call =
            doors.http.post(&url).header("cookie", &rob.cookie).header("content-type", "application/json");
        call = origin.into_iter().fold(call, |call, origin| call.header("origin", origin));
        call = token.into_iter().fold(call, |call, token| call.header("x-placet-form-token", token));
        doors.send(call.body(body.clone()))
    };
    let own = doors.reviewers.clone();
    assert_eq!(call(None, Some(&token)).await.problem(), (403, "foreign_origin".into()));
    assert_eq!(
        call(Some("http://elsewhere.test"), Some(&token)).await.problem(),
        (403, "foreign_origin".into())
    );
    assert_eq!(call(Some("null"), Some(&token)).await.problem(), (403, "foreign_origin".into()));
    assert_eq!(call(Some(&own), None).await.problem(), (403, "foreign_form".into()));
    assert_eq!(call(Some(&own), Some(&"0".repeat(64))).await.problem(), (403, "foreign_form".into()));
    assert_eq!(call(Some(&own), Some(&token)).await.status, 200, "the same call with both is a vote");
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_say_nothing_but_that_something_changed() {
    let doors = Doors::open("team").await;
    let rob = doors.signed_in("rob").await;
    let mut hints =
        doors.http.get(doors.at("/v1/reviews/events")).header("cookie", &rob.cookie).send().await.unwrap();
    doors.deploy("production").await;
    let hint = String::from_utf8(hints.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert_eq!(hint, "event: changed\ndata: {}\n\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledgers_files_are_served_as_published_and_nothing_else_is() {
    let doors = Doors::open("team").await;
    doors.deploy("production").await;
    let note = doors.world.broker.publish().await.unwrap();
    let rob = doors.signed_in("rob").await;
    let checkpoint = rob.get("/log/checkpoint").await;
    assert_eq!(checkpoint.status, 200);
    assert!(checkpoint.text.starts_with(note.split('\n').next().unwrap()));
    let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
    let tile = rob.get(&format!("/log/tile/0/000.p/{size}")).await;
    assert_eq!(tile.status, 200, "{}", tile.text);
    for path in ["/log/tile/0/000.p/0", "/log/tile/0/..%2f..%2fcheckpoint", "/log/tile/0/999", "/log/keys"] {
        assert_eq!(rob.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_searched_by_kind_request_and_time() {
    let doors = Doors::open("team").await;
    let request = doors.deploy("production").await;
    let id = request["id"].as_str().unwrap();
    let rob = doors.signed_in("rob").await;
    let of = async |query: &str| {
        let answer = rob.get(&format!("/v1/audit/entries?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        answer.json()["entries"].as_array().unwrap().len()
    };
    assert_eq!(of(&format!("request={id}")).await, 1);
    assert_eq!(of("kind=request.received,person.signed_in").await, 2);
    assert_eq!(of("to=2026-01-01T00:00:00Z").await, 0);
    assert_eq!(of("limit=1").await, 1);
    for query in ["kind=nonsense", "request=x", "from=yesterday", "cursor=x", "limit=0", "q=1"] {
        let answer = rob.get(&format!("/v1/audit/entries?{query}")).await;
        assert_eq!(answer.problem(), (400, "bad_query".into()), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_that_tries_to_vote_is_told_on() {
    let doors = Doors::open("team").await;
    let request = doors.deploy("production").await;
    let code = request["short_code"].as_str().unwrap();
    let rob = doors.signed_in("rob").await;
    let token = doors.world.person_token("rob").await;
    let form = ballot(&rob.get(&format!("/r/{code}")).await, "approve", "");
    let form = form.each_ref().map(|(name, value)| (*name, value.as_str()));
    doors.world.broker.disable_person(&doors.world.operator, "rob").await.unwrap();
    let noted = async || {
        let filter = EntryFilter { kinds: vec![Kind::VoteRefused], limit: 200, ..EntryFilter::default() };
        doors.world.broker.entries(filter).await.unwrap().len()
    };
    for path in ["/", "/v1/reviews", &format!("/r/{code}"), &format!("/v1/reviews/{code}")] {
        assert_eq!(rob.get(path).await.status, 401, "{path}");
    }
    assert_eq!(noted().await, 0, "who only reads is turned away, and that is all");
    for _ in 0..3 {
        assert_eq!(rob.post(&format!("/r/{code}/vote"), &form).await.status, 401);
    }
    assert_eq!(noted().await, 1);
    let votes = doors.at(&format!("/v1/reviews/{}/votes", request["id"].as_str().unwrap()));
    let call = doors.http.post(&votes).bearer_auth(&token).header("content-type", "application/json");
    assert_eq!(doors.send(call.body("{}")).await.problem(), (401, "unauthenticated".into()));
    assert_eq!(noted().await, 2);
    let never = "placet_person_".to_owned() + &"0".repeat(64);
    let call = doors.http.post(&votes).bearer_auth(never).header("content-type", "application/json");
    assert_eq!(doors.send(call.body("{}")).await.problem(), (401, "unauthenticated".into()));
    assert_eq!(noted().await, 2, "what never was a credential is nobody's");
}
