//! Text that nobody checked, on every page it reaches.

use serde_json::json;

use crate::world::{Doors, deploy};

const MARKUP: &str = "<img src=x onerror=\"executed=1\">";
const SCRIPT: &str = "</script><script>executed=1</script>";
const TURNED: &str = "safe\u{202e}gnp.exe";
const HIDDEN: &str = "pro\u{200b}duc\u{0}tion";

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_wrote_is_text_everywhere() {
    let doors = Doors::open("team").await;
    let rob = doors.signed_in("rob").await;
    let mut call = deploy("production");
    call["arguments"] =
        json!({"service": format!("{MARKUP}{SCRIPT}"), "version": format!("{TURNED}{HIDDEN}")});
    call["justification"] = json!(format!("{MARKUP}{SCRIPT}{TURNED}{HIDDEN}\nApproved by: the board"));
    let request = doors.bot_post("/v1/requests", call.to_string()).await.json();
    let (id, code) = (request["id"].as_str().unwrap(), request["short_code"].as_str().unwrap());
    assert_eq!(rob.decide(code, "deny", &format!("{MARKUP}{TURNED}")).await.status, 303);
    let mut outcome = deploy("staging");
    outcome["justification"] = json!(MARKUP);
    doors.bot_post("/v1/requests", outcome.to_string()).await;
    for path in [
        "/".to_owned(),
        "/history".to_owned(),
        format!("/r/{code}"),
        format!("/r/{id}"),
        "/audit".to_owned(),
        format!("/audit?request={code}"),
        format!("/audit/entries?request={code}"),
        "/audit?on=%3Cimg%20src=x%3E%E2%80%AE".to_owned(),
        "/audit?by=%3Cimg%20src=x%3E&resource=%3Cscript%3E".to_owned(),
        "/audit/entries?request=%3Cimg%20src=x%3E&from=%3Cb%3E".to_owned(),
        "/audit?q=%3Cimg%20src=x%20onerror=1%3E&request=%3Cimg%20src=x%3E&from=%3Cb%3E".to_owned(),
        "/agents".to_owned(),
        "/people".to_owned(),
        "/%3Cimg%20src=x%20onerror=1%3E".to_owned(),
        "/r/%3Cimg%20src=x%20onerror=1%3E".to_owned(),
        "/r/%00".to_owned(),
        "/r/%E2%80%AE".to_owned(),
    ] {
        let page = rob.get(&path).await;
        assert!(page.status < 500, "{path}: {}", page.status);
        assert!(!page.text.contains("<img"), "{path}");
        assert!(!page.text.contains("<script>"), "{path}");
        let hidden = page
            .text
            .chars()
            .find(|c| matches!(u32::from(*c), 0..=8 | 11..=31 | 0x200b..=0x200f | 0x202a..=0x202e));
        assert_eq!(hidden, None, "{path}");
    }
    let review = rob.get(&format!("/r/{code}")).await.text;
    for shown in
        ["&#60;img src=x onerror=", "safe\\u{202e}gnp.exe", "pro\\u{200b}duc\\u{0}tion", "\\nApproved by"]
    {
        assert!(review.contains(shown), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirection_carries_only_our_own_sentences() {
    let doors = Doors::open("team").await;
    let rob = doors.signed_in("rob").await;
    let request = doors.deploy("production").await;
    let page = rob.get(&format!("/r/{}?done=You+won", request["short_code"].as_str().unwrap())).await;
    assert!(page.status == 200 && !page.text.contains("You won"));
}
