//! `examples/agent.py`, as the README runs it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::Placet;

#[test]
fn the_example_agent_deploys_to_staging_at_once_and_to_production_after_a_review() {
    let placet = Placet::start();
    let mut agent = agent(&placet, &[]);
    let mut said = BufReader::new(agent.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("waits for a person") {
        assert!(said.read_line(&mut text).unwrap() > 0, "it ended: {text}");
    }
    let code = text.split("(code ").nth(1).unwrap().split(')').next().unwrap().to_owned();
    let url = format!("{}/r/{code}", placet.ready.reviewers);
    assert!(
        text.starts_with("deploy shop 1.4.2 to staging\n  deploying shop 1.4.2 …\n  succeeded, "),
        "{text}"
    );
    assert!(
        text.ends_with(&format!("to production\n  waits for a person: {url}  (code {code})\n")),
        "{text}"
    );

    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    ada.approve(&code);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(
        rest.starts_with("  deploying shop 1.4.2 …\n  succeeded, recorded in ledger entries ["),
        "{rest}"
    );
    assert!(agent.wait().unwrap().success());
    let review = ada.review(&code);
    assert_eq!(review["votes"][0]["self_reviewed"], true);
    assert_eq!(review["request"]["outcome"]["summary"], "shop 1.4.2 runs on production");

    // Asked again within ten minutes, what a person approved is not done twice.
    let again = self::agent(&placet, &[]).wait_with_output().unwrap();
    let again = String::from_utf8(again.stdout).unwrap();
    assert!(again.contains("to production\n  done before: shop 1.4.2 runs on production\n"), "{again}");

    let mut denied = self::agent(&placet, &["2.0.0"]);
    let id = ada.waiting();
    ada.cast(&id, &ada.ballot(&id, "deny")).expect(200);
    let mut said = String::new();
    denied.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.ends_with("  denied: read and weighed\n"), "{said}");
    assert_eq!(denied.wait().unwrap().code(), Some(1));
}

fn agent(placet: &Placet, arguments: &[&str]) -> std::process::Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/agent.py");
    let mut command = Command::new("python3");
    command.arg("-u").arg(script).args(arguments).env("PLACET_AGENTS_URL", &placet.ready.agents);
    command.env("PLACET_AGENT_TOKEN", placet.ready.agent_token.as_ref().unwrap());
    command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().expect("python3 runs the example")
}
