//! What operators do on the admin socket: people, agents, groups, secrets, and the doctor.

use crate::harness::Placet;
use crate::people::deploy;

#[test]
fn people_are_added_invited_and_disabled() {
    let placet = Placet::team();
    let grace = placet
        .cli(["person", "add", "Grace", "--email", "grace@corp.example", "--group", "reviewers"])
        .json();
    assert_eq!(grace["groups"], serde_json::json!(["reviewers"]));
    placet.cli(["person", "add", "Grace"]).fails(77, "name_taken");
    placet.cli(["person", "add", "Eve", "--group", "nobody"]).fails(64, "unknown_group");

    let invited = placet.cli(["person", "invite", "Grace"]).run();
    let link = String::from_utf8(invited.stdout).unwrap();
    assert!(link.starts_with(&placet.ready.reviewers), "{link}");
    assert!(!invited.stderr.contains(link.trim()), "the link is data, not talk");

    let token = placet.token_of("Grace");
    placet.reviewers(Some(&token)).get("/v1/reviews").expect(200);
    let listed = placet.cli(["person", "token", "ls", "Grace"]).json();
    let id = listed[0]["id"].as_str().unwrap();
    assert!(!listed.to_string().contains(&token));
    placet.cli(["person", "token", "revoke", id]).succeeds();
    placet.reviewers(Some(&token)).get("/v1/reviews").problem(401, "unauthenticated");

    let token = placet.token_of("Grace");
    placet.cli(["person", "disable", "Grace"]).succeeds();
    placet.reviewers(Some(&token)).get("/v1/reviews").problem(401, "unauthenticated");
    placet.cli(["person", "invite", "Grace"]).fails(64, "not_found");
    assert!(placet.cli(["person", "ls"]).succeeds().contains("disabled"));
}

#[test]
fn an_operator_signs_in_as_themselves_only() {
    let placet = Placet::start();
    let invitation = placet.cli(["login"]).json();
    assert_eq!(invitation["person"]["name"], "Ada");
    placet.cli(["person", "disable", "Ada"]).succeeds();
    placet.cli(["login"]).fails(77, "no_own_person");
}

#[test]
fn an_agents_token_opens_until_it_is_rotated_or_revoked() {
    let placet = Placet::start();
    let added =
        placet.cli(["agent", "add", "reporter", "--sponsor", "Ada", "--for", "Ada", "--pipeline"]).run();
    let first = String::from_utf8(added.stdout).unwrap().trim().to_owned();
    assert!(!added.stderr.contains(&first), "the token is data, not talk");
    let opens = |token: &str| placet.agents().bearer(Some(token)).get("/v1/requests").status;
    assert_eq!(opens(&first), 200);
    let second = placet.cli(["agent", "rotate", "reporter"]).succeeds().trim().to_owned();
    assert_eq!((opens(&first), opens(&second)), (401, 200));
    placet.cli(["agent", "revoke", "reporter"]).succeeds();
    assert_eq!(opens(&second), 401);
    let agents = placet.cli(["agent", "ls"]).json();
    let reporter = agents.as_array().unwrap().iter().find(|agent| agent["name"] == "reporter").unwrap();
    assert_eq!((&reporter["kind"], &reporter["active"]), (&"pipeline".into(), &false.into()));
    placet.cli(["agent", "add", "orphan", "--sponsor", "Nobody"]).fails(64, "not_found");
    placet.cli(["agent", "add", "orphan"]).fails(64, "--sponsor");
}

#[test]
fn groups_have_members_until_they_leave() {
    let placet = Placet::start();
    placet.cli(["group", "add", "security"]).succeeds();
    placet.cli(["group", "add", "security"]).fails(77, "name_taken");
    placet.cli(["group", "join", "security", "Ada"]).succeeds();
    placet.cli(["group", "join", "security", "first-agent"]).succeeds();
    let listed = placet.cli(["group", "ls"]).json();
    let security = listed.as_array().unwrap().iter().find(|group| group["name"] == "security").unwrap();
    assert_eq!((&security["people"][0], &security["agents"][0]), (&"Ada".into(), &"first-agent".into()));
    placet.cli(["group", "rm", "security"]).fails(77, "group_in_use");
    placet.cli(["group", "leave", "security", "Ada"]).succeeds();
    placet.cli(["group", "leave", "security", "first-agent"]).succeeds();
    placet.cli(["group", "rm", "security"]).succeeds();
    placet.cli(["group", "join", "security", "Ada"]).fails(64, "unknown_group");
}

#[test]
fn a_secret_goes_in_and_never_comes_out() {
    let placet = Placet::start();
    let value = "correct horse battery";
    let stored = placet.cli(["secret", "set", "shop"]).stdin(format!("{value}\n")).json();
    assert_eq!((&stored["name"], &stored["version"]), (&"shop".into(), &1.into()));
    let file = placet.space().join("value");
    std::fs::write(&file, value).unwrap();
    let stored = placet.cli(["secret", "set", "shop", "--from-file"]).arg(&file).json();
    assert_eq!(stored["version"], 2);
    let listed = placet.cli(["secret", "ls"]).run();
    assert!(!String::from_utf8(listed.stdout).unwrap().contains(value));
    assert!(!placet.log().contains(value));
    placet.cli(["secret", "set", "shop"]).stdin("12345").fails(64, "bad_secret");
    placet.cli(["secret", "set", "Not A Name"]).stdin(value).fails(64, "bad_name");
    placet.cli(["secret", "rm", "shop"]).succeeds();
    placet.cli(["secret", "rm", "shop"]).fails(64, "not_found");
}

#[test]
fn the_doctor_fails_what_takes_away_from_placet() {
    let placet = Placet::start();
    let ended = placet.cli(["doctor", "--json"]).run();
    assert_eq!(ended.code, 1, "the same user is no separation: {ended:?}");
    let checks: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    let state = |name: &str| {
        let check = checks.as_array().unwrap().iter().find(|check| check["name"] == name);
        check.unwrap_or_else(|| panic!("no {name} in {checks}"))["state"].clone()
    };
    assert_eq!(state("runner"), "fail");
    assert_eq!(state("role reviewers"), "warn", "the only reviewer sponsors the only agent");
    for name in ["data directory", "disk", "clock", "placet", "you", "policy", "agents' door"] {
        assert_eq!(state(name), "ok", "{name}");
    }
    let stopped = placet.stop();
    assert!(stopped.status.success());
    std::fs::set_permissions(
        stopped.data().join("keys"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let ended = stopped.cli(["doctor"]).run();
    assert_eq!(ended.code, 1);
    assert!(String::from_utf8_lossy(&ended.stdout).contains("lets others in"), "{ended:?}");
}

#[test]
fn what_was_erased_is_not_there_by_any_name_and_nobodys_bug() {
    let placet = Placet::team();
    placet.add_person("Grace", &["reviewers"]);
    let grace = placet.session_of("Grace");
    placet.add_person("Rob", &["reviewers"]);
    let request = placet.agents().post("/v1/requests", &deploy("production", "1")).expect(201).json();
    let (id, code) = (request["id"].as_str().unwrap(), request["short_code"].as_str().unwrap());
    let denied = grace.ballot(id, "deny");
    grace.cast(id, &denied).expect(200);
    placet.cli(["person", "disable", "Grace"]).succeeds();
    placet.cli(["person", "erase", "Grace"]).succeeds();
    let rob = placet.session_of("Rob");
    let names = [id, code];
    for name in names {
        // A reviewer who is gone takes their name along, and no review.
        assert_eq!(rob.review(name)["request"]["status"], "denied", "{name}");
        rob.cookie.get(&format!("/r/{name}")).expect(200);
    }

    let agent = placet.cli(["agent", "ls"]).json()[0]["name"].as_str().unwrap().to_owned();
    placet.cli(["agent", "revoke", &agent]).succeeds();
    placet.cli(["agent", "erase", &agent]).succeeds();
    for name in names {
        rob.door.get(&format!("/v1/reviews/{name}")).problem(404, "not_found");
        rob.door.get(&format!("/v1/reviews/{name}/recording")).problem(404, "not_found");
        rob.cast(name, &denied).problem(404, "not_found");
        for page in ["", "/recording"] {
            assert_eq!(rob.cookie.get(&format!("/r/{name}{page}")).status, 404, "{name}{page}");
        }
        let story = rob.door.get(&format!("/v1/audit/requests/{name}"));
        assert!([200, 404].contains(&story.status), "{name}: {}", story.text());
        placet.cli(["policy", "explain", name]).fails(64, "not_found");
    }
    for listed in ["/v1/reviews", "/v1/audit/requests", "/v1/audit/entries?limit=200", "/v1/overview"] {
        rob.door.get(listed).expect(200);
    }
    for page in ["/", "/history", "/overview", "/audit", "/audit/entries", "/people", "/agents"] {
        rob.cookie.get(page).expect(200);
    }
    let key = placet.log_key();
    placet.stop().cli(["audit", "verify", "--vkey", &key]).succeeds();
}
