//! The overview: what it counts, and who may see it.

use std::time::Duration;

use crate::world::Doors;

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_counts_what_waits_what_was_decided_and_how_it_ended() {
    let doors = Doors::open("team").await;
    let rob = doors.signed_in("rob").await;
    let empty = rob.get("/overview").await;
    assert_eq!(empty.status, 200);
    assert!(
        empty.text.contains("Nobody is waited for") && empty.text.contains("No guard asked"),
        "{}",
        empty.text
    );

    let denied = doors.deploy("production").await;
    doors.world.clock.advance(Duration::from_secs(125));
    let code = denied["short_code"].as_str().unwrap();
    assert_eq!(rob.decide(code, "deny", "not today").await.status, 303);
    doors.world.clock.advance(Duration::from_secs(61));
    doors.deploy("production").await;
    doors.world.clock.advance(Duration::from_secs(10));

    let numbers: serde_json::Value =
        serde_json::from_str(&rob.get("/v1/overview?window=day").await.text).unwrap();
    assert_eq!(numbers["waiting"]["count"], 1, "{numbers}");
    assert!(numbers["waiting"]["oldest"].is_string());
    assert!(!numbers["waiting"]["roles"].as_array().unwrap().is_empty(), "{numbers}");
    for window in numbers["time_to_decide"].as_array().unwrap() {
        assert_eq!(
            (window["count"].as_u64(), window["median_seconds"].as_u64()),
            (Some(1), Some(125)),
            "{window}"
        );
    }
    let stretches = numbers["outcomes"].as_array().unwrap();
    assert_eq!(stretches.len(), 24);
    assert_eq!(stretches.iter().map(|each| each["denied"].as_u64().unwrap()).sum::<u64>(), 1);
    assert_eq!(numbers["requesters"][0]["name"], "bot");
    assert_eq!(numbers["requesters"][0]["count"], 2);
    assert_eq!(numbers["guards"][0]["count"], 2, "{numbers}");
    assert_eq!(numbers["votes"]["cast"], 1);

    let page = rob.get("/overview?window=day").await;
    for shown in ["<svg", "2 min 5 s", "bot", "As a table", "aria-current=\"true\">24 hours"] {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
    assert!(!page.text.contains("style="), "inline styles are not allowed here");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_people_see_the_overview_and_only_windows_that_there_are() {
    let doors = Doors::open("team").await;
    let rob = doors.signed_in("rob").await;
    for path in ["/overview?window=year", "/v1/overview?window=", "/v1/overview?window=day&x=1"] {
        assert_eq!(rob.get(path).await.status, 400, "{path}");
    }
    for path in ["/overview", "/v1/overview"] {
        let nobody = doors.http.get(doors.at(path));
        assert_eq!(doors.send(nobody).await.status, 401, "{path}");
        let agent = doors.http.get(doors.at(path)).bearer_auth(&doors.bot);
        assert_eq!(doors.send(agent).await.status, 401, "{path}");
    }
}
