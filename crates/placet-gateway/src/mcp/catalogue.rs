//! Which MCP servers there are, and which of their tools were accepted, as the bundle in force says.
//!
//! ```text
//! mcp/NAME.toml           how the server is reached
//! mcp/NAME.tools.jsonl    the accepted tools, each definition on a line of its own, as the server wrote it
//! mcp/NAME.instructions   what the server tells models about itself, as it was accepted
//! ```
//!
//! A definition is what a model reads before it calls the tool, so a changed one is another tool: its pin changes, it is
//! hidden, and calls of it are refused until somebody has looked at it. As all of it is policy, acceptance is an
//! activation: shown as a diff, recorded, and replayable.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use placet_core::action::tool_pin;
use placet_core::c14n::Value;
use placet_core::digest::{BundleDigest, Sha256Digest};
use reqwest::Url;
use serde::Deserialize;

use super::oauth::is_protected;
use crate::runner::config::RunAs;

/// The directory of a bundle in which all of it stands.
pub const DIRECTORY: &str = "mcp/";
const SERVER_SUFFIX: &str = ".toml";
const TOOLS_SUFFIX: &str = ".tools.jsonl";
const INSTRUCTIONS_SUFFIX: &str = ".instructions";
/// How long a tool's name may be.
const TOOL_NAME_MAX: usize = 128;
/// How the names of placet's own tools begin.
const OWN_PREFIX: &str = "placet_";
/// What stands between server and tool where the tools of all servers are offered at once.
pub(super) const JOINT: &str = "__";

/// The name of a server, `files`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServerName(String);

impl ServerName {
    /// Reads a name of 1 to 32 of `a-z 0-9 - _`, starting with a letter, without two `_` in a row.
    pub fn parse(text: &str) -> Option<Self> {
        let starts = text.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
        let fits = text.len() <= 32
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b));
        (starts && fits && !text.contains(JOINT) && !text.ends_with('_')).then(|| ServerName(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with a file of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read {file}: {problem}")]
pub struct CatalogueError {
    /// Which file.
    pub file: String,
    /// What, and what to write.
    pub problem: String,
}

/// All servers and their accepted tools.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Catalogue {
    /// The bundle that says so.
    pub bundle: BundleDigest,
    servers: BTreeMap<ServerName, Server>,
}

/// One server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// Its name.
    pub name: ServerName,
    /// How it is reached.
    pub reach: Reach,
    /// What it tells models about itself, as accepted.
    pub instructions: Option<String>,
    /// What of it is passed on beside its tools.
    pub passes: BTreeSet<Pass>,
    tools: BTreeMap<String, Accepted>,
}

/// What a server may offer beside tools. Nobody has read it before it is passed on, so nothing of it is by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// Its resources and their templates.
    Resources,
    /// Its prompts.
    Prompts,
    /// Completions of the arguments of both.
    Completions,
}

impl Pass {
    /// What has to be passed on for a method that carries something to a server.
    pub(super) fn for_method(method: &str) -> Option<Self> {
        match method {
            "resources/read" => Some(Pass::Resources),
            "prompts/get" => Some(Pass::Prompts),
            "completion/complete" => Some(Pass::Completions),
            _ => None,
        }
    }
}

/// A tool that somebody has looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The definition, exactly.
    pub definition: Definition,
    /// What stands for it in the digest of each call.
    pub pin: Sha256Digest,
}

/// How a server is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reach {
    /// A child process that speaks over its standard input and output.
    Process {
        /// Program and arguments.
        command: Vec<String>,
        /// Its environment, beside `PATH` and `LANG`.
        environment: BTreeMap<String, String>,
        /// Secrets of the vault, by the variable that carries them.
        secrets: BTreeMap<String, String>,
        /// Which operating system user it runs as.
        run_as: RunAs,
    },
    /// A server of the streamable HTTP transport.
    Http {
        /// Where.
        url: String,
        /// Secrets of the vault, by the header that carries them, with what stands before it: `Bearer `.
        headers: BTreeMap<String, HeaderSecret>,
        /// How placet gets the token that it carries there, if it gets one.
        oauth: Option<Oauth>,
    },
}

/// How placet gets a server's tokens, as a client of the authorization server that issues them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oauth {
    /// As whom.
    #[serde(default)]
    pub grant: OauthGrant,
    /// Which authorization server; the server says which if it is left out.
    pub issuer: Option<String>,
    /// What placet is called there; it registers if this is left out. An address is one of a client metadata document.
    pub client_id: Option<String>,
    /// The secret of the vault by which it proves that. Needs `issuer`: it is told to nobody else.
    pub client_secret: Option<String>,
    /// What the tokens are to be good for; what the server asks for if it is left out.
    #[serde(default)]
    pub scopes: Vec<String>,
}

/// On whose word a server's tokens are issued.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OauthGrant {
    /// An operator's, who logs in with `placet mcp login`.
    #[default]
    Login,
    /// placet's own: its client credentials are enough.
    ClientCredentials,
}

/// How the names of logins begin in the vault. Nothing else can have such a name.
const LOGIN: &str = "oauth.";

/// A header that carries a secret.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderSecret {
    /// The secret's name in the vault.
    pub secret: String,
    /// What stands before it.
    #[serde(default)]
    pub prefix: String,
}

impl Reach {
    /// The names of the secrets that it needs.
    pub fn secrets(&self) -> Vec<&str> {
        match self {
            Reach::Process { secrets, .. } => secrets.values().map(String::as_str).collect(),
            Reach::Http { headers, oauth, .. } => {
                let of_client = oauth.as_ref().and_then(|oauth| oauth.client_secret.as_deref());
                headers.values().map(|header| header.secret.as_str()).chain(of_client).collect()
            }
        }
    }
}

/// A tool's definition as its server wrote it, and what placet reads of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Definition {
    value: Value,
    name: String,
}

impl Definition {
    /// Reads a definition: an object with a name that placet can pass on.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        let value = Value::parse(json).map_err(|error| error.to_string())?;
        let members = value.as_object().ok_or("a definition is a JSON object")?;
        let name = members.get("name").and_then(Value::as_str).ok_or("a definition has a name")?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./".contains(&b);
        if name.is_empty() || name.len() > TOOL_NAME_MAX || !name.bytes().all(plain) {
            return Err("a tool's name has 1 to 128 of A-Z a-z 0-9 _ - . /".to_owned());
        }
        // Or nobody could say whose tool was meant.
        if name.starts_with(OWN_PREFIX) {
            return Err(format!("names that begin with {OWN_PREFIX} are placet's own"));
        }
        let schema = members.get("inputSchema").and_then(Value::as_object);
        if schema.is_none() {
            return Err("a definition has an inputSchema, which is an object".to_owned());
        }
        let name = name.to_owned();
        Ok(Definition { value, name })
    }

    /// The tool's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The definition, member for member.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// What arguments have to look like.
    pub fn input_schema(&self) -> Option<&Value> {
        self.value.as_object()?.get("inputSchema")
    }

    /// Whether clients hold a result against a schema.
    pub fn has_output_schema(&self) -> bool {
        self.value.as_object().is_some_and(|members| members.contains_key("outputSchema"))
    }

    /// The description, as it is written.
    pub fn description(&self) -> Option<&str> {
        self.value.as_object()?.get("description")?.as_str()
    }

    /// It under another name.
    pub(super) fn named(&self, name: String) -> Value {
        let mut members = self.value.as_object().cloned().unwrap_or_default();
        members.insert("name".to_owned(), Value::String(name));
        Value::Object(members)
    }

    /// What pins it, together with what its server says about itself.
    pub fn pin(&self, server: &ServerName, instructions: Option<&str>) -> Sha256Digest {
        tool_pin(server.as_str(), instructions, &self.value)
    }
}

/// The shape of `mcp/NAME.toml`. Unknown keys are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    command: Option<Vec<String>>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    secrets: BTreeMap<String, String>,
    run_as: Option<String>,
    #[serde(default)]
    danger_same_user: bool,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, HeaderSecret>,
    oauth: Option<Oauth>,
    #[serde(default)]
    pass: BTreeSet<Pass>,
}

impl Catalogue {
    /// Reads the files below [`DIRECTORY`] of a bundle.
    pub fn read<'a>(
        bundle: BundleDigest,
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, CatalogueError> {
        let files: BTreeMap<&str, &str> = files
            .into_iter()
            .filter_map(|(path, text)| Some((path.strip_prefix(DIRECTORY)?, text)))
            .collect();
        let mut servers = BTreeMap::new();
        for (file, text) in &files {
            let wrong = |problem: String| CatalogueError { file: format!("{DIRECTORY}{file}"), problem };
            let Some(stem) = file.strip_suffix(SERVER_SUFFIX) else {
                let owner =
                    file.strip_suffix(TOOLS_SUFFIX).or_else(|| file.strip_suffix(INSTRUCTIONS_SUFFIX));
                let has_owner =
                    owner.is_some_and(|owner| files.contains_key(format!("{owner}{SERVER_SUFFIX}").as_str()));
                if has_owner {
                    continue;
                }
                return Err(wrong("it belongs to no server: there is no .toml of its name".to_owned()));
            };
            let name = ServerName::parse(stem).ok_or_else(|| {
                wrong("a server's name has 1 to 32 of a-z 0-9 - _ and starts with a letter".to_owned())
            })?;
            let (reach, passes) = reach(text).map_err(wrong)?;
            let instructions =
                files.get(format!("{stem}{INSTRUCTIONS_SUFFIX}").as_str()).map(|text| (*text).to_owned());
            let tools_file = format!("{stem}{TOOLS_SUFFIX}");
            let listed = files.get(tools_file.as_str()).copied().unwrap_or_default();
            let tools = tools(&name, instructions.as_deref(), listed)
                .map_err(|problem| CatalogueError { file: format!("{DIRECTORY}{tools_file}"), problem })?;
            servers.insert(name.clone(), Server { name, reach, instructions, passes, tools });
        }
        Ok(Catalogue { bundle, servers })
    }

    /// A server.
    pub fn server(&self, name: &ServerName) -> Option<&Server> {
        self.servers.get(name)
    }

    /// All servers, by name.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.values()
    }
}

impl Server {
    /// The names of all secrets that a connection to it needs.
    pub fn secrets(&self) -> Vec<String> {
        let logs_in = self.oauth().is_some_and(|oauth| oauth.grant == OauthGrant::Login);
        let login = logs_in.then(|| self.login());
        self.reach.secrets().into_iter().map(str::to_owned).chain(login).collect()
    }

    /// How placet gets its tokens, if it gets some.
    pub fn oauth(&self) -> Option<&Oauth> {
        match &self.reach {
            Reach::Http { oauth, .. } => oauth.as_ref(),
            Reach::Process { .. } => None,
        }
    }

    /// Under which name a login at it is kept.
    pub fn login(&self) -> String {
        format!("{LOGIN}{}", self.name)
    }

    /// Whether a method of its own is passed on to it.
    pub(super) fn takes(&self, method: &str) -> bool {
        Pass::for_method(method).is_some_and(|pass| self.passes.contains(&pass))
    }

    /// An accepted tool.
    pub fn tool(&self, name: &str) -> Option<&Accepted> {
        self.tools.get(name)
    }

    /// All accepted tools, by name.
    pub fn tools(&self) -> impl Iterator<Item = &Accepted> {
        self.tools.values()
    }
}

fn reach(text: &str) -> Result<(Reach, BTreeSet<Pass>), String> {
    let written: Written = toml::from_str(text).map_err(|error| error.to_string())?;
    let passes = written.pass;
    let reach = match (written.command, written.url) {
        (Some(command), None) => {
            let absolute = command.first().is_some_and(|program| !program.is_empty());
            if !absolute || command.iter().any(|word| word.contains('\0')) {
                return Err("command: name a program and its arguments".to_owned());
            }
            if !written.headers.is_empty() || written.oauth.is_some() {
                return Err("headers, oauth: a process has none; use environment and secrets".to_owned());
            }
            let run_as = crate::runner::config::run_as(written.run_as, written.danger_same_user)
                .map_err(|error| error.to_string())?;
            if run_as == RunAs::Nobody {
                return Err("say who runs it: run_as = \"a-user\", or danger_same_user = true to try it out"
                    .to_owned());
            }
            let twice = written.secrets.keys().find(|variable| written.environment.contains_key(*variable));
            if let Some(variable) = twice {
                return Err(format!("secrets: {variable} is also in environment: remove it there"));
            }
            Reach::Process { command, environment: written.environment, secrets: written.secrets, run_as }
        }
        (None, Some(url)) => {
            let plain = url.starts_with("http://") || url.starts_with("https://");
            if !plain || url.contains(['@', '#']) {
                return Err("url: write http(s)://host/path, without a user or a fragment".to_owned());
            }
            let of_process =
                !written.environment.is_empty() || !written.secrets.is_empty() || written.run_as.is_some();
            if of_process || written.danger_same_user {
                return Err(
                    "a server with a url has neither environment, secrets nor run_as: use headers".to_owned()
                );
            }
            if let Some(oauth) = &written.oauth {
                check_oauth(&url, &written.headers, oauth)?;
            }
            Reach::Http { url, headers: written.headers, oauth: written.oauth }
        }
        _ => return Err("write either command or url".to_owned()),
    };
    if let Some(name) = reach.secrets().into_iter().find(|name| name.starts_with(LOGIN)) {
        return Err(format!("secrets: {name} is a login, which is for its own server: use oauth there"));
    }
    Ok((reach, passes))
}

/// Tokens travel encrypted, and a client's secret goes to nobody that only the server named.
fn check_oauth(url: &str, headers: &BTreeMap<String, HeaderSecret>, oauth: &Oauth) -> Result<(), String> {
    let parsed = Url::parse(url).map_err(|_| "url: write https://host/path".to_owned())?;
    if !is_protected(&parsed) {
        return Err("oauth: a token is sent over https only, but for this machine".to_owned());
    }
    if headers.keys().any(|name| name.eq_ignore_ascii_case("authorization")) {
        return Err("oauth: the header Authorization is what carries its token".to_owned());
    }
    if let Some(issuer) = &oauth.issuer {
        let named = Url::parse(issuer).ok().filter(is_protected);
        if named.is_none_or(|issuer| issuer.query().is_some() || issuer.fragment().is_some()) {
            return Err(
                "oauth: issuer: write https://host, as the authorization server calls itself".to_owned()
            );
        }
    }
    if oauth.client_secret.is_some() && (oauth.issuer.is_none() || oauth.client_id.is_none()) {
        return Err(
            "oauth: a client_secret needs client_id and issuer, or the server could send it anywhere"
                .to_owned(),
        );
    }
    if oauth.grant == OauthGrant::ClientCredentials && oauth.client_secret.is_none() {
        return Err("oauth: client_credentials needs issuer, client_id and client_secret".to_owned());
    }
    let plain = |scope: &String| {
        !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\".contains(&b))
    };
    match oauth.scopes.iter().all(plain) {
        true => Ok(()),
        false => Err("oauth: scopes: write one word each".to_owned()),
    }
}

fn tools(
    server: &ServerName,
    instructions: Option<&str>,
    lines: &str,
) -> Result<BTreeMap<String, Accepted>, String> {
    let mut tools = BTreeMap::new();
    for (number, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |problem: String| format!("line {}: {problem}", number + 1);
        let definition = Definition::read(line.as_bytes()).map_err(wrong)?;
        let pin = definition.pin(server, instructions);
        let name = definition.name().to_owned();
        if tools.insert(name.clone(), Accepted { definition, pin }).is_some() {
            return Err(wrong(format!("{name} stands here twice")));
        }
    }
    Ok(tools)
}

/// The paths and texts by which a bundle accepts these tools of a server.
pub fn acceptance<'a>(
    server: &ServerName,
    instructions: Option<&str>,
    tools: impl IntoIterator<Item = &'a Definition>,
) -> BTreeMap<String, Option<String>> {
    let mut lines: Vec<(&str, String)> =
        tools.into_iter().map(|tool| (tool.name(), tool.value().canonical())).collect();
    lines.sort();
    let listed =
        (!lines.is_empty()).then(|| lines.into_iter().map(|(_, line)| line + "\n").collect::<String>());
    BTreeMap::from([
        (format!("{DIRECTORY}{server}{TOOLS_SUFFIX}"), listed),
        (format!("{DIRECTORY}{server}{INSTRUCTIONS_SUFFIX}"), instructions.map(str::to_owned)),
    ])
}

/// The path of a server's own file.
pub fn server_file(server: &ServerName) -> String {
    format!("{DIRECTORY}{server}{SERVER_SUFFIX}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &str = "command = [\"/usr/bin/server-files\", \"/srv/data\"]\ndanger_same_user = true\n";
    const READ: &str =
        r#"{"name":"read_file","description":"Reads.","inputSchema":{"type":"object"},"x-vendor":1.0}"#;

    fn read(files: &[(&str, &str)]) -> Result<Catalogue, String> {
        Catalogue::read(BundleDigest::of_files([]), files.iter().copied()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_server_has_the_tools_that_were_accepted() {
        let tools = format!("{READ}\n");
        let catalogue =
            read(&[("mcp/files.toml", FILES), ("mcp/files.tools.jsonl", &tools), ("ask.cedar", "")]).unwrap();
        let files = ServerName::parse("files").unwrap();
        let server = catalogue.server(&files).unwrap();
        assert_eq!(server.tools().count(), 1);
        let tool = server.tool("read_file").unwrap();
        // Vendors' members and the spelling of numbers are part of what was accepted.
        assert!(tool.definition.value().canonical().contains("\"x-vendor\":1.0"));
        assert!(server.tool("write_file").is_none());
    }

    #[test]
    fn what_was_accepted_reads_back() {
        let files = ServerName::parse("files").unwrap();
        let definition = Definition::read(READ.as_bytes()).unwrap();
        let written = acceptance(&files, Some("Be careful."), [&definition]);
        let mut all: Vec<(&str, &str)> = vec![("mcp/files.toml", FILES)];
        all.extend(written.iter().filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?))));
        let catalogue = read(&all).unwrap();
        let server = catalogue.server(&files).unwrap();
        assert_eq!(server.instructions.as_deref(), Some("Be careful."));
        assert_eq!(server.tool("read_file").unwrap().pin, definition.pin(&files, Some("Be careful.")));
    }

    #[test]
    fn a_pin_moves_with_every_member_and_with_the_instructions() {
        let files = ServerName::parse("files").unwrap();
        let pin =
            |json: &str, instructions| Definition::read(json.as_bytes()).unwrap().pin(&files, instructions);
        let base = pin(READ, None);
        assert_ne!(base, pin(READ, Some("Be careful.")));
        assert_ne!(base, pin(&READ.replace("Reads.", "Reads. "), None));
        assert_ne!(base, pin(&READ.replace("1.0", "1"), None));
        assert_eq!(
            base,
            pin(&READ.replace(",\"x-vendor\":1.0", "").replacen('{', "{\"x-vendor\":1.0,", 1), None)
        );
    }

    #[test]
    fn files_that_nobody_understands_are_refused() {
        for (file, text, why) in [
            ("mcp/Files.toml", FILES, "a server's name"),
            ("mcp/a__b.toml", FILES, "a server's name"),
            ("mcp/files.toml", "command = []", "command"),
            ("mcp/files.toml", "command = [\"x\"]", "run_as"),
            ("mcp/files.toml", "command = [\"x\"]\nurl = \"http://h/\"", "either"),
            ("mcp/files.toml", "comand = [\"x\"]", "comand"),
            ("mcp/files.toml", "url = \"https://h/\"\npass = [\"sampling\"]", "pass"),
            ("mcp/files.toml", "url = \"http://user@h/\"", "url"),
            ("mcp/files.toml", "url = \"file:///etc/passwd\"", "url"),
            ("mcp/files.toml", "url = \"https://h/\"\ndanger_same_user = true", "headers"),
            ("mcp/files.toml", "command = [\"x\"]\ndanger_same_user = true\n[oauth]", "oauth"),
            ("mcp/files.toml", "url = \"http://h/\"\n[oauth]", "https"),
            (
                "mcp/files.toml",
                "url = \"https://h/\"\n[headers]\nauthorization = { secret = \"x\" }\n[oauth]",
                "Authorization",
            ),
            ("mcp/files.toml", "url = \"https://h/\"\n[oauth]\nissuer = \"http://i/\"", "issuer"),
            (
                "mcp/files.toml",
                "url = \"https://h/\"\n[oauth]\nclient_id = \"a\"\nclient_secret = \"b\"",
                "issuer",
            ),
            (
                "mcp/files.toml",
                "url = \"https://h/\"\n[oauth]\ngrant = \"client_credentials\"",
                "client_secret",
            ),
            ("mcp/files.toml", "url = \"https://h/\"\n[oauth]\nscopes = [\"a b\"]", "scopes"),
            (
                "mcp/files.toml",
                "url = \"https://h/\"\n[headers]\nX-Key = { secret = \"oauth.git\" }",
                "login",
            ),
            ("mcp/other.tools.jsonl", READ, "no server"),
        ] {
            let error = read(&[(file, text)]).unwrap_err();
            assert!(error.contains(why), "{file} {text:?}: {error}");
        }
        for (tools, why) in [
            ("{", "line 1"),
            (r#"{"name":"a b","inputSchema":{}}"#, "name"),
            (r#"{"name":"a","name":"b","inputSchema":{}}"#, "line 1"),
            (r#"{"name":"a"}"#, "inputSchema"),
            ("{\"name\":\"a\",\"inputSchema\":{}}\n{\"name\":\"a\",\"inputSchema\":{}}", "twice"),
        ] {
            let error = read(&[("mcp/files.toml", FILES), ("mcp/files.tools.jsonl", tools)]).unwrap_err();
            assert!(error.contains(why), "{tools}: {error}");
        }
    }
}
