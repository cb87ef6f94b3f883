//! A broker in a temporary directory, with people and agents in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use placet_broker::directory::{NewAgent, NewPerson};
use placet_broker::execution::ClaimedGrant;
use placet_broker::intake::{Caller, Envelope, ExternalCall, Submitted};
use placet_broker::review::{BallotInput, Review, Reviewer};
use placet_broker::{Broker, CallError, Config, Parts, Seen};
use placet_core::c14n::Value;
use placet_core::directory::{AgentKind, Operator};
use placet_core::entry::Kind;
use placet_core::id::RequestId;
use placet_core::request::Request;
use placet_core::review::Verdict;
use placet_core::secret::Secret;
use placet_ledger::note::Signer;
use placet_ledger::vkey::KeyName;
use placet_policy::BundleFiles;
use placet_store::faulty::Faulty;
use placet_store::keys::RootKeySource;
use placet_store::sqlite::{Options, SqliteStore};
use placet_store::{EntryFilter, Views};
use placet_testkit::{ManualClock, SeededEntropy};
use tempfile::TempDir;

/// Everything of one test.
pub(crate) struct World {
    pub(crate) broker: Broker,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) operator: Operator,
    pub(crate) bot: Caller,
    pub(crate) store: Arc<SqliteStore>,
    /// What broker sees of the store: commits fail or wait where a test says so.
    pub(crate) faulty: Arc<Faulty>,
    pub(crate) data: TempDir,
}

/// A starter bundle's files.
pub(crate) fn starter(name: &str) -> BTreeMap<String, Vec<u8>> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "placet", "starters", name].iter().collect();
    let files = BundleFiles::read_dir(&path).unwrap();
    files.iter().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect()
}

/// A starter bundle in which a file says something else, without its tests, which may not fit any more.
pub(crate) fn edited(name: &str, file: &str, from: &str, to: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = starter(name);
    files.retain(|path, _| !path.starts_with("tests/"));
    edit(&mut files, file, from, to);
    files
}

/// Replaces a text in a file that has it.
pub(crate) fn edit(files: &mut BTreeMap<String, Vec<u8>>, file: &str, from: &str, to: &str) {
    let text = String::from_utf8(files[file].clone()).unwrap();
    assert!(text.contains(from), "{file} does not say {from}");
    files.insert(file.to_owned(), text.replace(from, to).into_bytes());
}

fn signer() -> Signer {
    Signer::from_seed(KeyName::parse("placet.test/ledger").unwrap(), &[7; 32])
}

type Opened = (Arc<SqliteStore>, Arc<Faulty>, Broker);

/// Opens store and broker in a directory.
pub(crate) fn open(data: &Path, clock: &Arc<ManualClock>, seed: u64, config: Config) -> Opened {
    let entropy = Arc::new(SeededEntropy::new(seed));
    let options = Options {
        clock: clock.clone(),
        entropy: entropy.clone(),
        origin: "placet.test/ledger".to_owned(),
        root_key: RootKeySource::Own,
    };
    let store = Arc::new(SqliteStore::open(data, options).unwrap());
    let faulty = Arc::new(Faulty::scripted(store.clone(), []));
    let broker = Broker::new(Parts {
        commit: faulty.clone(),
        views: faulty.clone(),
        entropy,
        short_code_key: Secret::new([1; 32]),
        form_key: Secret::new([2; 32]),
        signer: signer(),
        log_dir: data.join("log"),
        config,
    });
    (store, faulty, broker)
}

impl World {
    /// A world under this starter: `ann` operates placet and sponsors the agent `bot`; nobody reviews yet.
    pub(crate) async fn new(name: &str) -> World {
        World::under(starter(name), Config::default()).await
    }

    /// The same under another bundle, with other numbers.
    pub(crate) async fn under(files: BTreeMap<String, Vec<u8>>, config: Config) -> World {
        let data = tempfile::Builder::new().permissions(private()).tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let (store, faulty, broker) = open(data.path(), &clock, 1, config);
        let operator = Operator { uid: 1000, person: None };
        let staged = broker.stage(&operator, files).await.unwrap();
        broker.activate(&operator, staged.digest).await.unwrap();
        broker.add_group(&operator, "reviewers").await.unwrap();
        let ann = NewPerson { name: "ann".into(), operator_uid: Some(1000), ..NewPerson::default() };
        broker.add_person(&operator, ann).await.unwrap();
        let operator = broker.operator(1000).await.unwrap();
        let bot = NewAgent {
            name: "bot".into(),
            kind: AgentKind::Agent,
            sponsor: "ann".into(),
            owners: vec![],
            acts_for: vec![],
            groups: vec![],
            workload: None,
        };
        let (_, token) = broker.add_agent(&operator, bot).await.unwrap();
        let bot = broker.authenticate_agent(token.expose()).await.unwrap();
        World { broker, clock, operator, bot, store, faulty, data }
    }

    /// Lets another bundle decide.
    pub(crate) async fn activate(&self, files: BTreeMap<String, Vec<u8>>) {
        let staged = self.broker.stage(&self.operator, files).await.unwrap();
        self.broker.activate(&self.operator, staged.digest).await.unwrap();
    }

    /// The same data after the process was gone.
    pub(crate) async fn restarted(self) -> World {
        self.restarted_after(|_| ()).await
    }

    /// The same after something happened to the data in between.
    pub(crate) async fn restarted_after(self, meanwhile: impl FnOnce(&Path)) -> World {
        let World { broker, clock, operator, bot, store, faulty, data } = self;
        drop((broker, faulty, store));
        meanwhile(data.path());
        let (store, faulty, broker) = open(data.path(), &clock, 2, Config::default());
        broker.load_policy().await.unwrap();
        World { broker, clock, operator, bot, store, faulty, data }
    }

    /// A person who reviews, signed in by a link.
    pub(crate) async fn reviewer(&self, name: &str) -> Reviewer {
        let person =
            NewPerson { name: name.into(), groups: vec!["reviewers".into()], ..NewPerson::default() };
        self.broker.add_person(&self.operator, person).await.unwrap();
        self.signed_in(name).await
    }

    /// A person's fresh session.
    pub(crate) async fn signed_in(&self, name: &str) -> Reviewer {
        let invited = self.broker.invite(&self.operator, name).await.unwrap();
        let signed = self.broker.sign_in(invited.secret.expose(), "localhost").await.unwrap();
        self.broker.reviewer_by_cookie(signed.cookie.expose(), "localhost").await.unwrap()
    }

    /// The agent deploys to an environment.
    pub(crate) async fn deploy(&self, environment: &str) -> Result<Submitted, CallError> {
        self.submit(deploy(environment)).await
    }

    pub(crate) async fn submit(&self, call: ExternalCall) -> Result<Submitted, CallError> {
        self.broker.submit_external(&self.bot, call).await
    }

    /// The review as this person sees it.
    pub(crate) async fn review(&self, reviewer: &Reviewer, id: RequestId) -> Review {
        self.broker.review(reviewer, id).await.unwrap()
    }

    /// What this person sees, decided.
    pub(crate) async fn vote(
        &self,
        reviewer: &Reviewer,
        id: RequestId,
        verdict: Verdict,
    ) -> Result<Seen, CallError> {
        let ballot = ballot(&self.review(reviewer, id).await, verdict);
        self.broker.vote(reviewer, id, ballot, "inbox").await
    }

    /// The request as it is stored now.
    pub(crate) async fn stored(&self, id: RequestId) -> Request {
        self.store.request(id).await.unwrap().unwrap().request
    }

    /// The agent claims its external request.
    pub(crate) async fn claim(&self, request: &Request, value: &str) -> Result<ClaimedGrant, CallError> {
        let digest = request.canonical.digest().to_string();
        self.broker.claim_external(&self.bot, request.id, &digest, value).await
    }

    /// The kinds of all entries of a request, oldest first.
    pub(crate) async fn kinds(&self, id: RequestId) -> Vec<Kind> {
        let filter = EntryFilter { request: Some(id), limit: 200, ..EntryFilter::default() };
        let mut entries = self.store.entries(filter).await.unwrap();
        entries.reverse();
        entries.into_iter().map(|entry| entry.kind).collect()
    }
}

/// A call that deploys to an environment.
pub(crate) fn deploy(environment: &str) -> ExternalCall {
    ExternalCall {
        action: "example.deploy".into(),
        resource_type: "Example".into(),
        resource_id: environment.into(),
        arguments: Value::parse(br#"{"service":"shop","version":"1.4.2"}"#).unwrap(),
        envelope: Envelope { justification: Some("the fix is in 1.4.2".into()), ..Envelope::default() },
    }
}

/// A ballot on what was shown.
pub(crate) fn ballot(review: &Review, verdict: Verdict) -> BallotInput {
    BallotInput {
        verdict,
        reason: Some("looked at it".into()),
        digest: review.card.digest.clone(),
        content_version: review.card.content_version,
        card: review.card_hash.to_string(),
    }
}

fn private() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o700)
}
