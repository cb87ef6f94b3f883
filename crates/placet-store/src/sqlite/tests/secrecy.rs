//! What is personal is nowhere to be read, and can be erased.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use placet_core::action::{
    ActionName, ActionRequest, ActorChain, Grade, PepKind, Pins, Principal, ResourceRef,
};
use placet_core::c14n::Value;
use placet_core::decision::{Decision, Effect, ForbidReason};
use placet_core::digest::{BundleDigest, Sha256Digest, ShortCode};
use placet_core::directory::{Agent, AgentKind, Operator, Person, Session, Status, Workload};
use placet_core::entry::{Draft, Kind};
use placet_core::id::{AgentId, EntryId, EvaluationId, ExecutionId, PersonId, RequestId, SessionId};
use placet_core::request::{Intake, Lifetimes, Request};
use placet_core::retry::KeyRecord;
use placet_core::review::{Assurance, Evidence, Verdict, Vote};
use placet_core::secret::Secret;
use placet_core::text::Untrusted;
use placet_core::time::Clock;

use super::Space;
use crate::keys::{Destroy, Subject};
use crate::{Commit, EntryFilter, Found, RequestFilter, SearchFilter, Transition, Views, Write};

/// Texts that must stand nowhere in the files.
const CANARIES: [&str; 17] = [
    "canary-delivery",
    "canary-justification",
    "canary-argument",
    "canary-environment",
    "canary-reason",
    "canary-card",
    "canary-recording",
    "canary-name",
    "canary-address",
    "canary-agent",
    "canary-issuer",
    "canary-subject",
    "canary-host",
    "canary-secret",
    "canary-key",
    "canary-disclosure",
    "canary-entity",
];

fn agent() -> AgentId {
    AgentId::from_bytes([7; 16])
}

fn ada() -> PersonId {
    PersonId::from_bytes([8; 16])
}

pub(super) fn request(space: &Space) -> Request {
    let action = ActionRequest {
        tenant: "default".to_owned(),
        chain: ActorChain { requester: Principal::Agent(agent()), through: Vec::new(), on_behalf_of: ada() },
        pep: PepKind::Command,
        target: "runner:local".to_owned(),
        action: ActionName::parse("data.export").unwrap(),
        resource: ResourceRef::new("Dataset", "canary-entity").unwrap(),
        arguments: Value::string("canary-argument"),
        pins: Pins {
            environment: BTreeMap::from([("TZ".to_owned(), "canary-environment".to_owned())]),
            ..Pins::default()
        },
    };
    let canonical = action.canonical().unwrap();
    let now = space.clock.now();
    let id = RequestId::new(now, space.entropy.as_ref());
    let intake = Intake {
        id,
        short_code: ShortCode::derive(&Secret::new("codes"), id, canonical.digest(), 0),
        action,
        canonical,
        taken_in_by: None,
        grade: Grade::Enforced,
        justification: Some(Untrusted::new("canary-justification")),
    };
    let decision = Decision {
        evaluation: EvaluationId::new(now, space.entropy.as_ref()),
        bundle: BundleDigest::of_files([]),
        at: now,
        effect: Effect::Forbid(ForbidReason::UnknownEntity("canary-entity".to_owned())),
        because: Vec::new(),
    };
    let lifetimes = Lifetimes { grant: Duration::from_secs(1), lease: Duration::from_secs(1) };
    let mut request = Request::open(intake, decision, lifetimes, now);
    request.votes.push(Vote {
        person: ada(),
        verdict: Verdict::Deny,
        reason: Some(Untrusted::new("canary-reason")),
        round: 1,
        content_version: 1,
        card: Sha256Digest::of(b"canary-card"),
        roles: BTreeSet::new(),
        assurance: Assurance::L1,
        evidence: Evidence::Session(SessionId::from_bytes([1; 16])),
        vouched: false,
        self_reviewed: false,
        at: now,
    });
    request
}

/// A transition with every kind of personal thing in it.
pub(super) fn everything(space: &Space, request: &Request) -> Transition {
    let now = space.clock.now();
    let person = Person {
        id: ada(),
        name: "canary-name".to_owned(),
        email: Some("canary-address@example.com".to_owned()),
        groups: BTreeSet::new(),
        operator_uid: None,
        status: Status::Active,
        created_at: now,
    };
    let robot = Agent {
        id: agent(),
        kind: AgentKind::Agent,
        name: "canary-agent".to_owned(),
        sponsor: ada(),
        owners: BTreeSet::new(),
        acts_for: BTreeSet::new(),
        groups: BTreeSet::new(),
        status: Status::Active,
        token_hash: Sha256Digest::of(b"token"),
        credential_version: 1,
        workload: Workload::new("https://canary-issuer.example", "canary-subject"),
        created_at: now,
    };
    let session = Session {
        id: SessionId::from_bytes([1; 16]),
        person: ada(),
        secret_hash: Sha256Digest::of(b"cookie"),
        host: "canary-host".to_owned(),
        minted_by: Operator { uid: 0, person: None },
        created_at: now,
        expires_at: now.plus(Duration::from_secs(60)),
    };
    let key = KeyRecord { digest: request.canonical.digest(), request: request.id, at: now };
    let entry = |draft: Draft| {
        draft
            .commit("what", Value::string("canary-disclosure"))
            .seal(EntryId::new(now, space.entropy.as_ref()), space.entropy.as_ref())
    };
    Transition {
        requires: Vec::new(),
        writes: vec![
            Write::Person(person),
            Write::Agent(robot),
            Write::Session(session),
            Write::Secret("shop-db".to_owned(), 1, Secret::new("canary-secret")),
            Write::Request(Box::new(request.clone())),
            Write::Key(Principal::Agent(agent()), "canary-key".to_owned(), key),
            Write::Card {
                hash: Sha256Digest::of(b"canary-card"),
                request: request.id,
                bytes: b"canary-card".to_vec(),
            },
            Write::Recording {
                execution: ExecutionId::from_bytes([3; 16]),
                request: request.id,
                bytes: b"canary-recording".to_vec(),
            },
            Write::Delivery(request.id, b"canary-delivery".to_vec()),
        ],
        entries: vec![
            entry(Draft::new(Kind::RequestReceived).about(request)),
            entry(Draft::new(Kind::PersonAdded)),
        ],
    }
}

#[tokio::test]
async fn what_came_out_is_gone_from_the_files_when_its_time_is_over() {
    let space = Space::new();
    let store = space.open();
    store.commit(everything(&space, &request(&space))).await.unwrap();
    let kept = || {
        let count = "SELECT count(*) FROM delivery";
        space.database().query_row(count, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let forget = || Transition { writes: vec![Write::ForgetDeliveries], ..Transition::default() };
    store.commit(forget()).await.unwrap();
    assert_eq!(kept(), 1, "its time is not over");
    space.clock.advance(crate::DELIVERY_LIFETIME);
    assert_eq!(kept(), 1, "nobody reads it any more, and it is there");
    store.commit(forget()).await.unwrap();
    assert_eq!(kept(), 0);
}

#[tokio::test]
async fn no_canary_stands_in_the_files() {
    let space = Space::new();
    let store = space.open();
    let request = request(&space);
    store.commit(everything(&space, &request)).await.unwrap();
    let mut canaries: Vec<Vec<u8>> = CANARIES.iter().map(|canary| canary.as_bytes().to_vec()).collect();
    // Nor what could be guessed at: plain hashes of personal things, and a disclosure as it travels.
    canaries.push(request.canonical.digest().as_bytes().to_vec());
    canaries.push(request.canonical.digest().to_string().into_bytes());
    canaries.push(Sha256Digest::of(b"canary-card").as_bytes().to_vec());
    let disclosures = store.entries(EntryFilter { limit: 10, ..EntryFilter::default() }).await.unwrap();
    assert_eq!(disclosures.len(), 2);
    for entry in &disclosures {
        canaries.extend(entry.disclosures.iter().map(|disclosure| disclosure.as_str().as_bytes().to_vec()));
    }
    let mut files = 0;
    let mut search = |path: std::path::PathBuf| {
        let Ok(bytes) = fs::read(&path) else { return };
        files += 1;
        for canary in &canaries {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_slice());
            assert!(!found, "{} in {}", String::from_utf8_lossy(canary), path.display());
        }
        // The search itself works: what stands in clear is found.
        if path.ends_with("placet.db-wal") && !bytes.is_empty() {
            assert!(bytes.windows(11).any(|window| window == b"data.export"));
        }
    };
    let names = ["placet.db", "placet.db-wal", "placet.db-shm", "keys/keys.db", "keys/root.key"];
    names.iter().for_each(|name| search(space.path().join(name)));
    drop(store);
    // At an orderly end everything is in the database itself.
    assert_eq!(fs::metadata(space.path().join("placet.db-wal")).map_or(0, |wal| wal.len()), 0);
    names.iter().for_each(|name| search(space.path().join(name)));
    assert!(files >= 7);
}

#[tokio::test]
async fn the_files_are_closed_to_others() {
    use std::os::unix::fs::MetadataExt;
    let space = Space::new();
    let store = space.open();
    store.commit(space.appends()).await.unwrap();
    for name in ["placet.db", "placet.db-wal", "placet.db-shm", "placet.lock"] {
        let mode = fs::metadata(space.path().join(name)).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{name}");
    }
}

#[tokio::test]
async fn erasing_a_subject_leaves_the_ledger_whole() {
    let space = Space::new();
    let store = space.open();
    let request = request(&space);
    store.commit(everything(&space, &request)).await.unwrap();
    let (head, bytes) = (store.log().await.unwrap(), store.entry_bytes(0, 10).await.unwrap());
    let now = store.now();
    assert!(store.erase(Subject::Agent(agent())).await.unwrap() > 0);

    assert_eq!(store.request(request.id).await.unwrap(), None, "it reads as what was never there");
    let list = store.requests(RequestFilter { limit: 10, ..RequestFilter::default() }).await.unwrap();
    assert!(list.is_empty(), "there is nothing to show");
    assert_eq!(store.card(Sha256Digest::of(b"canary-card")).await.unwrap(), None);
    assert_eq!(store.recording(ExecutionId::from_bytes([3; 16])).await.unwrap(), None);
    assert_eq!(store.key(Principal::Agent(agent()), "canary-key".to_owned()).await.unwrap(), None);
    let entries = store.entries(EntryFilter { limit: 10, ..EntryFilter::default() }).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.disclosures.len()).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(store.directory().await.unwrap().people[&ada()].name, "canary-name");

    store.keys().destroy(Destroy::Subject(Subject::Person(ada())), now).unwrap();
    assert_eq!(store.session(Sha256Digest::of(b"cookie")).await.unwrap(), None, "opens no door");
    drop(store);
    let store = space.open();
    let person = store.directory().await.unwrap().people[&ada()].clone();
    assert_eq!((person.status, person.email), (Status::Disabled, None), "is nobody who may act");
    let entries = store.entries(EntryFilter { limit: 10, ..EntryFilter::default() }).await.unwrap();
    assert!(entries.iter().all(|entry| entry.disclosures.is_empty()));
    assert_eq!(store.log().await.unwrap(), head);
    assert_eq!(store.entry_bytes(0, 10).await.unwrap(), bytes);
    store.commit(space.appends()).await.unwrap();
}

#[tokio::test]
async fn an_erased_request_is_found_by_what_is_clear_and_by_nothing_else() {
    let space = Space::new();
    let store = space.open();
    let request = request(&space);
    let entry = Draft::new(Kind::RequestReceived)
        .about(&request)
        .verdict("forbid")
        .commit("requester", Value::string(request.requester().to_string()))
        .commit("resource", Value::string(request.action.resource.visible()))
        .seal(EntryId::new(space.clock.now(), space.entropy.as_ref()), space.entropy.as_ref());
    let transition = everything(&space, &request);
    store.commit(Transition { entries: vec![entry], ..transition }).await.unwrap();
    let all = SearchFilter { limit: 10, ..SearchFilter::default() };
    let by = SearchFilter { by: vec![Principal::Agent(agent())], ..all.clone() };
    let on = SearchFilter { resource: Some(request.action.resource.clone()), ..all.clone() };
    let action = SearchFilter { action: Some(request.action.action.clone()), ..all.clone() };
    for filter in [&all, &by, &on, &action] {
        let found = store.search(filter.clone()).await.unwrap().found;
        assert!(matches!(found.as_slice(), [Found::Whole(_)]), "{filter:?}: {found:?}");
    }
    // Tokens tell nothing without the key: the facts themselves stand nowhere, which `no_canary…` looks for too.
    store.keys().destroy(Destroy::Subject(Subject::Agent(agent())), store.now()).unwrap();
    let check = async |store: &super::SqliteStore| {
        for filter in [&by, &on] {
            assert!(store.search(filter.clone()).await.unwrap().found.is_empty(), "{filter:?}");
        }
        for filter in [&all, &action] {
            let found = store.search(filter.clone()).await.unwrap().found;
            let clear = matches!(found.as_slice(), [Found::Erased { request: id, entries, .. }]
                if *id == request.id && entries == &[0]);
            assert!(clear, "{filter:?}: {found:?}");
        }
    };
    check(&store).await;
    let facts = || {
        let sql = "SELECT count(*) FROM search_fact";
        space.database().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(facts(), 3);
    let made = store.reindex().await.unwrap();
    assert_eq!((made.entries, made.erased, made.facts, made.missing, made.surplus), (1, 1, 1, 0, 2));
    check(&store).await;
    assert_eq!(facts(), 1, "what was erased left no token behind");
    assert!(store.reindex().await.unwrap().was_equal());
}

#[tokio::test]
async fn a_database_from_before_the_index_gets_one_and_a_spoiled_one_is_mended() {
    let space = Space::new();
    let store = space.open();
    let request = request(&space);
    let entry = Draft::new(Kind::RequestReceived)
        .about(&request)
        .commit("requester", Value::string(request.requester().to_string()))
        .seal(EntryId::new(space.clock.now(), space.entropy.as_ref()), space.entropy.as_ref());
    let transition = everything(&space, &request);
    store.commit(Transition { entries: vec![entry], ..transition }).await.unwrap();
    drop(store);
    // As an older placet left it: no generation, no facts. And one that ended while it made the index.
    for spoil in [
        "DELETE FROM search_fact; DELETE FROM search_generation;",
        "DELETE FROM search_generation; INSERT INTO search_generation VALUES (7, 'building', 0);",
    ] {
        space.database().execute_batch(spoil).unwrap();
        let store = space.open();
        let by = SearchFilter { by: vec![request.requester()], limit: 10, ..SearchFilter::default() };
        assert_eq!(store.search(by).await.unwrap().found.len(), 1, "{spoil}");
        assert!(store.reindex().await.unwrap().was_equal(), "{spoil}");
    }
    let spoil = "DELETE FROM search_fact WHERE token = (SELECT min(token) FROM search_fact);
                 INSERT INTO search_fact SELECT gen, zeroblob(16), request FROM search_fact LIMIT 1;";
    space.database().execute_batch(spoil).unwrap();
    let store = space.open();
    let made = store.reindex().await.unwrap();
    assert_eq!((made.facts, made.missing, made.surplus), (2, 1, 1));
    assert!(store.reindex().await.unwrap().was_equal());
}
