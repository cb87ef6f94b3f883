//! Everybody who plays: made once, in a data directory that every history starts from a copy of.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use placet_broker::directory::{NewAgent, NewPerson};
use placet_broker::intake::Caller;
use placet_broker::limits::Caps;
use placet_broker::review::Reviewer;
use placet_broker::{Broker, Config, Parts};
use placet_core::digest::BundleDigest;
use placet_core::directory::{AgentKind, Operator};
use placet_core::id::PersonId;
use placet_core::secret::Secret;
use placet_core::time::Timestamp;
use placet_ledger::note::Signer;
use placet_ledger::vkey::KeyName;
use placet_store::faulty::Faulty;
use placet_store::keys::RootKeySource;
use placet_store::sqlite::{Options, SqliteStore};
use placet_store::{Store, Views};
use placet_testkit::{ManualClock, SeededEntropy};
use tempfile::TempDir;

use crate::law::{LAWS, bundle};
use crate::naive::{BOTS, PENDING_MAX, PEOPLE, REVIEWS_MAX};
use crate::planted::{Bug, Planted};

/// Everybody.
pub(crate) struct Cast {
    data: TempDir,
    /// When they signed in; the clock stands there when a history begins.
    pub(crate) at: Timestamp,
    /// How many entries the log has when a history begins.
    pub(crate) entries: u64,
    /// Who has a user id that is nobody's here.
    pub(crate) operator: Operator,
    pub(crate) people: Vec<PersonId>,
    pub(crate) by_session: Vec<Reviewer>,
    pub(crate) by_token: Vec<Reviewer>,
    pub(crate) bots: Vec<Caller>,
    pub(crate) laws: Vec<BundleDigest>,
}

/// Two brokers over one store, of which the first one's store fails where a test says so.
pub(crate) struct Process {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) faulty: Arc<Faulty>,
    pub(crate) brokers: [Broker; 2],
    pub(crate) claiming: Arc<AtomicBool>,
}

/// The cast of all histories.
pub(crate) fn cast() -> &'static Cast {
    static CAST: OnceLock<Cast> = OnceLock::new();
    CAST.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(Cast::gather())
    })
}

/// A directory in memory where there is one: nothing here is about the disk.
pub(crate) fn scratch() -> TempDir {
    let mut builder = tempfile::Builder::new();
    builder.permissions(Permissions::from_mode(0o700));
    builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).unwrap()
}

impl Cast {
    async fn gather() -> Cast {
        let data = scratch();
        let clock = Arc::new(ManualClock::default());
        let process = Process::open(data.path(), &clock, 1, Bug::None);
        let broker = &process.brokers[0];
        let root = Operator { uid: 0, person: None };
        let mut laws = Vec::new();
        for law in &LAWS {
            let staged = broker.stage(&root, bundle(law)).await.unwrap();
            laws.push(staged.digest);
        }
        broker.activate(&root, laws[0]).await.unwrap();
        broker.add_group(&root, "reviewers").await.unwrap();
        let mut people = Vec::new();
        for (place, known) in PEOPLE.iter().enumerate() {
            let person = NewPerson {
                name: known.name.to_owned(),
                email: known.email.map(str::to_owned),
                groups: vec!["reviewers".to_owned()],
                operator_uid: [0, 6].contains(&place).then_some(1000 + place as u32),
            };
            people.push(broker.add_person(&root, person).await.unwrap().id);
        }
        let (mut by_session, mut by_token) = (Vec::new(), Vec::new());
        for known in &PEOPLE {
            let operator = match known.invited_by {
                Some(by) => broker.operator(1000 + by as u32).await.unwrap(),
                None => root.clone(),
            };
            let operator = &operator;
            let invited = broker.invite(operator, known.name).await.unwrap();
            let signed = broker.sign_in(invited.secret.expose(), "localhost").await.unwrap();
            by_session.push(broker.reviewer_by_cookie(signed.cookie.expose(), "localhost").await.unwrap());
            let (_, token) = broker.mint_token(operator, known.name).await.unwrap();
            by_token.push(broker.reviewer_by_token(token.expose()).await.unwrap());
        }
        let mut bots = Vec::new();
        for (place, (sponsor, owners, acts_for)) in BOTS.iter().enumerate() {
            let names =
                |people: &[usize]| people.iter().map(|person| PEOPLE[*person].name.to_owned()).collect();
            let new = NewAgent {
                name: format!("bot{place}"),
                kind: if place == 0 { AgentKind::Agent } else { AgentKind::Pipeline },
                sponsor: PEOPLE[*sponsor].name.to_owned(),
                owners: names(owners),
                acts_for: names(acts_for),
                groups: Vec::new(),
                workload: None,
            };
            let (_, token) = broker.add_agent(&root, new).await.unwrap();
            bots.push(broker.authenticate_agent(token.expose()).await.unwrap());
        }
        let entries = process.store.log().await.unwrap().frontier.size();
        drop(process);
        let at = placet_core::time::Clock::now(clock.as_ref());
        Cast { data, at, entries, operator: root, people, by_session, by_token, bots, laws }
    }

    /// A data directory of one's own in which everybody is there.
    pub(crate) fn copy(&self) -> TempDir {
        let copy = scratch();
        copy_tree(self.data.path(), copy.path());
        copy
    }
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&target).unwrap();
            fs::set_permissions(&target, fs::metadata(&path).unwrap().permissions()).unwrap();
            copy_tree(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

impl Process {
    /// Opens store and brokers in a directory.
    pub(crate) fn open(data: &Path, clock: &Arc<ManualClock>, seed: u64, bug: Bug) -> Process {
        let entropy = Arc::new(SeededEntropy::new(seed));
        let options = Options {
            clock: clock.clone(),
            entropy: entropy.clone(),
            origin: "placet.test/ledger".to_owned(),
            root_key: RootKeySource::Own,
        };
        let store = Arc::new(SqliteStore::open(data, options).unwrap());
        let faulty = Arc::new(Faulty::scripted(store.clone(), []));
        let claiming = Arc::new(AtomicBool::new(false));
        let broker = |inner: Arc<dyn Store>, log: &str| {
            let planted = Arc::new(Planted::new(inner, clock.clone(), bug, claiming.clone()));
            // Small enough to be reached, and for calls large enough not to be.
            let caps =
                Caps { calls_per_minute: 1_000_000, pending_max: PENDING_MAX, reviews_per_hour: REVIEWS_MAX };
            let log_dir: PathBuf = data.join(log);
            Broker::new(Parts {
                commit: planted.clone(),
                views: planted,
                entropy: entropy.clone(),
                short_code_key: Secret::new([1; 32]),
                form_key: Secret::new([2; 32]),
                signer: Signer::from_seed(KeyName::parse("placet.test/ledger").unwrap(), &[7; 32]),
                log_dir,
                config: Config { caps, ..Config::default() },
            })
        };
        // Each publishes for itself: a directory of tiles has one writer.
        let brokers = [broker(faulty.clone(), "log"), broker(store.clone(), "log-of-the-second")];
        Process { store, faulty, brokers, claiming }
    }
}
