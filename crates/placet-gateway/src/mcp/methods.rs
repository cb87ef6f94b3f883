//! The methods that agents may call. Those that carry nothing to a server are answered here; those that placet does not
//! gate are not passed on.

use std::collections::BTreeMap;

use placet_core::action::Principal;
use placet_core::c14n::Value;

use super::Mcp;
use super::catalogue::{Catalogue, Definition, JOINT, Server, ServerName};
use super::front::{Answering, Scope, no_such_server};
use super::gated::{Gated, What};
use super::patience::Client;
use super::told::AWAIT_TOOL;
use super::upstream::Freshness;
use super::wire::{Call, Era, LEGACY, META, MODERN, RpcError, TASKS, complete, spoken};

/// How a caller names its reasons, beside the protocol.
const META_JUSTIFICATION: &str = "dev.placet/justification";
const META_ON_BEHALF_OF: &str = "dev.placet/on_behalf_of";
const META_KEY: &str = "dev.placet/idempotency_key";
/// The only one of the older revisions that has tasks.
const WITH_TASKS: &str = "2025-11-25";

impl Mcp {
    /// The answer to one call. `version` is the older revision that the client began with, if that is known.
    pub(super) fn answer(
        &self,
        client: Client,
        version: Option<String>,
        scope: Scope,
        call: Call,
    ) -> Answering {
        let mcp = self.clone();
        Box::pin(async move {
            let result = match (call.method.as_str(), client.era) {
                ("initialize", Era::Legacy) => mcp.initialize(&scope, &call).await,
                ("server/discover", Era::Modern) => mcp.discover(&scope).await,
                ("ping", Era::Legacy) => Ok("{}".to_owned()),
                ("tools/list", _) => mcp.list_tools(&client, version.as_deref(), &scope).await,
                ("tools/call", _) => mcp.tools_call(&client, &scope, call).await,
                (method, _) if method.starts_with("tasks/") => mcp.tasks(&client, &call).await,
                (method, _) => Err(RpcError::no_such_method(method)),
            }?;
            Ok(if client.is_modern() { complete(result) } else { result })
        })
    }

    async fn initialize(&self, scope: &Scope, call: &Call) -> Result<String, RpcError> {
        let spoken = spoken(call);
        let catalogue = self.catalogue().await?;
        let mut capabilities = vec![("tools", nothing())];
        if spoken == WITH_TASKS {
            let requests = Value::object([("tools", Value::object([("call", nothing())]))]);
            let tasks = [("list", nothing()), ("cancel", nothing()), ("requests", requests)];
            capabilities.push(("tasks", Value::object(tasks)));
        }
        let mut members = vec![
            ("protocolVersion", Value::string(spoken)),
            ("capabilities", Value::object(capabilities)),
            ("serverInfo", server_info()),
        ];
        members.extend(instructions(&catalogue, scope)?.map(|text| ("instructions", Value::String(text))));
        Ok(Value::object(members).canonical())
    }

    async fn discover(&self, scope: &Scope) -> Result<String, RpcError> {
        let catalogue = self.catalogue().await?;
        let extensions = Value::object([(TASKS, nothing())]);
        let versions = std::iter::once(MODERN).chain(LEGACY).map(Value::string).collect();
        let mut members = vec![
            ("supportedVersions", Value::Array(versions)),
            ("capabilities", Value::object([("tools", nothing()), ("extensions", extensions)])),
            ("serverInfo", server_info()),
            ("ttlMs", Value::integer(0)),
            ("cacheScope", Value::string("private")),
        ];
        members.extend(instructions(&catalogue, scope)?.map(|text| ("instructions", Value::String(text))));
        Ok(Value::object(members).canonical())
    }

    /// The accepted tools that are what they were, and that policy does not rule out for this caller whatever the
    /// arguments.
    async fn list_tools(
        &self,
        client: &Client,
        version: Option<&str>,
        scope: &Scope,
    ) -> Result<String, RpcError> {
        let catalogue = self.catalogue().await?;
        let mut tools = Vec::new();
        for server in in_scope(&catalogue, scope)? {
            for (name, definition) in self.offered(client.principal, server).await? {
                let name = if *scope == Scope::All { format!("{}{JOINT}{name}", server.name) } else { name };
                let mut tool = definition.named(name.clone());
                if !client.is_modern() && version == Some(WITH_TASKS) {
                    may_be_a_task(&mut tool);
                }
                tools.push((name, tool));
            }
        }
        tools.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut tools: Vec<Value> = tools.into_iter().map(|(_, tool)| tool).collect();
        if !tools.is_empty() {
            tools.push(await_tool());
        }
        let mut members = vec![("tools", Value::Array(tools))];
        if client.is_modern() {
            members.extend([("ttlMs", Value::integer(0)), ("cacheScope", Value::string("private"))]);
        }
        Ok(Value::object(members).canonical())
    }

    async fn offered(
        &self,
        principal: Principal,
        server: &Server,
    ) -> Result<BTreeMap<String, Definition>, RpcError> {
        let names: Vec<String> = server.tools().map(|tool| tool.definition.name().to_owned()).collect();
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        // A server that cannot be reached offers nothing that could be called.
        let Ok(session) = self.session(server).await else { return Ok(BTreeMap::new()) };
        let Ok(listing) = session.listing(Freshness::Kept).await else { return Ok(BTreeMap::new()) };
        let source = &self.0.parts.source;
        let callable = source.callable(principal, server.name.as_str().to_owned(), names).await?;
        let offered = server.tools().filter(|tool| {
            let name = tool.definition.name();
            callable.iter().any(|callable| callable == name)
                && listing.pin(&server.name, name) == Some(tool.pin)
        });
        Ok(offered.map(|tool| (tool.definition.name().to_owned(), tool.definition.clone())).collect())
    }

    async fn tools_call(&self, client: &Client, scope: &Scope, call: Call) -> Result<String, RpcError> {
        let named = call.text("name").ok_or_else(|| RpcError::bad_params("name is missing"))?;
        let arguments = match call.params.get("arguments") {
            None => Value::object::<String>([]),
            Some(arguments @ Value::Object(_)) => arguments.clone(),
            Some(_) => return Err(RpcError::bad_params("arguments must be an object")),
        };
        let waits = waits(client, &call)?;
        if named == AWAIT_TOOL {
            return Ok(self.await_approval(client, &arguments).await?.into_tool_result());
        }
        let unknown =
            || RpcError::bad_params(format!("there is no tool {}", placet_core::text::visible(named)));
        let (server, tool) = match scope {
            Scope::One(server) => (server.clone(), named.to_owned()),
            Scope::All => {
                let (server, tool) = named.split_once(JOINT).ok_or_else(unknown)?;
                (ServerName::parse(server).ok_or_else(unknown)?, tool.to_owned())
            }
        };
        let said = |name: &str| match call.meta(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(RpcError::bad_params(format!("_meta: {name} must be a string"))),
        };
        let call = Gated {
            server,
            what: What::Tool { name: tool, arguments },
            justification: said(META_JUSTIFICATION)?,
            on_behalf_of: said(META_ON_BEHALF_OF)?,
            idempotency_key: said(META_KEY)?,
        };
        let told = match waits {
            Waits::Itself => self.call_tool(client, call).await,
            Waits::AsTask => self.call_tool_as_task(client, call).await,
            Waits::Again(state) => self.resume(client, &call, &state).await,
        };
        Ok(told?.into_tool_result())
    }
}

/// What a call says about how its client waits.
enum Waits {
    /// It is there until there is an answer.
    Itself,
    /// It wants a task of the older kind.
    AsTask,
    /// It was told to come again, and does.
    Again(String),
}

/// Reads what a call has beside name and arguments. What would be dropped on the way is refused.
fn waits(client: &Client, call: &Call) -> Result<Waits, RpcError> {
    let mut waits = Waits::Itself;
    for (name, value) in &call.params {
        match (name.as_str(), client.era, value) {
            ("name" | "arguments" | META, _, _) => {}
            ("task", Era::Legacy, Value::Object(_)) => waits = Waits::AsTask,
            // The newest revision has other tasks, and says to overlook these.
            ("task", Era::Modern, _) => {}
            ("requestState", Era::Modern, Value::String(state)) => waits = Waits::Again(state.clone()),
            // placet asked for nothing, so nothing that is said here can answer it.
            ("inputResponses", Era::Modern, Value::Object(responses)) if responses.is_empty() => {}
            _ => {
                let name = placet_core::text::visible(&name.chars().take(64).collect::<String>());
                return Err(RpcError::bad_params(format!("placet does not pass {name} on")));
            }
        }
    }
    Ok(waits)
}

/// A tool as those read it who may call it as a task. That its server knows no tasks changes nothing: placet does.
fn may_be_a_task(tool: &mut Value) {
    let Value::Object(members) = tool else { return };
    let execution = members.entry("execution".to_owned()).or_insert_with(nothing);
    if let Value::Object(execution) = execution {
        execution.insert("taskSupport".to_owned(), Value::string("optional"));
    }
}

fn nothing() -> Value {
    Value::object::<String>([])
}

fn in_scope<'c>(catalogue: &'c Catalogue, scope: &Scope) -> Result<Vec<&'c Server>, RpcError> {
    match scope {
        Scope::All => Ok(catalogue.servers().collect()),
        Scope::One(name) => Ok(vec![catalogue.server(name).ok_or_else(no_such_server)?]),
    }
}

/// What the server tells models, as accepted, and what placet adds to it.
fn instructions(catalogue: &Catalogue, scope: &Scope) -> Result<Option<String>, RpcError> {
    let own = format!(
        "Some of these tools wait for a person to approve the call. A result that says so is no failure: call {AWAIT_TOOL} with the \
         approval_id that it tells, or repeat the exact same call, to get the outcome."
    );
    let servers = in_scope(catalogue, scope)?;
    let accepted = servers.iter().filter_map(|server| server.instructions.clone());
    let all: Vec<String> = accepted.chain([own]).collect();
    Ok(Some(all.join("\n\n")))
}

fn server_info() -> Value {
    Value::object([("name", Value::string("placet")), ("version", Value::string(env!("CARGO_PKG_VERSION")))])
}

fn await_tool() -> Value {
    let text = |text: &str| Value::string(text);
    let properties = Value::object([
        (
            "approval_id",
            Value::object([
                ("type", text("string")),
                ("description", text("The id that the pending result told, req_…")),
            ]),
        ),
        (
            "wait_s",
            Value::object([
                ("type", text("integer")),
                ("minimum", Value::integer(0)),
                ("description", text("How many seconds to wait at most")),
            ]),
        ),
    ]);
    let schema = Value::object([
        ("type", text("object")),
        ("properties", properties),
        ("required", Value::Array(vec![text("approval_id")])),
        ("additionalProperties", Value::Bool(false)),
    ]);
    let hints = Value::object([("readOnlyHint", Value::Bool(true)), ("openWorldHint", Value::Bool(false))]);
    Value::object([
        ("name", text(AWAIT_TOOL)),
        ("title", text("Wait for an approval")),
        (
            "description",
            text(
                "Waits for people to decide on a tool call that is pending, and gives that call's result. It approves nothing.",
            ),
        ),
        ("inputSchema", schema),
        ("annotations", hints),
    ])
}
