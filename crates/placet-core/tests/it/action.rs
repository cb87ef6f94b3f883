//! What is asked: one canonical form, one digest, and nothing unknown in it.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::action::{
    ActionName, ActionRequest, ActorChain, Canonical, FilePin, Grade, PepKind, Pins, Principal, Recorded,
    ResourceRef, SecretVersion,
};
use placet_core::c14n::{SIZE_MAX, Value};
use placet_core::digest::{ActionDigest, Sha256Digest};
use placet_core::id::{AgentId, PersonId};
use proptest::prelude::*;

use crate::c14n::{any_text, any_value};
use crate::common::*;

fn file(path: &str, content: &str) -> FilePin {
    FilePin { path: path.to_owned(), sha256: Sha256Digest::of(content.as_bytes()) }
}

fn secret(name: &str, version: u32) -> SecretVersion {
    SecretVersion { name: name.to_owned(), version }
}

fn read(text: &str) -> Value {
    Value::parse(text.as_bytes()).unwrap()
}

/// A command with every pin but the tool's.
fn command() -> ActionRequest {
    ActionRequest {
        pep: PepKind::Command,
        target: "runner:local".to_owned(),
        action: ActionName::parse("data.export").unwrap(),
        resource: ResourceRef::new("Dataset", "shop.accounts").unwrap(),
        arguments: read(r#"{"argv":["pg_dump","-t","pgbench_accounts","shop"]}"#),
        pins: Pins {
            program: vec![
                file("/usr/lib/postgresql/15/bin/pg_dump", "program"),
                file("/usr/bin/perl", "interpreter"),
            ],
            run_as: Some("placet-run".to_owned()),
            environment: [("LANG", "C.UTF-8"), ("PGUSER", "exporter")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            secrets: [("PGPASSWORD".to_owned(), secret("shop@db", 3))].into(),
            inputs: [("list.txt".to_owned(), Sha256Digest::of(b"input"))].into(),
            stdin: Some(Sha256Digest::of(b"stdin")),
            tool: None,
            record: None,
        },
        ..action()
    }
}

fn tool_call() -> ActionRequest {
    ActionRequest {
        chain: ActorChain {
            requester: Principal::Pipeline(agent(2)),
            through: vec![Principal::Agent(agent(1)), Principal::Pipeline(agent(3))],
            on_behalf_of: person(3),
        },
        pep: PepKind::Mcp,
        target: "upstream:tickets".to_owned(),
        action: ActionName::parse("mcp.call").unwrap(),
        resource: ResourceRef::new("Tool", "tickets/close \"now\" \u{202e} é 😀").unwrap(),
        arguments: read(
            "{\"numbers\":[1,1.0,1e0,-0,9007199254740993],\"\u{10000}\":true,\"\u{ffff}\":false,\
             \"nul\":\"\\u0000\",\"text\":\"a\u{200b}b\\n\\\"\\\\\"}",
        ),
        pins: Pins { tool: Some(Sha256Digest::of(b"tool")), ..Pins::default() },
        ..action()
    }
}

#[test]
fn writes_the_committed_vectors() {
    let alone = ActionRequest {
        chain: ActorChain {
            requester: Principal::Person(person(5)),
            through: Vec::new(),
            on_behalf_of: person(5),
        },
        arguments: Value::Null,
        ..action()
    };
    let bare = ActionRequest {
        pep: PepKind::Command,
        target: "runner:local".to_owned(),
        action: ActionName::parse("command.run").unwrap(),
        resource: ResourceRef::new("Program", "/bin/true").unwrap(),
        arguments: read(r#"{"argv":["true"]}"#),
        pins: Pins { program: vec![file("/bin/true", "true")], ..Pins::default() },
        ..action()
    };
    let built = BTreeMap::from([
        ("an external deploy", action()),
        ("a person without arguments", alone),
        ("a tool call through two, with odd tokens", tool_call()),
        ("a command with every pin", command()),
        ("a command with an empty environment", bare),
    ]);
    let file = vectors("action.json");
    let actions = file["actions"].as_array().unwrap();
    assert_eq!(actions.len(), built.len());
    for vector in actions {
        let name = vector["name"].as_str().unwrap();
        let canonical = built[name].canonical().unwrap();
        assert_eq!(canonical.as_str(), vector["canonical"].as_str().unwrap(), "{name}");
        assert_eq!(canonical.digest().to_string(), vector["digest"].as_str().unwrap(), "{name}");
        assert_eq!(ActionRequest::from_canonical(&canonical).as_ref(), Ok(&built[name]), "{name}");
    }
}

#[test]
fn every_single_change_makes_another_digest() {
    type Change = fn(&mut ActionRequest);
    let changes: [(&str, Change); 42] = [
        ("nothing", |_| {}),
        ("tenant", |asked| asked.tenant = "other".to_owned()),
        ("requester", |asked| asked.chain.requester = Principal::Agent(agent(2))),
        ("requester's kind", |asked| asked.chain.requester = Principal::Pipeline(agent(1))),
        ("requester is a person", |asked| asked.chain.requester = Principal::Person(person(1))),
        ("one between", |asked| asked.chain.through = vec![Principal::Agent(agent(2))]),
        ("another between", |asked| asked.chain.through = vec![Principal::Agent(agent(3))]),
        ("two between", |asked| {
            asked.chain.through = vec![Principal::Agent(agent(2)), Principal::Agent(agent(3))]
        }),
        ("two turned round", |asked| {
            asked.chain.through = vec![Principal::Agent(agent(3)), Principal::Agent(agent(2))];
        }),
        ("on behalf of", |asked| asked.chain.on_behalf_of = person(2)),
        ("pep", |asked| asked.pep = PepKind::External),
        ("target", |asked| asked.target = "runner:other".to_owned()),
        ("action", |asked| asked.action = ActionName::parse("data.exports").unwrap()),
        ("resource type", |asked| asked.resource = ResourceRef::new("Table", "shop.accounts").unwrap()),
        ("resource id", |asked| asked.resource = ResourceRef::new("Dataset", "shop.account").unwrap()),
        ("resource id's case", |asked| {
            asked.resource = ResourceRef::new("Dataset", "Shop.accounts").unwrap()
        }),
        ("arguments", |asked| asked.arguments = read(r#"{"argv":["pg_dump"]}"#)),
        ("no arguments", |asked| asked.arguments = Value::Null),
        ("empty arguments", |asked| asked.arguments = read("{}")),
        ("a number", |asked| asked.arguments = read(r#"{"n":1}"#)),
        ("a number's token", |asked| asked.arguments = read(r#"{"n":1.0}"#)),
        ("a number's neighbour", |asked| asked.arguments = read(r#"{"n":9007199254740992}"#)),
        ("a number's other neighbour", |asked| asked.arguments = read(r#"{"n":9007199254740993}"#)),
        ("a number as text", |asked| asked.arguments = read(r#"{"n":"1"}"#)),
        ("an invisible character", |asked| asked.arguments = read("{\"n\":\"1\u{200b}\"}")),
        ("program path", |asked| asked.pins.program[0].path.push('2')),
        ("program content", |asked| {
            asked.pins.program[0] = file("/usr/lib/postgresql/15/bin/pg_dump", "swapped")
        }),
        ("interpreter gone", |asked| drop(asked.pins.program.pop())),
        ("programs turned round", |asked| asked.pins.program.reverse()),
        ("run_as", |asked| asked.pins.run_as = Some("root".to_owned())),
        ("run_as nobody named", |asked| asked.pins.run_as = Some(String::new())),
        ("run_as nobody", |asked| asked.pins.run_as = None),
        ("environment value", |asked| drop(asked.pins.environment.insert("LANG".to_owned(), "C".to_owned()))),
        ("environment name", |asked| {
            drop(asked.pins.environment.insert("LD_PRELOAD".to_owned(), String::new()));
        }),
        ("a secret moved to the environment", |asked| {
            asked.pins.secrets.clear();
            asked.pins.environment.insert("PGPASSWORD".to_owned(), "shop@db@3".to_owned());
        }),
        ("secret version", |asked| {
            drop(asked.pins.secrets.insert("PGPASSWORD".to_owned(), secret("shop@db", 4)));
        }),
        ("secret name", |asked| drop(asked.pins.secrets.insert("PGPASSWORD".to_owned(), secret("shop", 3)))),
        ("secret variable", |asked| {
            asked.pins.secrets = [("PGPASSFILE".to_owned(), secret("shop@db", 3))].into();
        }),
        ("input name", |asked| asked.pins.inputs = [("list".to_owned(), Sha256Digest::of(b"input"))].into()),
        ("input content", |asked| {
            asked.pins.inputs = [("list.txt".to_owned(), Sha256Digest::of(b"x"))].into()
        }),
        ("stdin", |asked| asked.pins.stdin = None),
        ("stdin as a tool", |asked| asked.pins.tool = asked.pins.stdin.take()),
    ];
    let mut digests: BTreeMap<ActionDigest, &str> = BTreeMap::new();
    for (name, change) in changes {
        let mut changed = command();
        change(&mut changed);
        let canonical = changed.canonical().unwrap();
        assert_eq!(ActionRequest::from_canonical(&canonical), Ok(changed), "{name}");
        if let Some(twin) = digests.insert(canonical.digest(), name) {
            panic!("{name} has the digest of {twin}");
        }
    }
}

/// Where the objects of a canonical request stand, without those that may hold any key.
const OBJECTS: [&[&str]; 6] =
    [&[], &["chain"], &["chain", "requester"], &["resource"], &["pins"], &["pins", "program", "0"]];

fn at<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut BTreeMap<String, Value> {
    let mut here = value;
    for step in path {
        here = match here {
            Value::Object(members) => members.get_mut(*step).unwrap(),
            Value::Array(items) => &mut items[step.parse::<usize>().unwrap()],
            other => panic!("{step} of {other:?}"),
        };
    }
    let Value::Object(members) = here else { panic!("no object at {path:?}") };
    members
}

fn refused(value: &Value) -> String {
    ActionRequest::from_canonical(&Canonical::from_stored(value.canonical()))
        .expect_err(&value.canonical())
        .to_string()
}

fn stored() -> Value {
    read(command().canonical().unwrap().as_str())
}

#[test]
fn an_unknown_member_is_refused_in_every_object() {
    for path in OBJECTS {
        for (key, member) in [("x", Value::Null), ("", Value::string("")), ("zz", read("{}"))] {
            let mut value = stored();
            at(&mut value, path).insert(key.to_owned(), member);
            let error = refused(&value);
            assert!(error.contains(&format!("unknown member {key:?}")), "{path:?}: {error}");
        }
    }
}

#[test]
fn a_missing_member_is_refused_unless_it_is_a_pin() {
    for path in OBJECTS {
        let keys: Vec<String> = at(&mut stored(), path).keys().cloned().collect();
        for key in keys {
            let mut value = stored();
            at(&mut value, path).remove(&key);
            let canonical = Canonical::from_stored(value.canonical());
            let read = ActionRequest::from_canonical(&canonical);
            if path == ["pins"] && key != "environment" {
                // Without this pin it is another request, and the digest says so.
                assert_ne!(read.unwrap(), command(), "{key}");
                assert_ne!(canonical.digest(), command().canonical().unwrap().digest());
            } else {
                read.expect_err(&key);
            }
        }
    }
}

#[test]
fn another_type_is_refused_in_every_place() {
    for path in OBJECTS {
        let keys: Vec<String> = at(&mut stored(), path).keys().cloned().collect();
        for key in keys.iter().filter(|key| *key != "arguments") {
            for other in ["null", "true", "0", "[0]"] {
                let mut value = stored();
                at(&mut value, path).insert(key.clone(), read(other));
                refused(&value);
            }
        }
    }
}

#[test]
fn another_version_is_refused() {
    for version in ["0", "2", "1.0", "1e0", "-1", "\"1\"", "null", "[1]"] {
        let mut value = stored();
        at(&mut value, &[]).insert("v".to_owned(), read(version));
        assert!(refused(&value).contains("version"), "{version}");
    }
}

#[test]
fn another_word_or_form_is_refused() {
    let id = agent(1).to_string();
    for (path, key, text) in [
        (&["chain", "requester"][..], "kind", "user"),
        (&["chain", "requester"], "kind", "person"),
        (&["chain", "requester"], "id", "agt_"),
        (&["chain"], "on_behalf_of", id.as_str()),
        (&[], "pep", "Command"),
        (&[], "pep", "http"),
        (&[], "action", ""),
        (&[], "action", "data export"),
        (&["resource"], "type", "Data.set"),
        (&["resource"], "id", ""),
        (&["pins", "program", "0"], "sha256", "00"),
        (&["pins"], "stdin", "A"),
    ] {
        let mut value = stored();
        at(&mut value, path).insert(key.to_owned(), Value::string(text));
        refused(&value);
    }
}

#[test]
fn another_spelling_of_the_same_request_is_refused() {
    let text = command().canonical().unwrap().as_str().to_owned();
    let upper = Sha256Digest::of(b"stdin").to_string();
    for (name, altered) in [
        ("space", text.replacen(',', ", ", 1)),
        ("a line break at the end", format!("{text}\n")),
        ("an escaped letter", text.replacen("data.export", "dat\\u0061.export", 1)),
        (
            "another order",
            text.replacen(
                r#""id":"shop.accounts","type":"Dataset""#,
                r#""type":"Dataset","id":"shop.accounts""#,
                1,
            ),
        ),
        ("a secret's version with a zero", text.replacen("shop@db@3", "shop@db@03", 1)),
        ("a secret's version with a sign", text.replacen("shop@db@3", "shop@db@+3", 1)),
        ("a secret without a version", text.replacen("shop@db@3", "shop", 1)),
        ("a secret's version beyond 32 bits", text.replacen("shop@db@3", "shop@db@4294967296", 1)),
        ("an upper-case digest", text.replacen(&upper, &upper.to_uppercase(), 1)),
        ("a list of no program", text.replacen(r#""pins":{"#, r#""pins":{"tool":null,"#, 1)),
        ("a key twice", text.replacen(r#""pep":"command""#, r#""pep":"command","pep":"command""#, 1)),
    ] {
        assert_ne!(altered, text, "{name} alters nothing");
        assert!(ActionRequest::from_canonical(&Canonical::from_stored(altered)).is_err(), "{name}");
    }
    let empty = action().canonical().unwrap().as_str().replace(r#""pins":{}"#, r#""pins":{"inputs":{}}"#);
    assert!(ActionRequest::from_canonical(&Canonical::from_stored(empty)).is_err());
}

#[test]
fn altered_stored_bytes_are_another_action() {
    let canonical = action().canonical().unwrap();
    let altered = Canonical::from_stored(canonical.as_str().replace("production", "staging"));
    assert_ne!(altered.digest(), canonical.digest());
    assert_eq!(altered.digest(), ActionDigest::of_canonical(altered.as_str()));
}

#[test]
fn the_whole_is_bounded_not_only_its_parts() {
    let sized = |bytes: usize| ActionRequest { arguments: Value::string("x".repeat(bytes)), ..action() };
    let rest = sized(0).canonical().unwrap().as_str().len();
    assert_eq!(sized(SIZE_MAX - rest).canonical().unwrap().as_str().len(), SIZE_MAX);
    let error = sized(SIZE_MAX - rest + 1).canonical().unwrap_err().to_string();
    assert!(error.contains("larger than 1 MiB"), "{error}");
    let deep = |depth: usize| ActionRequest {
        arguments: read(&format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
        ..action()
    };
    assert!(deep(63).canonical().is_ok());
    let error = deep(64).canonical().unwrap_err().to_string();
    assert!(error.contains("deeper than 64"), "{error}");
}

#[test]
fn names_have_one_plain_form() {
    let long = "a".repeat(129);
    for good in ["a", "data.export", "mcp/tickets.close-it_2", &long[..128]] {
        assert_eq!(ActionName::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", ".a", "1a", "-a", "a b", "a\n", "ä", "a\u{200b}", "a::b", "a\"", &long] {
        assert!(ActionName::parse(bad).is_err(), "{bad:?}");
    }
    let (kind, id) = ("A".repeat(65), "x".repeat(1025));
    for (kind, id, fits) in [
        ("Dataset", "x", true),
        (&kind[..64], &id[..1024], true),
        ("Dataset", "", false),
        ("Dataset", &id, false),
        (&kind, "x", false),
        ("", "x", false),
        ("1A", "x", false),
        ("A::B", "x", false),
        ("A b", "x", false),
    ] {
        assert_eq!(ResourceRef::new(kind, id).is_ok(), fits, "{kind:?} {id:?}");
    }
    for kind in [PepKind::Command, PepKind::Mcp, PepKind::External] {
        assert_eq!(PepKind::parse(kind.as_str()), Some(kind));
    }
    for grade in [Grade::Advisory, Grade::Gated, Grade::Enforced] {
        assert_eq!(Grade::parse(grade.as_str()), Some(grade));
    }
    assert!(Grade::Advisory < Grade::Gated && Grade::Gated < Grade::Enforced);
    assert_eq!((PepKind::parse("http"), Grade::parse("Enforced")), (None, None));
}

#[test]
fn a_resources_id_cannot_show_a_second_resource() {
    for (id, shown) in [
        ("shop", r#"Dataset::"shop""#),
        (r#"a" and Dataset::"b"#, r#"Dataset::"a\" and Dataset::\"b""#),
        (r#"a\" b"#, r#"Dataset::"a\\\" b""#),
        ("a\u{202e}b\n", r#"Dataset::"a\u{202e}b\n""#),
    ] {
        assert_eq!(ResourceRef::new("Dataset", id).unwrap().visible(), shown);
    }
}

fn any_principal() -> impl Strategy<Value = Principal> {
    (0..3u8, any::<[u8; 16]>()).prop_map(|(kind, id)| match kind {
        0 => Principal::Agent(AgentId::from_bytes(id)),
        1 => Principal::Pipeline(AgentId::from_bytes(id)),
        _ => Principal::Person(PersonId::from_bytes(id)),
    })
}

fn any_digest() -> impl Strategy<Value = Sha256Digest> {
    any::<[u8; 32]>().prop_map(Sha256Digest::from_bytes)
}

fn any_pins() -> impl Strategy<Value = Pins> {
    let files = (any_text(), any_digest()).prop_map(|(path, sha256)| FilePin { path, sha256 });
    let secrets = (any_text(), any::<u32>()).prop_map(|(name, version)| SecretVersion { name, version });
    (
        prop::collection::vec(files, 0..3),
        prop::option::of(any_text()),
        prop::collection::btree_map(any_text(), any_text(), 0..3),
        prop::collection::btree_map(any_text(), secrets, 0..3),
        prop::collection::btree_map(any_text(), any_digest(), 0..3),
        prop::option::of(any_digest()),
        prop::option::of(any_digest()),
        prop::option::of(prop::sample::select(vec![Recorded::Nothing, Recorded::Stderr, Recorded::All])),
    )
        .prop_map(|(program, run_as, environment, secrets, inputs, stdin, tool, record)| Pins {
            program,
            run_as,
            environment,
            secrets,
            inputs,
            stdin,
            tool,
            record,
        })
}

fn any_request() -> impl Strategy<Value = ActionRequest> {
    let chain = (any_principal(), prop::collection::vec(any_principal(), 0..3), any::<[u8; 16]>()).prop_map(
        |(requester, through, id)| ActorChain { requester, through, on_behalf_of: PersonId::from_bytes(id) },
    );
    let pep = prop_oneof![Just(PepKind::Command), Just(PepKind::Mcp), Just(PepKind::External)];
    let action = "[a-zA-Z][a-zA-Z0-9_./-]{0,20}".prop_map(|name| ActionName::parse(&name).unwrap());
    let resource = ("[A-Za-z][A-Za-z0-9_]{0,10}", any_text())
        .prop_map(|(kind, id)| ResourceRef::new(&kind, &format!("x{id}")).unwrap());
    (any_text(), chain, pep, any_text(), action, resource, any_value(), any_pins()).prop_map(
        |(tenant, chain, pep, target, action, resource, arguments, pins)| ActionRequest {
            tenant,
            chain,
            pep,
            target,
            action,
            resource,
            arguments,
            pins,
        },
    )
}

proptest! {
    #[test]
    fn every_request_is_read_back_from_its_canonical_bytes(asked in any_request()) {
        let canonical = asked.canonical().unwrap();
        prop_assert_eq!(ActionRequest::from_canonical(&canonical), Ok(asked));
        let again = Canonical::from_stored(canonical.as_str().to_owned());
        prop_assert_eq!(again, canonical);
    }

    #[test]
    fn different_requests_have_different_bytes(one in any_request(), pins in any_pins()) {
        let other = ActionRequest { pins, ..one.clone() };
        let bytes = |asked: &ActionRequest| asked.canonical().unwrap().as_str().to_owned();
        prop_assert_eq!(one == other, bytes(&one) == bytes(&other));
        let digests = BTreeSet::from([one.canonical().unwrap().digest(), other.canonical().unwrap().digest()]);
        prop_assert_eq!(digests.len(), if one == other { 1 } else { 2 });
    }

    #[test]
    fn any_stored_text_is_refused_or_is_canonical(value in any_value(), place in any::<prop::sample::Index>()) {
        // A canonical request with one of its members replaced by any value.
        let mut stored = stored();
        let path = OBJECTS[place.index(OBJECTS.len())];
        let members = at(&mut stored, path);
        let key = members.keys().nth(place.index(members.len())).unwrap().clone();
        members.insert(key, value);
        let canonical = Canonical::from_stored(stored.canonical());
        if let Ok(read) = ActionRequest::from_canonical(&canonical) {
            prop_assert_eq!(read.canonical().unwrap(), canonical);
        }
    }
}
