//! A real broker over a real store in a temporary directory, with one operator who is a person.

#![expect(clippy::unwrap_used, reason = "a world that cannot be made ends its test")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use placet_broker::directory::{NewAgent, NewPerson};
use placet_broker::{Broker, Config, Parts};
use placet_core::directory::{AgentKind, Operator};
use placet_core::secret::Secret;
use placet_ledger::note::Signer;
use placet_ledger::vkey::KeyName;
use placet_store::keys::RootKeySource;
use placet_store::sqlite::{Options, SqliteStore};
use tempfile::TempDir;

use crate::{ManualClock, SeededEntropy};

/// The log's origin in every world.
pub const ORIGIN: &str = "placet.test/ledger";
/// The operator's user id in every world.
pub const OPERATOR_UID: u32 = 1000;

/// Everything of one test. What a person holds is held as text, the way it travels.
pub struct World {
    /// The use cases.
    pub broker: Broker,
    /// The store behind them.
    pub store: Arc<SqliteStore>,
    /// Its clock.
    pub clock: Arc<ManualClock>,
    /// Its chance.
    pub entropy: Arc<SeededEntropy>,
    /// `ann`, who operates placet.
    pub operator: Operator,
    /// The data directory.
    pub data: TempDir,
}

impl World {
    /// A world under the policy in this directory, with the groups that it speaks of. `ann` is its first person and
    /// operates it; she is in no group.
    pub async fn new(policy: &Path, groups: &[&str]) -> World {
        let private = std::fs::Permissions::from_mode(0o700);
        let data = tempfile::Builder::new().permissions(private).tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let entropy = Arc::new(SeededEntropy::new(1));
        let options = Options {
            clock: clock.clone(),
            entropy: entropy.clone(),
            origin: ORIGIN.to_owned(),
            root_key: RootKeySource::Own,
        };
        let store = Arc::new(SqliteStore::open(data.path(), options).unwrap());
        let broker = Broker::new(Parts {
            commit: store.clone(),
            views: store.clone(),
            entropy: entropy.clone(),
            short_code_key: Secret::new([1; 32]),
            form_key: Secret::new([2; 32]),
            signer: Signer::from_seed(KeyName::parse(ORIGIN).unwrap(), &[7; 32]),
            log_dir: data.path().join("log"),
            config: Config::default(),
        });
        let operator = Operator { uid: OPERATOR_UID, person: None };
        let staged = broker.stage(&operator, files_of(policy)).await.unwrap();
        broker.activate(&operator, staged.digest).await.unwrap();
        for group in groups {
            broker.add_group(&operator, group).await.unwrap();
        }
        let ann = NewPerson { name: "ann".into(), operator_uid: Some(OPERATOR_UID), ..NewPerson::default() };
        broker.add_person(&operator, ann).await.unwrap();
        let operator = broker.operator(OPERATOR_UID).await.unwrap();
        World { broker, store, clock, entropy, operator, data }
    }

    /// Adds a person in these groups.
    pub async fn person(&self, name: &str, groups: &[&str]) {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let new = NewPerson { name: name.to_owned(), groups, ..NewPerson::default() };
        self.broker.add_person(&self.operator, new).await.unwrap();
    }

    /// The secret of a fresh sign-in link for a person.
    pub async fn link(&self, name: &str) -> String {
        self.broker.invite(&self.operator, name).await.unwrap().secret.expose().to_owned()
    }

    /// A fresh API token of a person.
    pub async fn person_token(&self, name: &str) -> String {
        self.broker.mint_token(&self.operator, name).await.unwrap().1.expose().to_owned()
    }

    /// Adds an agent that `ann` sponsors, and gives its token.
    pub async fn agent(&self, name: &str) -> String {
        let agent = NewAgent {
            name: name.to_owned(),
            kind: AgentKind::Agent,
            sponsor: "ann".to_owned(),
            owners: Vec::new(),
            acts_for: Vec::new(),
            groups: Vec::new(),
            workload: None,
        };
        self.broker.add_agent(&self.operator, agent).await.unwrap().1.expose().to_owned()
    }
}

/// Every file below a directory, by its relative path.
fn files_of(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}
