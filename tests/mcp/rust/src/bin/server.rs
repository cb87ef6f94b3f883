//! A server on the official Rust SDK: what the conformance suite asks for, and two tools for the tests around. With `stdio`
//! it speaks over standard input and output; otherwise it says its address on a line of its own.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams, CompleteResult,
    ErrorData, GetPromptRequestParams, GetPromptResponse, GetPromptResult, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ProgressNotificationParam, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult,
    ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::stdio;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler, ServiceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";

#[derive(Clone, Default)]
struct Reference;

type Context = RequestContext<RoleServer>;

/// What the SDK makes of it.
fn model<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

fn text(text: impl Into<String>) -> Value {
    json!({"type": "text", "text": text.into()})
}

fn resource(uri: &str, mime: &str, text: &str) -> Value {
    json!({"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": text}})
}

fn tools() -> Value {
    let plain = json!({"type": "object", "properties": {}});
    let with = |properties: Value, required: &[&str]| json!({"type": "object", "properties": properties, "required": required});
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {"$anchor": "addressDef", "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
        "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]}, "phone": {"type": "string"}, "email": {"type": "string"}},
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    });
    let named = |name: &str, schema: &Value| json!({"name": name, "description": name.replace(['_', '-'], " "), "inputSchema": schema});
    let mut tools: Vec<Value> = [
        "test_simple_text",
        "test_image_content",
        "test_audio_content",
        "test_embedded_resource",
        "test_multiple_content_types",
        "test_tool_with_progress",
        "test_error_handling",
    ]
    .map(|name| named(name, &plain))
    .into();
    tools.push(named("json_schema_2020_12_tool", &schema));
    tools.push(named("echo", &with(json!({"message": {"type": "string"}}), &["message"])));
    let number = json!({"type": "number"});
    tools.push(named("get-sum", &with(json!({"a": number, "b": number}), &["a", "b"])));
    json!({ "tools": tools })
}

fn called(name: &str, arguments: &Value) -> Result<Value, ErrorData> {
    let image = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
    let content = match name {
        "test_simple_text" => vec![text("This is a simple text response for testing.")],
        "test_image_content" => vec![image],
        "test_audio_content" => vec![json!({"type": "audio", "data": WAV, "mimeType": "audio/wav"})],
        "test_embedded_resource" => {
            vec![resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")]
        }
        "test_multiple_content_types" => {
            let mixed = resource(
                "test://mixed-content-resource",
                "application/json",
                r#"{"test":"data","value":123}"#,
            );
            vec![text("Multiple content types test:"), image, mixed]
        }
        "test_tool_with_progress" => vec![text("It went on.")],
        "test_error_handling" => {
            let said = text("This tool intentionally returns an error for testing");
            return Ok(json!({"content": [said], "isError": true}));
        }
        "json_schema_2020_12_tool" => vec![text(arguments.to_string())],
        "echo" => vec![text(format!("Echo: {}", arguments["message"].as_str().unwrap_or_default()))],
        "get-sum" => {
            let (a, b) = (&arguments["a"], &arguments["b"]);
            let sum = a.as_i64().unwrap_or_default() + b.as_i64().unwrap_or_default();
            vec![text(format!("The sum of {a} and {b} is {sum}."))]
        }
        _ => return Err(ErrorData::invalid_params(format!("there is no tool {name}"), None)),
    };
    Ok(json!({ "content": content }))
}

fn read(uri: &str) -> Option<Value> {
    let template = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
    let mut found = match (uri, template) {
        ("test://static-text", _) => {
            json!({"mimeType": "text/plain", "text": "This is the content of the static text resource."})
        }
        ("test://static-binary", _) => json!({"mimeType": "image/png", "blob": PNG}),
        (_, Some(id)) => {
            let data = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
            json!({"mimeType": "application/json", "text": data.to_string()})
        }
        _ => return None,
    };
    found["uri"] = json!(uri);
    Some(json!({ "contents": [found] }))
}

fn prompted(name: &str, arguments: &Value) -> Option<Value> {
    let argument = |name: &str| arguments[name].as_str().unwrap_or_default().to_owned();
    let contents = match name {
        "test_simple_prompt" => vec![text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => {
            let (one, two) = (argument("arg1"), argument("arg2"));
            vec![text(format!("Prompt with arguments: arg1='{one}', arg2='{two}'"))]
        }
        "test_prompt_with_embedded_resource" => {
            let embedded =
                resource(&argument("resourceUri"), "text/plain", "Embedded resource content for testing.");
            vec![embedded, text("Please process the embedded resource above.")]
        }
        "test_prompt_with_image" => {
            vec![
                json!({"type": "image", "data": PNG, "mimeType": "image/png"}),
                text("Please analyze the image above."),
            ]
        }
        _ => return None,
    };
    let messages: Vec<Value> =
        contents.into_iter().map(|content| json!({"role": "user", "content": content})).collect();
    Some(json!({ "messages": messages }))
}

impl ServerHandler for Reference {
    fn get_info(&self) -> ServerConfig {
        model(json!({
            "capabilities": {"tools": {}, "resources": {}, "prompts": {}, "completions": {}},
            "serverInfo": {"name": "rust-reference", "version": "1.0.0"},
            "protocolVersion": "2025-11-25",
        }))
        .unwrap_or_default()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        model(tools())
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        if call.name == "test_tool_with_progress"
            && let Some(token) = context.meta.get_progress_token()
        {
            for progress in [0.0, 50.0, 100.0] {
                let param = ProgressNotificationParam::new(token.clone(), progress).with_total(100.0);
                // Whoever hung up hears nothing.
                let _ = context.peer.notify_progress(param).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let arguments = call.arguments.map(Value::Object).unwrap_or_default();
        let result: CallToolResult = model(called(&call.name, &arguments)?)?;
        Ok(result.into())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        let named =
            |uri: &str, mime: &str| json!({"uri": uri, "name": uri, "description": uri, "mimeType": mime});
        model(
            json!({"resources": [named("test://static-text", "text/plain"), named("test://static-binary", "image/png")]}),
        )
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = json!({"uriTemplate": "test://template/{id}/data", "name": "template", "mimeType": "application/json"});
        model(json!({ "resourceTemplates": [template] }))
    }

    async fn read_resource(
        &self,
        asked: ReadResourceRequestParams,
        _: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let missing = || ErrorData::resource_not_found("Resource not found", Some(json!({"uri": asked.uri})));
        let result: ReadResourceResult = model(read(&asked.uri).ok_or_else(missing)?)?;
        Ok(result.into())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        let prompt = |name: &str, arguments: &[&str]| {
            let arguments: Vec<Value> =
                arguments.iter().map(|name| json!({"name": name, "required": true})).collect();
            json!({"name": name, "description": name.replace('_', " "), "arguments": arguments})
        };
        model(json!({"prompts": [
            prompt("test_simple_prompt", &[]),
            prompt("test_prompt_with_arguments", &["arg1", "arg2"]),
            prompt("test_prompt_with_embedded_resource", &["resourceUri"]),
            prompt("test_prompt_with_image", &[]),
        ]}))
    }

    async fn get_prompt(
        &self,
        asked: GetPromptRequestParams,
        _: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        let arguments = serde_json::to_value(&asked.arguments).unwrap_or_default();
        let none = || ErrorData::invalid_params(format!("there is no prompt {}", asked.name), None);
        let result: GetPromptResult = model(prompted(&asked.name, &arguments).ok_or_else(none)?)?;
        Ok(result.into())
    }

    async fn complete(&self, _: CompleteRequestParams, _: Context) -> Result<CompleteResult, ErrorData> {
        model(json!({"completion": {"values": ["paris"], "total": 1, "hasMore": false}}))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().nth(1).as_deref() == Some("stdio") {
        Reference.serve(stdio()).await?.waiting().await?;
        return Ok(());
    }
    let sessions = Arc::new(LocalSessionManager::default());
    let service =
        StreamableHttpService::new(|| Ok(Reference), sessions, StreamableHttpServerConfig::default());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/mcp", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(
            async move { http1::Builder::new().serve_connection(TokioIo::new(stream), service).await },
        );
    }
}
