//! An auditor's question over HTTP: what fits, what is refused and how, and who is not told anything.

use std::time::Duration;

use placet_testkit::world::World;
use serde_json::Value;

use crate::world::{Answer, Doors};

/// Monday 2026-09-21, 14:13:20 UTC, is when every world begins.
const MONDAY: &str = "2026-09-21";

/// On Monday afternoon a deployment that rob approves, and one that he denies; on Tuesday night one to staging.
async fn history(doors: &Doors) -> [String; 3] {
    let rob = doors.signed_in("rob").await;
    let id = |request: &Value| request["id"].as_str().unwrap().to_owned();
    let approved = doors.deploy("production").await;
    let code = |request: &Value| request["short_code"].as_str().unwrap().to_owned();
    assert_eq!(rob.decide(&code(&approved), "approve", "looked at it").await.status, 303);
    doors.world.clock.advance(Duration::from_secs(3600));
    let mut other = crate::world::deploy("production");
    other["arguments"]["version"] = "1.4.3".into();
    let denied = doors.bot_post("/v1/requests", other.to_string()).await.json();
    assert_eq!(rob.decide(&code(&denied), "deny", "not today").await.status, 303);
    doors.world.clock.advance(Duration::from_secs(8 * 3600));
    let free = doors.deploy("staging").await;
    [id(&approved), id(&denied), id(&free)]
}

async fn asked(doors: &Doors, token: &str, query: &str) -> Answer {
    let address = doors.at(&format!("/v1/audit/requests?{query}"));
    doors.send(doors.http.get(address).bearer_auth(token)).await
}

fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let requests = answer.json()["requests"].as_array().unwrap().clone();
    requests.iter().map(|request| request["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_has_the_requests_that_fit_and_no_others() {
    let doors = Doors::open("team").await;
    let [approved, denied, free] = history(&doors).await;
    let token = doors.world.person_token("rob").await;
    let all = vec![&free, &denied, &approved];
    for (query, expected) in [
        (String::new(), all.clone()),
        ("action=example.deploy".into(), all.clone()),
        ("action=data.export".into(), vec![]),
        ("by=bot".into(), all.clone()),
        ("by=ann".into(), all.clone()),
        ("by=rob".into(), vec![]),
        ("reviewer=rob".into(), vec![&denied, &approved]),
        ("reviewer=rob&verdict=deny".into(), vec![&denied]),
        ("verdict=approve".into(), vec![&approved]),
        ("resource=Example::%22staging%22".into(), vec![&free]),
        ("resource=Example::staging".into(), vec![&free]),
        ("resource=Example::%22%25%22".into(), vec![]),
        ("resource=Example::%22x%27%20OR%20%271%27=%271%22".into(), vec![]),
        ("status=denied,refused".into(), vec![&denied]),
        (format!("request={denied}"), vec![&denied]),
        ("on=monday".into(), all.clone()),
        ("on=monday+afternoon".into(), vec![&denied, &approved]),
        ("on=monday&between=15:00-16:00".into(), vec![&denied]),
        ("on=monday&between=15:00-16:00&happened=asked".into(), vec![&denied]),
        ("on=monday&between=15:00-16:00&happened=started".into(), vec![]),
        // A quarter past eleven in the evening is Tuesday in Berlin, and still Monday evening in New York.
        ("on=tuesday&tz=Europe/Berlin".into(), vec![&free]),
        ("on=today&tz=Europe/Berlin".into(), vec![&free]),
        ("on=yesterday&tz=Europe/Berlin".into(), vec![&denied, &approved]),
        ("on=monday+afternoon&tz=America/New_York".into(), vec![]),
        ("on=monday+evening&tz=America/New_York".into(), vec![&free]),
        (format!("from={MONDAY}&to={MONDAY}"), all.clone()),
        (format!("from={MONDAY}T15:00&to={MONDAY}T16:00:00Z"), vec![&denied]),
        ("limit=200".into(), all),
    ] {
        let answer = asked(&doors, &token, &query).await;
        assert_eq!(ids(&answer).iter().collect::<Vec<_>>(), expected, "{query}");
    }
    let answer = asked(&doors, &token, &format!("request={approved}")).await.json();
    let content = &answer["requests"][0]["content"];
    assert_eq!(content["requester"]["name"], "bot");
    assert_eq!(content["on_behalf_of"]["name"], "ann");
    assert_eq!(content["resource"]["id"], "production");
    let vote = &content["votes"][0];
    assert_eq!((&vote["person"]["name"], &vote["verdict"]), (&"rob".into(), &"approve".into()));
    assert_eq!(vote["reason"], "looked at it");
    // Whoever is asked by code, in pages, and for the whole story.
    let code = content["short_code"].as_str().unwrap();
    assert_eq!(ids(&asked(&doors, &token, &format!("request={code}")).await), [approved.as_str()]);
    let first = asked(&doors, &token, "limit=2").await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!(ids(&asked(&doors, &token, &format!("limit=2&cursor={cursor}")).await), [approved.as_str()]);
    let address = doors.at(&format!("/v1/audit/requests/{code}"));
    let story = doors.send(doors.http.get(address).bearer_auth(&token)).await.json();
    assert_eq!(story["request"], answer["requests"][0]);
    let card = story["cards"][0].as_str().unwrap();
    let hash = placet_core::digest::Sha256Digest::of(card.as_bytes()).to_string();
    assert_eq!(vote["card"], hash.as_str(), "the card as it was shown");
    assert!(story["timeline"].as_array().unwrap().len() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_means_nothing_says_what_to_write() {
    let doors = Doors::open("team").await;
    history(&doors).await;
    let token = doors.world.person_token("rob").await;
    let long = "x".repeat(5000);
    for (query, code) in [
        ("by=nobody", "unknown_name"),
        ("by=", "unknown_name"),
        ("by=%27%3B+DROP+TABLE+entry%3B--", "unknown_name"),
        ("reviewer=bot", "unknown_name"),
        ("reviewer=ro%25", "unknown_name"),
        (&format!("by={long}"), "unknown_name"),
        ("resource=staging", "bad_resource"),
        ("action=%25", "bad_action"),
        ("on=someday", "bad_time"),
        ("on=monday&tz=Mars/Olympus", "bad_time"),
        ("on=monday&from=2026-09-21", "bad_time"),
        ("between=1:00-2:00", "bad_time"),
        ("request=0000-0000", "unknown_request"),
        ("request=%27", "unknown_request"),
        ("status=done", "bad_query"),
        ("verdict=maybe", "bad_query"),
        ("happened=once", "bad_query"),
        ("cursor=1", "bad_query"),
        ("limit=201", "bad_query"),
        ("limit=99999999999999999999", "bad_query"),
        ("text=x", "bad_query"),
        ("by=bot&by=ann", "bad_query"),
    ] {
        let answer = asked(&doors, &token, query).await;
        assert_eq!(answer.problem(), (400, code.to_owned()), "{query}: {}", answer.text);
        assert!(answer.text.len() < 1000, "nothing long is repeated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_without_a_person_is_told_anything() {
    let doors = Doors::open("team").await;
    let [approved, ..] = history(&doors).await;
    for path in [
        "/v1/audit/requests".to_owned(),
        "/v1/audit/requests?by=nobody".to_owned(),
        format!("/v1/audit/requests/{approved}"),
        "/v1/audit/requests/req_00000000000000000000000000".to_owned(),
        "/v1/audit/log?from=0".to_owned(),
    ] {
        for token in [None, Some(doors.bot.as_str()), Some("pla_x")] {
            let mut call = doors.http.get(doors.at(&path));
            if let Some(token) = token {
                call = call.bearer_auth(token);
            }
            let answer = doors.send(call).await;
            assert_eq!(answer.problem(), (401, "unauthenticated".into()), "{path}");
        }
        let at_agents = doors.bot_get(&path).await;
        assert_eq!(at_agents.status, 404, "{path}: agents have no such door");
    }
    for page in ["/audit", "/audit?by=nobody", "/audit/entries"] {
        let answer = doors.send(doors.http.get(doors.at(page))).await;
        assert!(answer.status == 401 && !answer.text.contains("nobody"), "{page}");
    }
    let token = doors.world.person_token("rob").await;
    let missing = doors.at("/v1/audit/requests/req_00000000000000000000000000");
    let answer = doors.send(doors.http.get(missing).bearer_auth(&token)).await;
    assert_eq!(answer.problem(), (404, "not_found".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_followed_from_an_index_on() {
    let doors = Doors::open("team").await;
    history(&doors).await;
    let token = doors.world.person_token("rob").await;
    let follow = async |query: &str| {
        let address = doors.at(&format!("/v1/audit/log?{query}"));
        doors.send(doors.http.get(address).bearer_auth(&token)).await
    };
    let mut next = 0;
    let mut seen = Vec::new();
    loop {
        let page = follow(&format!("from={next}&limit=4")).await.json();
        let entries = page["entries"].as_array().unwrap();
        if entries.is_empty() {
            break;
        }
        seen.extend(entries.iter().map(|entry| entry["index"].as_u64().unwrap()));
        next = page["next"].as_u64().unwrap();
    }
    assert_eq!(seen, (0..next).collect::<Vec<_>>(), "every entry once, in order");
    assert_eq!(follow("").await.json()["next"], next, "without an index it begins at the end");
    let problem = follow(&format!("from={}", next + 1)).await.problem();
    assert_eq!(problem, (400, "index_ahead".into()), "another log");
    // One that waits hears of the next entry when it is written.
    let waits = format!("from={next}&wait=50");
    let (heard, ()) = tokio::join!(follow(&waits), async {
        doors.world.person("eve", &[]).await;
    });
    let heard = heard.json();
    assert_eq!(heard["entries"][0]["index"], next);
    assert_eq!(heard["entries"][0]["sentence"], "ann added the person eve.");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_asks_the_same_and_keeps_what_was_typed() {
    let doors = Doors::open("team").await;
    let [approved, denied, free] = history(&doors).await;
    let rob = doors.signed_in("rob").await;
    let page = rob.get("/audit?action=example.deploy&on=monday+afternoon&verdict=deny&by=bot&tz=UTC").await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert!(page.text.contains(&denied) && !page.text.contains(&approved) && !page.text.contains(&free));
    for shown in [
        "value=\"monday afternoon\"",
        "<option value=\"deny\" selected>",
        "rob denied at 2026-09-21 15:13:20: not today",
        "agent bot asked, on behalf of ann,",
        "From 2026-09-21 12:00:00 until 2026-09-21 18:00:00 UTC.",
        &format!("/audit/entries?request={denied}"),
        &format!("placet audit show {denied}"),
    ] {
        assert!(page.text.contains(shown), "{shown} in {}", page.text);
    }
    for (query, says) in [
        ("by=nobody", "No agent or person is or was called"),
        ("on=someday", "is no day"),
        ("before=x", "no page of the search"),
        ("status=done", "no such state"),
        ("request=zz", "No request has the id or code"),
    ] {
        let page = rob.get(&format!("/audit?{query}")).await;
        assert!(page.status == 400 && page.text.contains(says), "{query}: {}", page.text);
    }
    assert!(rob.get("/audit?unknown=1").await.status == 200);
    many(&doors.world, &doors).await;
    let page = rob.get("/audit?by=bot").await;
    let older = page.text.split("href=\"/audit?before=").nth(1).unwrap();
    let older = older.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
    let second = rob.get(&format!("/audit?before={older}")).await;
    assert!(second.status == 200 && second.text.contains(&approved), "{}", second.text);
}

/// More requests than fit on a page.
async fn many(world: &World, doors: &Doors) {
    for number in 0..26 {
        world.clock.advance(Duration::from_secs(5));
        let mut call = crate::world::deploy("staging");
        call["arguments"]["version"] = format!("2.{number}").into();
        assert_eq!(doors.bot_post("/v1/requests", call.to_string()).await.status, 201);
    }
}
