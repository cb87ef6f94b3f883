//! Who learns why: reviewers and operators all of it, agents counts and reasons.

use serde_json::{Value, json};

use crate::world::Doors;

/// What stands in the guard of the starter, and nowhere else.
const SECRETS_OF_POLICY: [&str; 5] =
    ["resource.environment", "Environment::", "ask.cedar", "context.approvals", "did not hold"];

#[tokio::test(flavor = "multi_thread")]
async fn agents_read_counts_and_reasons_and_no_policy() {
    let doors = Doors::open("team").await;
    let asked = doors.deploy("production").await;
    let id = asked["id"].as_str().unwrap();
    let unknown = json!({
        "action": "example.deploy", "resource": {"type": "Example", "id": "nowhere"}, "arguments": {},
    });
    let refused = doors.bot_post("/v1/requests", unknown.to_string()).await.json();
    assert_eq!(refused["status"], "refused");
    let mut seen = vec![asked.to_string(), refused.to_string()];
    for path in [format!("/v1/requests/{id}"), "/v1/requests".to_owned()] {
        seen.push(doors.bot_get(&path).await.text);
    }
    doors.signed_in("rob").await.decide(asked["short_code"].as_str().unwrap(), "deny", "no").await;
    seen.push(doors.bot_get(&format!("/v1/requests/{id}")).await.text);
    for text in &seen {
        for secret in
            SECRETS_OF_POLICY.iter().chain(&["\"rob\"", "\"explained\"", "\"decisions\"", "\"hint\""])
        {
            assert!(!text.contains(secret), "{secret} is told to agents: {text}");
        }
    }
    let guard = &asked["review"]["requirement"]["guards"][0];
    assert_eq!(guard["title"], "Deployment to production");
    for path in [format!("/v1/requests/{id}/explanation"), format!("/admin/v1/requests/{id}/explanation")] {
        assert_eq!(doors.bot_get(&path).await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reviewers_read_why_part_by_part() {
    let doors = Doors::open("team").await;
    let asked = doors.deploy("production").await;
    let code = asked["short_code"].as_str().unwrap();
    let page = doors.signed_in("rob").await.get(&format!("/r/{code}")).await.text;
    for part in [
        "How policy decided",
        "asked because resource.environment is production; 0 of 1 reviewers",
        "ask.cedar:",
        "held: resource.environment is production",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let token = doors.world.person_token("rob").await;
    let review = doors.http.get(doors.at(&format!("/v1/reviews/{code}"))).bearer_auth(token);
    let review: Value = doors.send(review).await.json();
    let told = &review["decisions"][0];
    assert_eq!(told["sentence"], "asked because resource.environment is production; 0 of 1 reviewers");
    assert_eq!(told["policies"][0]["parts"][0]["held"], true);
    assert!(told["policies"][0]["place"].as_str().unwrap().starts_with("ask.cedar:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_page_shows_what_is_staged_and_who_changed_what() {
    let doors = Doors::open("team").await;
    let rob = doors.signed_in("rob").await;
    let before = rob.get("/policy").await.text;
    assert!(before.contains("activation 1") && !before.contains("<h2>Staged</h2>"), "{before}");
    let active = doors.world.broker.policy().await.unwrap();
    let mut files: std::collections::BTreeMap<String, Vec<u8>> =
        active.files.into_iter().map(|(path, text)| (path, text.into_bytes())).collect();
    let never = files.get_mut("never.cedar").unwrap();
    never.extend_from_slice(b"// <b>nothing</b> yet\n");
    let staged = doors.world.broker.stage(&doors.world.operator, files).await.unwrap();
    let page = rob.get("/policy").await.text;
    assert!(page.contains("<h2>Staged</h2>") && page.contains(&staged.digest.to_string()), "{page}");
    assert!(page.contains("+// &#60;b&#62;nothing&#60;/b&#62; yet"), "{page}");
    assert!(page.contains("ann staged"), "{page}");
}
