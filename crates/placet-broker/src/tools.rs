//! What the enforcement point for tools asks: which servers there are, who may call what, and with which secrets.

use std::collections::BTreeMap;

use placet_core::action::{ActionRequest, ActorChain, Grade, PepKind, Pins, SecretVersion};
use placet_core::c14n::Value;
use placet_core::decision::Effect;
use placet_core::digest::BundleDigest;
use placet_core::id::RequestId;
use placet_core::secret::Secret;
use placet_policy::{SERVER, TOOL};

use crate::error::CallError;
use crate::intake::{Caller, Envelope, chain};
use crate::{Broker, Snapshot};

/// How many calls are judged for the price of making one.
const JUDGED_AT_ONCE: usize = 256;

/// The texts that say which MCP servers there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToolGuide {
    /// Which bundle says so.
    pub bundle: BundleDigest,
    /// By path below the bundle.
    pub files: BTreeMap<String, String>,
}

impl Broker {
    /// What the bundle in force says about MCP servers and their tools. `known` is the bundle that the caller has read
    /// already; if it is still in force, there is nothing to read.
    pub async fn guide_tools(&self, known: Option<BundleDigest>) -> Result<Option<ToolGuide>, CallError> {
        let bundle = self.bundle().await?;
        if known == Some(bundle.digest()) {
            return Ok(None);
        }
        let files = bundle.mcp_files().map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
        Ok(Some(ToolGuide { bundle: bundle.digest(), files }))
    }

    /// Which of these calls of MCP servers policy does not rule out for this caller by what they name alone, one answer for
    /// each. A call is given as its action's arguments, with nothing in it but a name. Where a rule maps calls by their
    /// arguments, nothing can be ruled out without them.
    pub async fn callable(&self, caller: &Caller, calls: Vec<Value>) -> Result<Vec<bool>, CallError> {
        let mut callable = Vec::new();
        for calls in calls.chunks(JUDGED_AT_ONCE) {
            self.take_call(caller.principal).await?;
            let snapshot = self.snapshot().await?;
            snapshot.admits(caller)?;
            let chain = chain(caller, &Envelope::default(), &snapshot.directory)?;
            callable.extend(calls.iter().map(|call| self.not_ruled_out(&snapshot, &chain, call)));
        }
        Ok(callable)
    }

    fn not_ruled_out(&self, snapshot: &Snapshot, chain: &ActorChain, call: &Value) -> bool {
        let text = |name: &str| call.as_object()?.get(name)?.as_str();
        let Some(server) = text(SERVER) else { return false };
        if text(TOOL).is_some_and(|tool| snapshot.bundle.maps_tool(server, tool)) {
            return true;
        }
        // What has no words in policy cannot be asked for.
        let Ok(mapped) = snapshot.bundle.map_intercepted(PepKind::Mcp, call) else { return false };
        let action = ActionRequest {
            tenant: self.0.config.tenant.clone(),
            chain: chain.clone(),
            pep: PepKind::Mcp,
            target: format!("mcp:{server}"),
            action: mapped.action,
            resource: mapped.resource,
            arguments: call.clone(),
            pins: Pins::default(),
        };
        // The grade is the best there is: whether it is worth less is for the call to find out.
        let judgement = snapshot.decide(&action, &mapped.facts, Grade::Enforced, &[], self.evaluation());
        !matches!(judgement.decision.effect, Effect::Forbid(_))
    }

    /// The newest versions of these secrets, by name.
    pub async fn secret_versions(&self, names: &[String]) -> Result<Vec<SecretVersion>, CallError> {
        let stored = self.secrets().await?.into_iter().filter(|stored| names.contains(&stored.name));
        Ok(stored.map(|stored| SecretVersion { name: stored.name, version: stored.version }).collect())
    }

    /// These versions of secrets, for an enforcement point's own connection to a server.
    pub async fn server_secrets(
        &self,
        versions: Vec<SecretVersion>,
    ) -> Result<BTreeMap<String, (SecretVersion, Secret)>, CallError> {
        let mut secrets = BTreeMap::new();
        if versions.is_empty() {
            return Ok(secrets);
        }
        self.trusted().await?;
        for version in versions {
            if let Some(secret) = self.0.views.secret(version.name.clone(), version.version).await? {
                secrets.insert(version.name.clone(), (version, secret));
            }
        }
        Ok(secrets)
    }

    /// What came out of the caller's own request, if it was kept and still is.
    pub async fn delivery_of(&self, caller: &Caller, id: RequestId) -> Result<Option<Vec<u8>>, CallError> {
        self.request_of(caller, id).await?;
        Ok(self.0.views.delivery(id).await?)
    }
}
