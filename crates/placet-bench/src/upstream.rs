//! An MCP server that does nothing, as fast as it can: what a call of a tool costs without placet.

use std::convert::Infallible;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::Result;

/// Starts it on a thread of its own, for as long as this process lives. Gives its address, without a path.
pub(crate) fn start() -> Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = format!("http://{}", listener.local_addr()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(async move {
                    let connection =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
                    // It ends when its caller goes.
                    let _ = connection.await;
                });
            }
        });
    });
    Ok(address)
}

async fn answer(request: Request<Incoming>) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let call: Value = serde_json::from_slice(&body).unwrap_or_default();
    let result = match call.pointer("/method").and_then(Value::as_str) {
        Some("initialize") => json!({
            "protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "bench", "version": "1"}
        }),
        Some("tools/list") => json!({"tools": [{
            "name": "echo", "description": "Says it back.",
            "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
        }]}),
        Some("tools/call") => {
            json!({"content": [{"type": "text", "text": call.pointer("/params/arguments/text")}]})
        }
        _ => Value::Null,
    };
    let outcome = match &result {
        Value::Null => ("error", json!({"code": -32601, "message": "no such method"})),
        result => ("result", result.clone()),
    };
    let mut response = match call.get("id") {
        Some(id) => {
            let answer = json!({"jsonrpc": "2.0", "id": id, outcome.0: outcome.1});
            Response::new(Full::new(Bytes::from(answer.to_string())))
        }
        None => {
            let mut response = Response::new(Full::new(Bytes::new()));
            *response.status_mut() = StatusCode::ACCEPTED;
            response
        }
    };
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    Ok(response)
}
