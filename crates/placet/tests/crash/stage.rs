//! What every crash has in common: where it begins, and what has to be true afterwards.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Options, Placet, Stopped, free_port};
use crate::victim::{Point, Victim, copy_tree};

/// A way from intake to outcome.
pub(crate) trait Flow: Sync {
    /// For people.
    fn name(&self) -> &'static str;
    /// Goes it until somebody dies, and tells what was acknowledged.
    fn go(&self, victim: &mut Victim, keys: &Keys) -> Acknowledged;
    /// Looks at what is there after the restart, and goes on to the end.
    fn go_on(&self, placet: &Placet, keys: &Keys, was: &Acknowledged);
}

/// With what one comes in.
pub(crate) struct Keys {
    pub(crate) agent: String,
    pub(crate) cookie: String,
    pub(crate) form: String,
    log: String,
}

/// What placet said was done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acknowledged {
    pub(crate) request: Option<Value>,
    pub(crate) voted: bool,
    pub(crate) execution: Option<String>,
    pub(crate) finished: bool,
}

/// Where every crash begins: a placet that was started and stopped once, with a checkpoint that was kept.
pub(crate) struct Stage {
    space: TempDir,
    options: Options,
    keys: Keys,
}

impl Stage {
    pub(crate) fn set(flow: &dyn Flow) -> Stage {
        // The cookie is bound to the port.
        let listen = format!("127.0.0.1:{}", free_port());
        let options = Options::default().env("PLACET__REVIEWERS__LISTEN", &listen);
        let placet = options.clone().start();
        let session = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
        let page = session.cookie.get("/").expect(200).text();
        let form = page.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        let keys = Keys {
            agent: placet.ready.agent_token.clone().unwrap(),
            cookie: session.secret.clone(),
            form: form.to_owned(),
            log: placet.log_key(),
        };
        let kept = placet.cli(["audit", "checkpoint"]).succeeds();
        let stopped = placet.stop();
        assert!(stopped.status.success(), "{}: {}", flow.name(), stopped.log());
        let space = tempfile::tempdir().unwrap();
        copy_tree(&stopped.data(), &space.path().join("placet-data"));
        fs::write(space.path().join("kept"), kept).unwrap();
        Stage { space, options, keys }
    }

    /// One crash or failure. Gives whether its place was reached.
    pub(crate) fn play(&self, flow: &dyn Flow, point: &Point, torn: bool) -> bool {
        let space = tempfile::tempdir().unwrap();
        copy_tree(self.space.path(), space.path());
        let mut victim = Victim::start(space, &self.options, point);
        let was = flow.go(&mut victim, &self.keys);
        let (space, reached, last) = victim.end();
        if torn && reached {
            tear(&space.path().join("placet-data/placet.db-wal"));
        }
        let told = format!("{}: {point:?}, torn: {torn}, at {last}\nacknowledged: {was:?}", flow.name());
        // What a failing check says is nothing without where it happened.
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let placet = Placet::start_in(space, self.options.clone());
            flow.go_on(&placet, &self.keys, &was);
            self.verify(placet);
        }));
        if let Err(panic) = checked {
            eprintln!("{told}");
            std::panic::resume_unwind(panic);
        }
        reached
    }

    /// The log verifies, every request's trail is one that a request can have, and it continues what was kept.
    fn verify(&self, placet: Placet) {
        placet.cli(["audit", "checkpoint"]).succeeds();
        let kept = placet.space().join("kept");
        let verify = placet.cli(["audit", "verify", "--vkey", &self.keys.log, "--checkpoint"]);
        let report = verify.arg(kept).json();
        assert_eq!(report["older_checkpoints"], 1, "{report}");
        let stopped: Stopped = placet.crash();
        assert!(!stopped.log().contains("panicked"), "{}", stopped.log());
    }
}

/// Cuts into the last frame of a write-ahead log that was not on the disk yet.
fn tear(log: &Path) {
    let length = fs::metadata(log).unwrap().len();
    fs::File::options().write(true).open(log).unwrap().set_len(length.saturating_sub(5000)).unwrap();
}

impl Keys {
    /// What the agent's calls carry.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.agent)
    }
}

/// How many entries of this kind a request has.
pub(crate) fn entries(placet: &Placet, kind: &str, request: &Value) -> usize {
    let found = placet.admin(&format!("/admin/v1/audit/entries?limit=200&kind={kind}"));
    let entries = found["entries"].as_array().unwrap().iter();
    let of_it = entries.filter(|entry| {
        let clear: Value = serde_json::from_str(entry["entry"].as_str().unwrap()).unwrap();
        clear["request"] == request["id"]
    });
    of_it.count()
}
