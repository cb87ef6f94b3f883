//! The methods that agents may call. Those that carry nothing to a server are answered here; those that placet does not
//! gate are not passed on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use placet_core::c14n::Value;

use super::Mcp;
use super::catalogue::{Accepted, Catalogue, JOINT, Pass, Server, ServerName};
use super::front::{Answering, Scope, no_such_server};
use super::gated::{Gated, What};
use super::listings::{Listed, name_in, uri_in};
use super::patience::Client;
use super::told::AWAIT_TOOL;
use super::upstream::Freshness;
use super::wire::{Call, Era, LEGACY, META, MODERN, RpcError, TASKS, complete, private, spoken};

/// How a caller names its reasons, beside the protocol.
const META_JUSTIFICATION: &str = "dev.placet/justification";
const META_ON_BEHALF_OF: &str = "dev.placet/on_behalf_of";
const META_KEY: &str = "dev.placet/idempotency_key";
/// Where a server says who it is.
const META_SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
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
                ("initialize", Era::Legacy) => mcp.initialize(&client, &scope, &call).await,
                ("server/discover", Era::Modern) => mcp.discover(&client, &scope).await,
                ("ping", Era::Legacy) => Ok("{}".to_owned()),
                ("tools/list", _) => mcp.list_tools(&client, version.as_deref(), &scope).await,
                ("tools/call", _) => mcp.tools_call(&client, &scope, call).await,
                ("resources/read" | "prompts/get" | "completion/complete", _) => {
                    mcp.method(&client, &scope, call).await
                }
                (method, _) if method.starts_with("tasks/") => mcp.tasks(&client, &scope, &call).await,
                (method, _) => match Listed::by(method) {
                    Some(listed) => mcp.list(&client, &scope, listed, call.text("cursor")).await,
                    None => Err(RpcError::no_such_method(method)),
                },
            }?;
            Ok(if client.is_modern() { complete(result) } else { result })
        })
    }

    async fn initialize(&self, client: &Client, scope: &Scope, call: &Call) -> Result<String, RpcError> {
        let spoken = spoken(call);
        let catalogue = self.catalogue().await?;
        let mut capabilities = capabilities(&catalogue, scope)?;
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
        let instructions = self.instructions(client, &catalogue, scope).await?;
        members.push(("instructions", Value::String(instructions)));
        Ok(Value::object(members).canonical())
    }

    async fn discover(&self, client: &Client, scope: &Scope) -> Result<String, RpcError> {
        let catalogue = self.catalogue().await?;
        let mut capabilities = capabilities(&catalogue, scope)?;
        capabilities.push(("extensions", Value::object([(TASKS, nothing())])));
        let versions = std::iter::once(MODERN).chain(LEGACY).map(Value::string).collect();
        let mut members = vec![
            ("supportedVersions", Value::Array(versions)),
            ("capabilities", Value::object(capabilities)),
            ("serverInfo", server_info()),
            ("ttlMs", Value::integer(0)),
            ("cacheScope", Value::string("private")),
            (META, Value::object([(META_SERVER_INFO, server_info())])),
        ];
        let instructions = self.instructions(client, &catalogue, scope).await?;
        members.push(("instructions", Value::String(instructions)));
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
        let servers = in_scope(&catalogue, scope)?;
        let offered = join_all(servers.iter().map(|server| self.offered(&catalogue, server))).await;
        let offered = servers.into_iter().zip(offered).flat_map(|(server, tools)| {
            tools.into_iter().map(move |accepted| {
                let name = accepted.definition.name().to_owned();
                let call = What::Tool { name, arguments: nothing() }.arguments(&server.name);
                ((server, accepted), call)
            })
        });
        let callable = self.callable(client.principal, offered.collect()).await?;
        let mut tools = Vec::new();
        for (server, Accepted { definition, .. }) in callable {
            let name = match scope {
                Scope::All => format!("{}{JOINT}{}", server.name, definition.name()),
                Scope::One(_) => definition.name().to_owned(),
            };
            let mut tool = definition.named(name.clone());
            if !client.is_modern() && version == Some(WITH_TASKS) {
                may_be_a_task(&mut tool);
            }
            tools.push((name, tool));
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

    /// What servers tell models, as accepted, and what placet adds to it. A server of which policy leaves nothing to this
    /// caller tells them nothing.
    async fn instructions(
        &self,
        client: &Client,
        catalogue: &Catalogue,
        scope: &Scope,
    ) -> Result<String, RpcError> {
        let own = format!(
            "Some of these tools wait for a person to approve the call. A result that says so is no failure: call {AWAIT_TOOL} with \
             the approval_id that it tells, or repeat the exact same call, to get the outcome."
        );
        let mut told = BTreeMap::new();
        let mut calls = Vec::new();
        for server in in_scope(catalogue, scope)? {
            let Some(text) = &server.instructions else { continue };
            // What is beside tools is judged when it is asked for, by names that are not known here.
            if server.tools().next().is_none() && !server.passes.is_empty() {
                told.insert(&server.name, text);
                continue;
            }
            calls.extend(server.tools().map(|tool| {
                let name = tool.definition.name().to_owned();
                ((&server.name, text), What::Tool { name, arguments: nothing() }.arguments(&server.name))
            }));
        }
        // Whoever may ask nothing now may begin nevertheless, and is told less.
        told.extend(self.callable(client.principal, calls).await.unwrap_or_default());
        Ok(told.into_values().chain([&own]).map(String::as_str).collect::<Vec<_>>().join("\n\n"))
    }

    /// The accepted tools of a server that are what they were.
    async fn offered<'c>(&self, catalogue: &Arc<Catalogue>, server: &'c Server) -> Vec<&'c Accepted> {
        if server.tools().next().is_none() {
            return Vec::new();
        }
        let listing = self.read_of(catalogue, &server.name, |session| async move {
            session.listing(Freshness::Kept).await.ok()
        });
        // A server that cannot be reached offers nothing that could be called.
        let Some(listing) = listing.await else { return Vec::new() };
        let is_same = |tool: &&Accepted| listing.pin(&server.name, tool.definition.name()) == Some(tool.pin);
        server.tools().filter(is_same).collect()
    }

    async fn tools_call(&self, client: &Client, scope: &Scope, call: Call) -> Result<String, RpcError> {
        let named = call.text("name").ok_or_else(|| RpcError::bad_params("name is missing"))?;
        let arguments = match call.params.get("arguments") {
            None => Value::object::<String>([]),
            Some(arguments @ Value::Object(_)) => arguments.clone(),
            Some(_) => return Err(RpcError::bad_params("arguments must be an object")),
        };
        let waits = waits(client, &call, &["name", "arguments"])?;
        if named == AWAIT_TOOL {
            return Ok(self.await_approval(client, scope, &arguments).await?.into_tool_result());
        }
        let (server, name) = name_in(scope, named).ok_or_else(|| {
            RpcError::bad_params(format!("there is no tool {}", placet_core::text::visible(named)))
        })?;
        let gated = gated(server, What::Tool { name, arguments }, &call)?;
        let told = match waits {
            Waits::Itself => self.ask(client, gated).await,
            Waits::AsTask => self.call_tool_as_task(client, gated).await,
            Waits::Again(state) => self.resume(client, &gated, &state).await,
        };
        Ok(told?.into_tool_result())
    }

    /// Another call that carries something to a server. Words of ours are errors here: what these calls result in has no
    /// room for them.
    async fn method(&self, client: &Client, scope: &Scope, call: Call) -> Result<String, RpcError> {
        let known: &[&str] = match call.method.as_str() {
            "resources/read" => &["uri"],
            "prompts/get" => &["name", "arguments"],
            _ => &["ref", "argument", "context"],
        };
        let waits = waits(client, &call, known)?;
        let mut params: BTreeMap<String, Value> = call.params.clone();
        params.retain(|name, _| known.contains(&name.as_str()));
        let server = owner(scope, &mut params)
            .ok_or_else(|| RpcError::bad_params("it names nothing that a server here offers"))?;
        let what = What::Method { method: call.method.clone(), params: Value::Object(params) };
        let gated = gated(server, what, &call)?;
        let told = match waits {
            Waits::Again(state) => self.resume(client, &gated, &state).await,
            Waits::Itself | Waits::AsTask => self.ask(client, gated).await,
        };
        let result = told?.into_answer()?;
        Ok(if client.is_modern() && call.method == "resources/read" { private(&result) } else { result })
    }
}

/// Whose it is that a call names; it is named from here on as its server names it.
fn owner(scope: &Scope, params: &mut BTreeMap<String, Value>) -> Option<ServerName> {
    if let Some(Value::Object(reference)) = params.get_mut("ref") {
        return owner(scope, reference);
    }
    for (member, find) in [("uri", uri_in as fn(&Scope, &str) -> _), ("name", name_in)] {
        if let Some(Value::String(named)) = params.get_mut(member) {
            let (server, own): (ServerName, String) = find(scope, named)?;
            *named = own;
            return Some(server);
        }
    }
    None
}

/// A call with what its caller says beside it.
fn gated(server: ServerName, what: What, call: &Call) -> Result<Gated, RpcError> {
    let said = |name: &str| match call.meta(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(RpcError::bad_params(format!("_meta: {name} must be a string"))),
    };
    Ok(Gated {
        server,
        what,
        justification: said(META_JUSTIFICATION)?,
        on_behalf_of: said(META_ON_BEHALF_OF)?,
        idempotency_key: said(META_KEY)?,
    })
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

/// Reads what a call has beside what is known to travel on. What would be dropped on the way is refused.
fn waits(client: &Client, call: &Call, known: &[&str]) -> Result<Waits, RpcError> {
    let mut waits = Waits::Itself;
    let is_tool = call.method == "tools/call";
    for (name, value) in call.params.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
        match (name.as_str(), client.era, value) {
            (META, _, _) => {}
            ("task", Era::Legacy, Value::Object(_)) if is_tool => waits = Waits::AsTask,
            // The newest revision has other tasks, and says to overlook these.
            ("task", Era::Modern, _) if is_tool => {}
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

/// What there is to be asked for, beside tasks.
fn capabilities(catalogue: &Catalogue, scope: &Scope) -> Result<Vec<(&'static str, Value)>, RpcError> {
    let passes: BTreeSet<Pass> =
        in_scope(catalogue, scope)?.into_iter().flat_map(|server| server.passes.iter().copied()).collect();
    let named = |pass: Pass| match pass {
        Pass::Resources => ("resources", nothing()),
        Pass::Prompts => ("prompts", nothing()),
        Pass::Completions => ("completions", nothing()),
    };
    Ok(std::iter::once(("tools", nothing())).chain(passes.into_iter().map(named)).collect())
}

/// The servers that a path speaks of.
pub(super) fn in_scope<'c>(catalogue: &'c Catalogue, scope: &Scope) -> Result<Vec<&'c Server>, RpcError> {
    match scope {
        Scope::All => Ok(catalogue.servers().collect()),
        Scope::One(name) => Ok(vec![catalogue.server(name).ok_or_else(no_such_server)?]),
    }
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
