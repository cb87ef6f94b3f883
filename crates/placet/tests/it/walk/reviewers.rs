//! The reviewers' door: its API, its pages, and the ledger's files.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Table, compare, table};
use crate::harness::{Answer, Http, Placet};
use crate::people::{Session, deploy};

/// `agent` has an agent's token. `disabled` and `gone` are a token and a session of a person who was disabled; `elsewhere`
/// is a good session at another name of this host. `stranger` is a person without standing, `conflict` one whose own agent
/// asks; `token` is a reviewer's API token and `session` a reviewer at the inbox. The last four are that session, in turn
/// without the form's token, from another site's page, from no page, and at a host that is not ours.
pub(super) const TABLE: &str = "
                                  nobody garbage agent disabled gone elsewhere stranger conflict token session form origin none host
GET  /log/checkpoint              401    401     401   401      401  401       200      200      200   200     200  200    200  421
GET  /log/tile/{path}             401    401     401   401      401  401       200      200      200   200     200  200    200  421
GET  /v1/audit/entries            401    401     401   401      401  401       200      200      200   200     200  200    200  421
GET  /v1/audit/log                401    401     401   401      401  401       200      200      200   200     200  200    200  421
GET  /v1/audit/requests           401    401     401   401      401  401       200      200      200   200     200  200    200  421
GET  /v1/audit/requests/{id}      401    401     401   401      401  401       200      200      200   200     200  200    200  421
GET  /v1/reviews/{id}/recording   401    401     401   401      401  401       404      404      404   404     404  404    404  421
GET  /v1/reviews                  401    401     401   401      401  401       200      200      200   200     200  200    200  421
GET  /v1/reviews/events           401    401     401   401      401  401       200      200      200   200     200  200    200  421
GET  /v1/reviews/{id}             401    401     401   401      401  401       200      200      200   200     200  200    200  421
POST /v1/reviews/{id}/votes       401    401     401   401      401  401       403      403      403   200     403  403    403  421
POST /v1/reviews/{id}/resolution  401    401     401   401      401  401       409      409      409   409     403  403    403  421
GET  /                            401    401     401   401      401  401       200      200      401   200     200  200    200  421
GET  /history                     401    401     401   401      401  401       200      200      401   200     200  200    200  421
GET  /audit                       401    401     401   401      401  401       200      200      401   200     200  200    200  421
GET  /audit/entries               401    401     401   401      401  401       200      200      401   200     200  200    200  421
GET  /r/{name}/recording          401    401     401   401      401  401       404      404      401   404     404  404    404  421
GET  /r/{name}/recording/events   401    401     401   401      401  401       404      404      401   404     404  404    404  421
GET  /overview                    401    401     401   401      401  401       200      200      401   200     200  200    200  421
GET  /v1/overview                 401    401     401   401      401  401       200      200      200   200     200  200    200  421
GET  /policy                      401    401     401   401      401  401       200      200      401   200     200  200    200  421
GET  /people                      401    401     401   401      401  401       200      200      401   200     200  200    200  421
GET  /agents                      401    401     401   401      401  401       200      200      401   200     200  200    200  421
GET  /r/{name}                    401    401     401   401      401  401       200      200      401   200     200  200    200  421
POST /r/{name}/vote               401    401     401   401      401  401       403      403      401   303     403  403    403  421
POST /r/{name}/resolution         401    401     401   401      401  401       409      409      401   409     403  403    403  421
POST /sign-out                    401    401     401   401      401  401       303      303      401   303     403  403    403  421
GET  /join/{secret}               404    404     404   404      404  404       404      404      404   404     404  404    404  421
POST /join/{secret}               403    403     403   403      404  404       404      404      403   404     404  403    403  421
";

/// A well-formed id that nobody has.
const ABSENT: &str = "req_01m83h9wvhfak8x9dj99qvte71";

/// Everybody who may come along, with the form's token that they would send.
struct Callers<'a>(Vec<(&'static str, Http<'a>, String)>);

/// A person's session with its form's token: `session.door` sends it as a header, a form as a field.
fn of(session: &Session<'_>) -> String {
    let page = session.cookie.get("/").expect(200).text();
    page.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

fn callers<'a>(placet: &'a Placet, agent: &str) -> Callers<'a> {
    let session_of = |name: &str| placet.session_of(name);
    let own = placet.ready.reviewers.clone();
    let bare = placet.reviewers(None);
    let (linus, linus_token) = (session_of("Linus"), placet.token_of("Linus"));
    let linus_form = of(&linus);
    placet.cli(["person", "disable", "Linus"]).succeeds();
    let (grace, eve, ada) = (session_of("Grace"), session_of("Eve"), session_of("Ada"));
    let token = placet.reviewers(Some(&placet.token_of("Grace")));
    let (grace_form, eve_form, ada_form) = (of(&grace), of(&eve), of(&ada));
    let port = own.rsplit(':').next().unwrap();
    let number = format!("127.0.0.1:{port}");
    let elsewhere =
        grace.cookie.clone().header("host", &number).header("origin", &format!("http://{number}"));
    let with_form = |door: Http<'a>, form: &str| door.header("x-placet-form-token", form);
    let site = grace.cookie.clone().header("origin", "http://elsewhere.test");
    let host = grace.door.clone().header("host", "elsewhere.test");
    Callers(vec![
        ("nobody", bare.clone(), String::new()),
        ("garbage", bare.clone().bearer(Some("placet_person_0")).header("cookie", "a=b"), String::new()),
        ("agent", bare.bearer(Some(agent)), String::new()),
        ("disabled", placet.reviewers(Some(&linus_token)), String::new()),
        ("gone", linus.door, linus_form),
        ("elsewhere", with_form(elsewhere, &grace_form), grace_form.clone()),
        ("stranger", eve.door, eve_form),
        ("conflict", ada.door, ada_form),
        ("token", token, String::new()),
        ("form", grace.cookie.clone().header("origin", &own), "0".repeat(64)),
        ("origin", with_form(site, &grace_form), grace_form.clone()),
        ("none", with_form(grace.cookie.clone(), &grace_form), grace_form.clone()),
        ("host", host, grace_form.clone()),
        // Last: this one succeeds.
        ("session", grace.door, grace_form),
    ])
}

/// What is called upon: a review that waits, as a reviewer reads it, a tile of the log, and a link that was used.
#[derive(Clone)]
struct Subject {
    id: String,
    ballot: Value,
    tile: String,
    used_link: String,
}

fn review(placet: &Placet, reader: &Http<'_>, version: &str) -> (String, Value) {
    let request = placet.agents().post("/v1/requests", &deploy("production", version)).expect(201).json();
    let id = request["id"].as_str().unwrap().to_owned();
    let review = reader.get(&format!("/v1/reviews/{id}")).expect(200).json();
    let ballot = json!({
        "verdict": "approve", "reason": "read", "digest": review["request"]["digest"],
        "version": review["request"]["content_version"], "card": review["card_hash"],
    });
    (id, ballot)
}

fn form(fields: &[(&str, &str)]) -> String {
    reqwest::Url::parse_with_params("http://form", fields).unwrap().query().unwrap().to_owned()
}

fn call(door: &Http<'_>, operation: &str, subject: &Subject, token: &str) -> Answer {
    let (method, path) = operation.split_once(' ').unwrap();
    let path = path
        .replace("{id}", &subject.id)
        .replace("{name}", &subject.id)
        .replace("{path}", &subject.tile)
        .replace("/join/{secret}", &subject.used_link);
    if method == "GET" {
        return door.head(&path);
    }
    let text = |member: &str| match &subject.ballot[member] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let urlencoded =
        |fields: &[(&str, &str)]| door.post_as(&path, "application/x-www-form-urlencoded", &form(fields));
    match operation {
        "POST /v1/reviews/{id}/votes" => door.post(&path, &subject.ballot),
        "POST /v1/reviews/{id}/resolution" => door.post(&path, &json!({ "text": "it was done" })),
        "POST /r/{name}/vote" => urlencoded(&[
            ("token", token),
            ("verdict", "approve"),
            ("digest", &text("digest")),
            ("version", &text("version")),
            ("card", &text("card")),
        ]),
        "POST /r/{name}/resolution" => urlencoded(&[("token", token), ("text", "it was done")]),
        "POST /sign-out" | "POST /join/{secret}" => urlencoded(&[("token", token)]),
        other => panic!("{other} is new here"),
    }
}

#[test]
fn everybody_at_every_operation_of_the_reviewers_door() {
    let placet = Placet::team();
    for (name, groups) in [("Grace", &["reviewers"][..]), ("Linus", &["reviewers"]), ("Eve", &[])] {
        placet.add_person(name, groups);
    }
    let agent = placet.ready.agent_token.clone().unwrap();
    let link = placet.ready.invitation.clone().unwrap();
    let used_link = link.strip_prefix(&placet.ready.reviewers).unwrap();
    placet.sign_in(&link);
    let widths = placet.data().join("log/tile/0/000.p");
    let tile = crate::harness::eventually("the first tile", || {
        let width = std::fs::read_dir(&widths).ok()?.next()?.ok()?.file_name().into_string().ok()?;
        Some(format!("0/000.p/{width}"))
    });
    let mut callers_now = callers(&placet, &agent);
    let expected = table(TABLE);
    let mut got = Table::new();
    for (position, (operation, _)) in expected.iter().enumerate() {
        let reader = &callers_now.0.iter().find(|(name, ..)| *name == "token").unwrap().1;
        let (id, ballot) = review(&placet, reader, &format!("1.{position}"));
        let subject = Subject { id, ballot, tile: tile.clone(), used_link: used_link.to_owned() };
        let mut statuses = BTreeMap::new();
        for (name, door, token) in &callers_now.0 {
            let answer = call(door, operation, &subject, token);
            assert!(answer.status != 401 || !answer.text().contains(&subject.id), "{operation} as {name}");
            statuses.insert((*name).to_owned(), answer.status);
            if matches!(answer.status, 401 | 421)
                && (operation.contains("{id}") || operation.contains("{name}"))
            {
                let absent = Subject { id: ABSENT.to_owned(), ..subject.clone() };
                let nothing = call(door, operation, &absent, token);
                assert_eq!(said(&nothing), said(&answer), "{operation} as {name}");
            }
        }
        got.push((operation.clone(), statuses));
        if operation == "POST /sign-out" {
            // Everybody is signed out, and Linus was disabled: he comes back under another record.
            placet.add_person("Linus", &["reviewers"]);
            callers_now = callers(&placet, &agent);
        }
    }
    compare(&expected, &got);
}

#[test]
fn a_link_that_was_used_and_one_that_never_was_read_the_same() {
    let placet = Placet::start();
    let link = placet.ready.invitation.clone().unwrap();
    let used = link.strip_prefix(&placet.ready.reviewers).unwrap().to_owned();
    placet.sign_in(&link);
    let never = format!("{}0000", &used[..used.len() - 4]);
    let own = placet.reviewers(None).header("origin", &placet.ready.reviewers);
    for call in [Http::get, |door: &Http<'_>, path: &str| door.post_raw(path, "")] {
        assert_eq!(said(&call(&own, &used)), said(&call(&own, &never)));
    }
}

/// What an answer tells: everything but the call's own id, wherever it stands.
fn said(answer: &Answer) -> (u16, String) {
    let id = answer.headers["x-request-id"].to_str().unwrap();
    (answer.status, answer.text().replace(id, "ID"))
}
