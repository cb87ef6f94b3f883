//! `placet mcp`: which MCP servers there are and which of their tools may be called. All of it is policy, so each change
//! is staged, shown as a diff and activated like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use hyper::Method;
use placet_api::admin::PolicyDocument;
use placet_api::mcp::{ServerDocument, ServersDocument, ToolDocument};
use placet_gateway::mcp::catalogue::{Definition, ServerName, acceptance, server_file};
use serde::Serialize;
use serde_json::{Value, json};

use super::policy::activate_directory;
use super::{block_on, on_socket};
use crate::admin::Admin;
use crate::cli::tools::{Change, Client, Hold, Mcp, NewOauth, NewServer, Passed};
use crate::config::{self, ConfigArgs};
use crate::credentials;
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain};

/// What the name of a login begins with, among secrets; the server's follows.
const LOGIN: &str = "oauth.";

/// Does it.
pub(crate) fn run(command: Mcp, config: &ConfigArgs, output: Output) -> Result<Exit, Failure> {
    match command {
        Mcp::Add(server) => add(*server, config, output),
        Mcp::Ls => on_socket(config, async |admin| list(&admin, output).await),
        Mcp::Show { server, tool } => {
            on_socket(config, async |admin| show(&server, tool.as_deref(), &admin, output).await)
        }
        Mcp::Accept { server, tools, all, change } => {
            let wanted = if all { Wanted::All } else { Wanted::These(tools.into_iter().collect()) };
            accept(&server, &wanted, &change, config, output)
        }
        Mcp::Login(login) => on_socket(config, async |admin| super::login::run(login, &admin, output).await),
        Mcp::Rm { server, change } => remove(&server, &change, config, output),
        Mcp::Config { client, server, hold } => client_config(client, server.as_deref(), hold, output),
        Mcp::Stdio { server, hold } => block_on(super::stdio::serve(server, hold)),
    }
}

enum Wanted {
    All,
    These(BTreeSet<String>),
}

/// The shape of a server's own file.
#[derive(Serialize)]
struct Written {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    command: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_as: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    danger_same_user: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pass: Vec<Passed>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    secrets: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, Header>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oauth: Option<Oauth>,
}

#[derive(Serialize)]
struct Oauth {
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<String>,
}

impl Oauth {
    fn of(new: NewOauth) -> Option<Self> {
        new.oauth.then(|| Oauth {
            grant: new.unattended.then_some("client_credentials"),
            issuer: new.issuer,
            client_id: new.client_id,
            client_secret: new.client_secret_from,
            scopes: new.scopes,
        })
    }
}

#[derive(Serialize)]
struct Header {
    secret: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    prefix: String,
}

fn add(new: NewServer, config: &ConfigArgs, output: Output) -> Result<Exit, Failure> {
    let name = server_name(&new.name)?;
    let same_user = new.url.is_none() && new.run_as.is_none();
    let logs_in = new.oauth.oauth && !new.oauth.unattended;
    let header = |value: &str| match value.rsplit_once(' ') {
        Some((prefix, secret)) => Header { secret: secret.to_owned(), prefix: format!("{prefix} ") },
        None => Header { secret: value.to_owned(), prefix: String::new() },
    };
    let written = Written {
        command: new.command,
        url: new.url,
        run_as: new.run_as,
        danger_same_user: same_user,
        pass: new.pass,
        environment: pairs("--env", &new.environment)?,
        secrets: pairs("--secret", &new.secrets)?,
        headers: pairs("--header", &new.headers)?
            .into_iter()
            .map(|(name, value)| (name, header(&value)))
            .collect(),
        oauth: Oauth::of(new.oauth),
    };
    let text = toml::to_string(&written).map_err(|error| Failure::of(Exit::Bug, &error))?;
    let directory = policy_directory(&new.change, config)?;
    let path = directory.join(server_file(&name));
    if path.exists() {
        return Err(Failure::new(Exit::Usage, format!("add {name}: {} is there already", path.display()))
            .hint(format!(
                "Change that file and activate the policy, or take it out with `placet mcp rm {name}`."
            )));
    }
    write(&path, Some(&text))?;
    if same_user && !output.is_json() {
        output.say(
            "It runs as placet's own user, so what placet stands in front of is advisory: use --run-as for a user of its own.",
        );
    }
    let exit = activate_directory(&directory, new.change.yes, config, output)?;
    if exit == Exit::Done && !output.is_json() {
        if logs_in {
            output.say(&format!("Log in there with `placet mcp login {name}`."));
        }
        output.say(&format!("Look at its tools with `placet mcp show {name}`; accept some with `placet mcp accept {name} TOOL…`."));
    }
    Ok(exit)
}

fn pairs(flag: &str, written: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut pairs = BTreeMap::new();
    for pair in written {
        let (name, value) =
            pair.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty()).ok_or_else(
                || Failure::new(Exit::Usage, format!("read {flag} {}: write NAME=VALUE", plain(pair))),
            )?;
        if pairs.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::new(
                Exit::Usage,
                format!("read {flag}: {} stands there twice", plain(name)),
            ));
        }
    }
    Ok(pairs)
}

async fn list(admin: &Admin, output: Output) -> Result<Exit, Failure> {
    let known = servers(admin).await?;
    let problem =
        known.servers.iter().any(|server| server.problem.is_some() || !unsettled(server).is_empty());
    output.result(&known, || {
        if known.servers.is_empty() {
            return "The policy names no MCP server. Add one with `placet mcp add`.\n".to_owned();
        }
        known.servers.iter().map(line_of).collect()
    })?;
    Ok(if problem { Exit::Found } else { Exit::Done })
}

fn line_of(server: &ServerDocument) -> String {
    let mut text = format!("{}  {}\n", plain(&server.name), plain(&server.reach));
    if let Some(problem) = &server.problem {
        text.push_str(&format!("  cannot be reached: {}\n", plain(problem)));
    }
    for tool in &server.tools {
        let problem =
            tool.problem.as_ref().map(|problem| format!(": {}", plain(problem))).unwrap_or_default();
        text.push_str(&format!("  {:<9} {}{problem}\n", tool.standing, plain(&tool.name)));
    }
    if server.problem.is_none() && server.accepted_instructions != server.instructions {
        text.push_str("  its instructions have changed: every tool has to be accepted anew\n");
    }
    text
}

/// The tools that somebody should look at.
fn unsettled(server: &ServerDocument) -> Vec<&ToolDocument> {
    server
        .tools
        .iter()
        .filter(|tool| matches!(tool.standing.as_str(), "changed" | "gone" | "unusable"))
        .collect()
}

async fn show(server: &str, tool: Option<&str>, admin: &Admin, output: Output) -> Result<Exit, Failure> {
    let mut found = find(&servers(admin).await?, server)?;
    if let Some(tool) = tool {
        found.tools.retain(|known| known.name == tool);
        if found.tools.is_empty() {
            return Err(no_tool(server, tool));
        }
    }
    output.result(&found, || {
        let mut text = line_of(&ServerDocument { tools: Vec::new(), ..found.clone() });
        if let Some(instructions) = found.instructions.as_deref().filter(|_| tool.is_none()) {
            text.push_str(&format!("\nIt tells models:\n{}\n", indented(instructions)));
        }
        for tool in &found.tools {
            text.push_str(&described(tool));
        }
        text
    })?;
    Ok(Exit::Done)
}

fn described(tool: &ToolDocument) -> String {
    let mut text = format!("\n{} ({})\n", plain(&tool.name), tool.standing);
    let (accepted, offered) = (tool.accepted.as_deref(), tool.offered.as_deref());
    match (accepted, offered) {
        (Some(accepted), Some(offered)) if accepted != offered => {
            text.push_str(&format!("  accepted:\n{}  offered now:\n{}", members(accepted), members(offered)));
        }
        (_, Some(definition)) | (Some(definition), None) => text.push_str(&members(definition)),
        (None, None) => {}
    }
    if let Some(problem) = &tool.problem {
        text.push_str(&format!("  {}\n", plain(problem)));
    }
    text
}

/// A definition, a member a line, as people may see it.
fn members(definition: &str) -> String {
    let Ok(Value::Object(members)) = serde_json::from_str::<Value>(definition) else { return String::new() };
    let shown = |value: &Value| match value {
        Value::String(text) => plain(text),
        other => plain(&other.to_string()),
    };
    members
        .iter()
        .filter(|(name, _)| *name != "name")
        .map(|(name, value)| format!("    {}: {}\n", plain(name), shown(value)))
        .collect()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {}\n", plain(line))).collect()
}

fn accept(
    server: &str,
    wanted: &Wanted,
    change: &Change,
    config: &ConfigArgs,
    output: Output,
) -> Result<Exit, Failure> {
    let name = server_name(server)?;
    let admin = Admin::of(&config::load(config)?.dir);
    let mut known = None;
    block_on(async {
        known = Some(servers(&admin).await?);
        Ok(Exit::Done)
    })?;
    let found = find(&known.ok_or_else(|| Failure::new(Exit::Bug, "list the servers"))?, server)?;
    if let Some(problem) = &found.problem {
        return Err(Failure::new(
            Exit::NoBroker,
            format!("accept tools of {server}: it cannot be reached: {}", plain(problem)),
        ));
    }
    let tools = accepted_from(&found, wanted)?;
    let directory = policy_directory(change, config)?;
    if !directory.join(server_file(&name)).exists() {
        return Err(Failure::new(
            Exit::Usage,
            format!("accept tools of {server}: {} does not name it", directory.display()),
        )
        .hint("Name the policy's directory with --policy."));
    }
    for (path, text) in acceptance(&name, found.instructions.as_deref(), &tools) {
        write(&directory.join(path), text.as_deref())?;
    }
    activate_directory(&directory, change.yes, config, output)
}

/// What is accepted afterwards: what was and is unchanged, and what is wanted now.
fn accepted_from(server: &ServerDocument, wanted: &Wanted) -> Result<Vec<Definition>, Failure> {
    if let Wanted::These(names) = wanted
        && let Some(unknown) = names
            .iter()
            .find(|name| !server.tools.iter().any(|tool| tool.name == **name && tool.offered.is_some()))
    {
        return Err(no_tool(&server.name, unknown));
    }
    let mut tools = Vec::new();
    for tool in &server.tools {
        let is_wanted = match wanted {
            Wanted::All => true,
            Wanted::These(names) => names.contains(&tool.name),
        };
        let definition = match (&tool.accepted, &tool.offered) {
            (_, Some(offered)) if is_wanted => offered,
            // One that changed stays as it was accepted, so that it stays closed and is seen to have changed.
            (Some(accepted), _) => accepted,
            _ => continue,
        };
        let read = Definition::read(definition.as_bytes());
        tools.push(read.map_err(|error| {
            Failure::new(Exit::Bug, format!("read the definition of {}: {error}", tool.name))
        })?);
    }
    Ok(tools)
}

fn remove(server: &str, change: &Change, config: &ConfigArgs, output: Output) -> Result<Exit, Failure> {
    let name = server_name(server)?;
    let directory = policy_directory(change, config)?;
    let path = directory.join(server_file(&name));
    if !path.exists() {
        // An earlier attempt may have ended between the two.
        if on_socket(config, async |admin| end_login(&name, &admin, output).await)? == Exit::Done {
            return Ok(Exit::Done);
        }
        return Err(Failure::new(Exit::Usage, format!("remove {server}: there is no {}", path.display())));
    }
    write(&path, None)?;
    for path in acceptance(&name, None, []).into_keys() {
        write(&directory.join(path), None)?;
    }
    let exit = activate_directory(&directory, change.yes, config, output)?;
    on_socket(config, async |admin| end_login(&name, &admin, output).await)?;
    Ok(exit)
}

/// Removes the login at a server that nothing names any more. Finds none if there is none.
async fn end_login(name: &ServerName, admin: &Admin, output: Output) -> Result<Exit, Failure> {
    let in_force: PolicyDocument = admin.get(&["policy"]).await?;
    if in_force.files.contains_key(&server_file(name)) {
        return Ok(Exit::Found);
    }
    match admin.send(Method::DELETE, &["secrets", &format!("{LOGIN}{name}")]).await {
        Ok(()) => {
            output.say(&format!(
                "The login at {name} is removed. Whoever issued it still knows it: end it there, too."
            ));
            Ok(Exit::Done)
        }
        Err(failure) if failure.code.as_deref() == Some("not_found") => Ok(Exit::Found),
        Err(failure) => Err(failure),
    }
}

async fn servers(admin: &Admin) -> Result<ServersDocument, Failure> {
    let known: ServersDocument = admin.get(&["mcp"]).await?;
    match &known.problem {
        Some(problem) => Err(Failure::new(Exit::Found, format!("list the MCP servers: {}", plain(problem)))),
        None => Ok(known),
    }
}

fn find(known: &ServersDocument, name: &str) -> Result<ServerDocument, Failure> {
    known.servers.iter().find(|server| server.name == name).cloned().ok_or_else(|| {
        Failure::new(Exit::Usage, format!("find {}: the active policy names no such server", plain(name)))
            .hint("`placet mcp ls` lists them; `placet mcp add` adds one.")
    })
}

fn no_tool(server: &str, tool: &str) -> Failure {
    Failure::new(Exit::Usage, format!("find {}: {} offers no such tool", plain(tool), plain(server)))
        .hint(format!("`placet mcp show {server}` lists them."))
}

fn server_name(text: &str) -> Result<ServerName, Failure> {
    ServerName::parse(text).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("read the server's name {}", plain(text)))
            .hint("Write 1 to 32 of a-z 0-9 - _, starting with a letter.")
    })
}

/// Where the policy is that is changed: not what is in force, but what its author keeps.
fn policy_directory(change: &Change, config: &ConfigArgs) -> Result<PathBuf, Failure> {
    match &change.policy {
        Some(directory) => Ok(directory.clone()),
        None => Ok(config::load(config)?.dir.join("policy")),
    }
}

fn write(path: &Path, text: Option<&str>) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::new(Exit::Usage, format!("write {}: {error}", path.display()));
    match text {
        Some(text) => {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(failed)?;
            }
            fs::write(path, text).map_err(failed)
        }
        None => match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        },
    }
}

fn client_config(client: Client, server: Option<&str>, hold: Hold, output: Output) -> Result<Exit, Failure> {
    if let Some(server) = server {
        server_name(server)?;
    }
    let (url, _) = credentials::agents_door()?;
    let path = server.map(|server| format!("/{server}")).unwrap_or_default();
    let address = format!("{}/mcp{path}{}", url.trim_end_matches('/'), hold.query());
    let name = server.map_or_else(|| "placet".to_owned(), |server| format!("placet-{server}"));
    // The token itself does not belong into a file that is committed: clients read it from the environment.
    let variable = match client {
        Client::Vscode | Client::Cursor => "${env:PLACET_AGENT_TOKEN}",
        Client::Claude | Client::Json => "${PLACET_AGENT_TOKEN}",
    };
    let entry =
        json!({"type": "http", "url": address, "headers": {"Authorization": format!("Bearer {variable}")}});
    let members = if client == Client::Vscode { "servers" } else { "mcpServers" };
    let document = json!({members: {name: entry}});
    let text = serde_json::to_string_pretty(&document).map_err(|error| Failure::of(Exit::Bug, &error))?;
    output.result(&document, || text + "\n")?;
    if !output.is_json() {
        let place = match client {
            Client::Claude => ".mcp.json of the project",
            Client::Cursor => ".cursor/mcp.json",
            Client::Vscode => ".vscode/mcp.json",
            Client::Json => "the client's configuration",
        };
        output.say(&format!("Put it into {place}; the client takes the token from its environment."));
        if client == Client::Claude {
            output.say("Claude ends a silent call after MCP_TOOL_TIMEOUT milliseconds; placet answers within 45 seconds, and is asked again.");
        }
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, accepted: Option<&str>, offered: Option<&str>) -> ToolDocument {
        let json =
            |text: &str| format!("{{\"name\":\"{name}\",\"inputSchema\":{{}},\"description\":\"{text}\"}}");
        ToolDocument {
            name: name.into(),
            standing: String::new(),
            accepted: accepted.map(json),
            offered: offered.map(json),
            problem: None,
        }
    }

    #[test]
    fn accepting_one_tool_touches_no_other() {
        let server = ServerDocument {
            name: "s".into(),
            reach: String::new(),
            instructions: None,
            accepted_instructions: None,
            problem: None,
            tools: vec![
                tool("same", Some("a"), Some("a")),
                tool("changed", Some("old"), Some("new")),
                tool("fresh", None, Some("b")),
                tool("other", None, Some("c")),
                tool("gone", Some("d"), None),
            ],
        };
        let accepted = |wanted: &Wanted| -> Vec<String> {
            let tools = accepted_from(&server, wanted).unwrap();
            tools.iter().map(|tool| format!("{}={}", tool.name(), tool.description().unwrap())).collect()
        };
        let these = Wanted::These(BTreeSet::from(["fresh".to_owned()]));
        assert_eq!(accepted(&these), ["same=a", "changed=old", "fresh=b", "gone=d"]);
        assert_eq!(accepted(&Wanted::All), ["same=a", "changed=new", "fresh=b", "other=c", "gone=d"]);
        let unknown = Wanted::These(BTreeSet::from(["nothing".to_owned()]));
        assert!(accepted_from(&server, &unknown).is_err());
    }
}
