//! The client of the official Rust SDK, driven as `clients/driver.mjs` says: an address, `auto` for the newest revision
//! where it is spoken, questions on standard input and answers on standard output. It is as it comes, and waits for ever.

use std::collections::HashMap;

use rmcp::model::{CallToolRequestParams, ProtocolVersion};
use rmcp::service::{ClientLifecycleMode, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{RoleClient, serve_client_with_lifecycle};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

type Session = RunningService<RoleClient, ()>;
type Failure = Box<dyn std::error::Error>;

async fn open(url: &str, token: &str, auto: bool) -> Result<Session, Failure> {
    let config = StreamableHttpClientTransportConfig::with_uri(url).auth_header(token);
    let mode = match auto {
        true => ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: None,
        },
        false => ClientLifecycleMode::Initialize,
    };
    Ok(serve_client_with_lifecycle((), StreamableHttpClientTransport::from_config(config), mode).await?)
}

async fn answered(session: &Session, asked: &Value) -> Result<Value, Failure> {
    match asked["op"].as_str() {
        Some("open") => Ok(Value::Null),
        Some("list") => Ok(serde_json::to_value(session.list_all_tools().await?)?),
        Some("call") => {
            let call: CallToolRequestParams =
                serde_json::from_value(json!({"name": asked["name"], "arguments": asked["arguments"]}))?;
            Ok(serde_json::to_value(session.call_tool(call).await?)?)
        }
        _ => Err("there is no such question".into()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let environment: HashMap<String, String> = std::env::vars().collect();
    let (url, auto) = (&arguments[1], arguments.get(2).is_some_and(|mode| mode == "auto"));
    let token = &environment["PLACET_AGENT_TOKEN"];
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut session: Option<Session> = None;
    while let Some(line) = lines.next_line().await? {
        let asked: Value = serde_json::from_str(&line)?;
        if asked["op"] == "open"
            && let Some(former) = session.take()
        {
            // It may be broken, which is why it is opened anew.
            let _ = former.cancel().await;
        }
        let answer = async {
            let known = match session.take() {
                Some(known) => known,
                None => open(url, token, auto).await?,
            };
            answered(session.insert(known), &asked).await
        };
        let answer = match answer.await {
            Ok(answer) => json!({"ok": answer}),
            Err(error) => json!({"error": error.to_string()}),
        };
        println!("{answer}");
    }
    Ok(())
}
