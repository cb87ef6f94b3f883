//! What is asked for: a call of a tool, or another call that carries something of the agent's to a server. It is written
//! into an action's arguments, reviewed there, and read back from there and from nowhere else.

use placet_core::action::{ActionRequest, Canonical, Grade, PepKind, Pins};
use placet_core::c14n::Value;
use placet_core::digest::Sha256Digest;

use super::catalogue::{Reach, ServerName};
use crate::runner::user::Identity;

/// A call as an agent made it.
pub(super) struct Gated {
    pub(super) server: ServerName,
    pub(super) what: What,
    pub(super) justification: Option<String>,
    pub(super) on_behalf_of: Option<String>,
    pub(super) idempotency_key: Option<String>,
}

/// What a server would be asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// To carry out a tool.
    Tool {
        /// Which.
        name: String,
        /// With what: an object.
        arguments: Value,
    },
    /// Anything else.
    Method {
        /// `resources/read` or another that is gated.
        method: String,
        /// With what: an object.
        params: Value,
    },
}

impl What {
    /// An action's arguments: the call itself, token for token.
    pub(super) fn arguments(&self, server: &ServerName) -> Value {
        let server = (SERVER, Value::string(server.as_str()));
        match self {
            What::Tool { name, arguments } => {
                Value::object([server, (TOOL, Value::string(name.as_str())), (ARGUMENTS, arguments.clone())])
            }
            What::Method { method, params } => {
                Value::object([server, (METHOD, Value::string(method.as_str())), (PARAMS, params.clone())])
            }
        }
    }

    /// The method by which the server is asked.
    pub(super) fn method(&self) -> &str {
        match self {
            What::Tool { .. } => "tools/call",
            What::Method { method, .. } => method,
        }
    }

    /// The parameters by which it is asked.
    pub(super) fn params(&self) -> Value {
        match self {
            What::Tool { name, arguments } => {
                Value::object([("name", Value::string(name.as_str())), (ARGUMENTS, arguments.clone())])
            }
            What::Method { params, .. } => params.clone(),
        }
    }

    /// Whether its result is a tool's.
    pub(super) fn is_tool(&self) -> bool {
        matches!(self, What::Tool { .. })
    }

    /// Whether the protocol lets its client be told to come again.
    pub(super) fn can_come_again(&self) -> bool {
        matches!(self.method(), "tools/call" | "resources/read" | "prompts/get")
    }
}

impl Gated {
    /// What stands for the call where it is compared with another.
    pub(super) fn fingerprint(&self) -> Sha256Digest {
        Sha256Digest::of(self.what.arguments(&self.server).canonical().as_bytes())
    }
}

/// What was reviewed.
#[derive(Debug)]
pub(super) struct Reviewed {
    pub(super) server: ServerName,
    pub(super) what: What,
    pub(super) pin: Option<Sha256Digest>,
}

impl Reviewed {
    /// Reads it from the canonical bytes.
    pub(super) fn of(canonical: &str) -> Result<Self, &'static str> {
        const NOT_OURS: &str = "What was approved is not a call of this gateway.";
        let canonical = Canonical::from_stored(canonical.to_owned());
        let action = ActionRequest::from_canonical(&canonical).map_err(|_| NOT_OURS)?;
        let members = action.arguments.as_object().ok_or(NOT_OURS)?;
        let text = |name| members.get(name).and_then(Value::as_str).map(str::to_owned);
        let object = |name| members.get(name).filter(|value| value.as_object().is_some()).cloned();
        let server = text(SERVER).and_then(|server| ServerName::parse(&server)).ok_or(NOT_OURS)?;
        if action.pep != PepKind::Mcp || action.target != target(&server) {
            return Err(NOT_OURS);
        }
        let what = match (text(TOOL), object(ARGUMENTS), text(METHOD), object(PARAMS)) {
            (Some(name), Some(arguments), None, None) => What::Tool { name, arguments },
            (None, None, Some(method), Some(params)) => What::Method { method, params },
            _ => return Err(NOT_OURS),
        };
        Ok(Reviewed { server, what, pin: action.pins.tool })
    }
}

/// The members of an intercepted call, as policy's mapping knows them.
const SERVER: &str = "server";
const TOOL: &str = "tool";
const ARGUMENTS: &str = "arguments";
const METHOD: &str = "method";
const PARAMS: &str = "params";

/// What an enforcement point talks to.
pub(super) fn target(server: &ServerName) -> String {
    format!("mcp:{server}")
}

/// What pins a call of a tool.
pub(super) fn pins(tool: Option<Sha256Digest>) -> Pins {
    Pins { tool, ..Pins::default() }
}

/// What placet's place in front of a server is worth: can the agent do without?
pub(super) fn grade(reach: &Reach) -> Grade {
    match reach {
        Reach::Process { run_as, .. } => {
            Identity::resolve(run_as).map_or(Grade::Advisory, |identity| identity.grade())
        }
        // Whoever knows the address of a server that wants no credential can call it.
        Reach::Http { headers, oauth: None, .. } if headers.is_empty() => Grade::Advisory,
        Reach::Http { .. } => Grade::Enforced,
    }
}

#[cfg(test)]
mod tests {
    use placet_core::action::{ActionName, ActorChain, Principal, ResourceRef};
    use placet_core::id::{AgentId, PersonId};

    use super::*;

    fn read(pep: PepKind, target: &str, arguments: &str) -> Result<Reviewed, &'static str> {
        let action = ActionRequest {
            tenant: "default".into(),
            chain: ActorChain {
                requester: Principal::Agent(AgentId::from_bytes([1; 16])),
                through: Vec::new(),
                on_behalf_of: PersonId::from_bytes([2; 16]),
            },
            pep,
            target: target.to_owned(),
            action: ActionName::parse("mcp.call").unwrap(),
            resource: ResourceRef::new("Tool", "files/read").unwrap(),
            arguments: Value::parse(arguments.as_bytes()).unwrap(),
            pins: pins(Some(Sha256Digest::of(b"x"))),
        };
        Reviewed::of(action.canonical().unwrap().as_str())
    }

    #[test]
    fn a_call_is_read_back_from_its_canonical_bytes_alone() {
        let call = r#"{"arguments":{"n":9007199254740993},"server":"files","tool":"read"}"#;
        let reviewed = read(PepKind::Mcp, "mcp:files", call).unwrap();
        assert_eq!(
            reviewed.what.params().canonical(),
            r#"{"arguments":{"n":9007199254740993},"name":"read"}"#
        );
        assert_eq!((reviewed.server.as_str(), reviewed.what.method()), ("files", "tools/call"));
        assert_eq!(reviewed.what.arguments(&reviewed.server).canonical(), call);
        assert!(read(PepKind::Mcp, "mcp:other", call).is_err());
        assert!(read(PepKind::External, "mcp:files", call).is_err());
    }

    #[test]
    fn a_call_is_of_one_kind() {
        let of = |arguments: &str| read(PepKind::Mcp, "mcp:files", arguments);
        let call = r#"{"method":"resources/read","params":{"uri":"file:///a"},"server":"files"}"#;
        let reviewed = of(call).unwrap();
        assert_eq!(reviewed.what.method(), "resources/read");
        assert_eq!(reviewed.what.arguments(&reviewed.server).canonical(), call);
        for other in [
            r#"{"server":"files","method":"resources/read","params":{},"tool":"read","arguments":{}}"#,
            r#"{"server":"files","tool":"read"}"#,
            r#"{"server":"files","tool":"read","arguments":[]}"#,
            r#"{"server":"files","method":"resources/read","params":"a"}"#,
            r#"{"server":"files","tool":"read","params":{}}"#,
            r#"{"tool":"read","arguments":{}}"#,
        ] {
            assert!(of(other).is_err(), "{other}");
        }
    }
}
