//! The agents' door.

use serde_json::{Value, json};

use super::{Table, compare, table};
use crate::harness::{Answer, Http, Placet};
use crate::people::deploy;

/// `other` is another agent, `owner` the one whose request it is; the rest has no business here.
pub(super) const TABLE: &str = "
                                  nobody garbage person session revoked other owner
PUT  /v1/blobs/{sha256}           401    401     401    401     401     201   201
POST /v1/commands                 401    401     401    401     401     201   201
POST /v1/commands/{id}/cancel     401    401     401    401     401     404   200
GET  /v1/commands/{id}/output     401    401     401    401     401     404   404
POST /v1/commands/{id}/run        401    401     401    401     401     404   409
GET  /v1/requests                 401    401     401    401     401     200   200
POST /v1/requests                 401    401     401    401     401     201   201
GET  /v1/requests/{id}            401    401     401    401     401     404   200
POST /v1/requests/{id}/cancel     401    401     401    401     401     404   200
GET  /v1/requests/{id}/events     401    401     401    401     401     404   200
POST /v1/requests/{id}/execution  401    401     401    401     401     404   200
POST /v1/requests/{id}/outcome    401    401     401    401     401     404   200
POST /mcp                         401    401     401    401     401     400   400
POST /mcp/{server}                401    401     401    401     401     400   400
GET  /v1/pep                                  401 401 401 401 401 401 401
GET  /v1/pep/caller                           401 401 401 401 401 401 401
POST /v1/pep/guide                            401 401 401 401 401 401 401
POST /v1/pep/requests                         401 401 401 401 401 401 401
GET  /v1/pep/requests/{id}                    401 401 401 401 401 401 401
POST /v1/pep/requests/{id}/execution          401 401 401 401 401 401 401
POST /v1/pep/requests/{id}/outcome            401 401 401 401 401 401 401
POST /v1/pep/requests/{id}/abandonment        401 401 401 401 401 401 401
POST /v1/pep/requests/{id}/cancel             401 401 401 401 401 401 401
GET  /v1/pep/executions                       401 401 401 401 401 401 401
";

/// A well-formed id that nobody has.
const ABSENT: &str = "req_01m83h9wvhfak8x9dj99qvte71";

/// What an operation is called on: a request of the owner's in the state in which it would succeed, and a body.
struct Subject {
    id: String,
    body: Value,
}

fn subject(owner: &Http<'_>, operation: &str, version: &str) -> Subject {
    let ask = |path: &str, body: &Value| owner.post(path, body).expect(201).json();
    let request = |environment: &str| ask("/v1/requests", &deploy(environment, version));
    let claim = |request: &Value| json!({ "digest": request["digest"], "claim": "walk" });
    let id = |request: &Value| request["id"].as_str().unwrap().to_owned();
    match operation {
        "POST /v1/requests/{id}/execution" => {
            let granted = request("staging");
            Subject { id: id(&granted), body: claim(&granted) }
        }
        "POST /v1/requests/{id}/outcome" => {
            let granted = request("staging");
            let path = format!("/v1/requests/{}/execution", id(&granted));
            let claimed = owner.post(&path, &claim(&granted)).expect(200).json();
            let body = json!({ "execution_id": claimed["execution_id"], "outcome": "succeeded" });
            Subject { id: id(&granted), body }
        }
        "POST /v1/requests" => Subject { id: ABSENT.to_owned(), body: deploy("staging", version) },
        "POST /v1/commands" => {
            Subject { id: ABSENT.to_owned(), body: json!({ "argv": ["/bin/true", version] }) }
        }
        _ if operation.contains("/v1/commands/{id}") => {
            let command = ask("/v1/commands", &json!({ "argv": ["/bin/true", operation, version] }));
            Subject { id: id(&command), body: Value::Null }
        }
        "GET /v1/requests/{id}/events" => {
            // One that is over: the stream ends by itself.
            let pending = request("production");
            owner.post_raw(&format!("/v1/requests/{}/cancel", id(&pending)), "").expect(200);
            Subject { id: id(&pending), body: Value::Null }
        }
        _ if operation.contains("{id}") => Subject { id: id(&request("production")), body: Value::Null },
        _ => Subject { id: ABSENT.to_owned(), body: Value::Null },
    }
}

/// SHA-256 of `x`.
const SHA256_OF_X: &str = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";

fn call(door: &Http<'_>, operation: &str, id: &str, body: &Value) -> Answer {
    let (method, path) = operation.split_once(' ').unwrap();
    let path = path.replace("{id}", id).replace("{sha256}", SHA256_OF_X).replace("{server}", "files");
    match (method, body) {
        ("GET", _) => door.get(&path),
        ("PUT", _) => door.put(&path, b"x"),
        ("POST", Value::Null) => door.post_raw(&path, ""),
        ("POST", body) => door.post(&path, body),
        (other, _) => panic!("{other} is new here"),
    }
}

#[test]
fn everybody_at_every_operation_of_the_agents_door() {
    let placet = Placet::start();
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let (person, session) = (placet.token_of("Ada"), ada.secret.split_once('=').unwrap().1.to_owned());
    let (other, revoked) = (placet.add_agent("other"), placet.add_agent("revoked"));
    placet.cli(["agent", "revoke", "revoked"]).succeeds();
    let owner = placet.agents();
    let as_ = |token: &str| owner.clone().bearer(Some(token));
    let callers = [
        ("nobody", owner.clone().bearer(None)),
        ("garbage", as_("placet_agent_00000000000000000000000000000000")),
        ("person", as_(&person)),
        ("session", as_(&session).header("cookie", &ada.secret)),
        ("revoked", as_(&revoked)),
        ("other", as_(&other)),
        ("owner", owner.clone()),
    ];
    let expected = table(TABLE);
    let mut got = Table::new();
    for (position, (operation, _)) in expected.iter().enumerate() {
        let subject = subject(&owner, operation, &format!("1.{position}"));
        let mut statuses = std::collections::BTreeMap::new();
        for (name, door) in &callers {
            let answer = call(door, operation, &subject.id, &subject.body);
            statuses.insert((*name).to_owned(), answer.status);
            if operation.contains("{id}") && *name != "owner" {
                // Whether it is there is none of this caller's business: what is not there answers the same.
                for absent in [ABSENT, "req_", "req_%20"] {
                    let nothing = call(door, operation, absent, &subject.body);
                    assert_eq!(said(&nothing), said(&answer), "{operation} as {name}: {absent}");
                }
            }
            if answer.status == 401 {
                answer.problem(401, "unauthenticated");
                let challenge = answer.headers["www-authenticate"].to_str().unwrap();
                assert!(challenge.starts_with("Bearer realm=\"placet agents\""), "{challenge}");
                // Where tools are, clients are told where it is written which tokens open the door.
                let told = challenge.contains("resource_metadata=");
                assert_eq!(told, operation.starts_with("POST /mcp"), "{operation}: {challenge}");
            }
        }
        got.push((operation.clone(), statuses));
    }
    compare(&expected, &got);
    assert_eq!(
        as_(&other).get("/v1/requests").json()["requests"].as_array().unwrap().len(),
        2,
        "its own two"
    );
}

/// What an answer tells: everything but the call's own id.
fn said(answer: &Answer) -> (u16, Value) {
    let mut document = answer.json();
    document.as_object_mut().unwrap().retain(|member, _| member != "instance" && member != "request_id");
    (answer.status, document)
}
