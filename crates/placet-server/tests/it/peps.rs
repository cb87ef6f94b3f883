//! `/v1/pep`: what an enforcement point's token opens, and what no other token does.

use placet_broker::peps::NewPep;
use placet_core::action::PepKind;
use placet_core::entry::Kind;
use placet_store::EntryFilter;
use serde_json::{Value, json};

use crate::world::{Answer, Doors};

impl Doors {
    async fn pep(&self, name: &str, kind: PepKind) -> String {
        let new = NewPep { name: name.into(), kind, sponsor: "ann".into() };
        let (_, token) = self.world.broker.add_pep(&self.world.operator, new).await.unwrap();
        token.expose().to_owned()
    }

    /// A call with this bearer token, and with an agent's token beside it.
    async fn pep_call(&self, bearer: &str, agent: Option<&str>, path: &str, body: Option<&Value>) -> Answer {
        let url = format!("{}{path}", self.agents);
        let call = match body {
            Some(body) => {
                self.http.post(url).header("content-type", "application/json").body(body.to_string())
            }
            None => self.http.get(url),
        };
        let call = agent.into_iter().fold(call, |call, token| call.header("x-placet-agent-token", token));
        self.send(call.bearer_auth(bearer)).await
    }

    async fn wrong_doors(&self) -> usize {
        let filter = EntryFilter { kinds: vec![Kind::IntakeRefused], limit: 200, ..EntryFilter::default() };
        self.world.broker.entries(filter).await.unwrap().len()
    }
}

/// A command that this enforcement point would have intercepted.
async fn command(doors: &Doors, pep: &str) -> Value {
    let id = doors.pep_call(pep, None, "/v1/pep", None).await.json()["id"].as_str().unwrap().to_owned();
    let guide = doors.pep_call(pep, None, "/v1/pep/guide", Some(&json!({"argv": ["/usr/bin/true"]}))).await;
    assert_eq!(guide.status, 200, "{}", guide.text);
    let guide = guide.json();
    json!({
        "target": format!("runner:{id}"), "grade": "advisory", "action": guide["action"],
        "resource": guide["resource"], "arguments": {"argv": ["/usr/bin/true"]}, "pins": {},
    })
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_enforcement_points_token_opens_its_calls_and_it_opens_nothing_else() {
    let doors = Doors::open("team").await;
    let pep = doors.pep("one", PepKind::Command).await;
    let person = doors.world.person_token("rob").await;
    let known = doors.pep_call(&pep, None, "/v1/pep", None).await.json();
    assert_eq!((known["name"].as_str(), known["kind"].as_str()), (Some("one"), Some("command")));
    for path in ["/v1/pep", "/v1/pep/caller", "/v1/pep/executions", "/v1/pep/requests/req_1"] {
        for bearer in [&doors.bot, &person, &"placet_pep_0".to_owned()] {
            let answer = doors.pep_call(bearer, Some(&doors.bot), path, None).await;
            assert_eq!(answer.problem(), refused(401, "unauthenticated"), "{path}");
        }
    }
    assert_eq!(doors.wrong_doors().await, 1, "an agent at these calls is worth an entry a minute");
    doors.world.clock.advance(std::time::Duration::from_secs(61));
    for path in ["/v1/requests", "/v1/requests/req_1"] {
        let answer = doors.pep_call(&pep, None, path, None).await;
        assert_eq!(answer.problem(), refused(401, "unauthenticated"), "{path}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("enforcement point's token"));
    }
    assert_eq!(doors.wrong_doors().await, 2);
    let answer = doors.send(doors.http.get(doors.at("/v1/reviews")).bearer_auth(&pep)).await;
    assert_eq!(answer.problem(), refused(401, "unauthenticated"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enforcement_point_calls_for_agents_whose_tokens_it_shows() {
    let doors = Doors::open("team").await;
    let pep = doors.pep("one", PepKind::Command).await;
    let caller = doors.pep_call(&pep, Some(&doors.bot), "/v1/pep/caller", None).await.json();
    let bot = doors.world.broker.authenticate_agent(&doors.bot).await.unwrap();
    assert_eq!(caller, json!({"kind": "agent", "id": bot.principal.to_string()}));
    let call = command(&doors, &pep).await;
    let submit = async |agent| doors.pep_call(&pep, agent, "/v1/pep/requests", Some(&call)).await;
    assert_eq!(submit(None).await.problem(), refused(400, "missing_agent_token"));
    let person = doors.world.person_token("rob").await;
    for token in ["", "placet_agent_0", &pep, &person] {
        assert_eq!(submit(Some(token)).await.problem(), refused(401, "caller_unauthenticated"), "{token}");
    }
    let made = submit(Some(&doors.bot)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let request = made.json()["request"].clone();
    assert_eq!((&request["status"], &request["pep"]), (&json!("pending"), &json!("command")));
    assert_eq!(request["principal"]["id"], bot.principal.to_string());
    let again = submit(Some(&doors.bot)).await;
    assert_eq!((again.status, &again.json()["request"]["id"]), (200, &request["id"]));
    // Another agent's request is not there, and neither is one that nobody took in here.
    let stranger = doors.world.agent("stranger").await;
    let path = format!("/v1/pep/requests/{}", request["id"].as_str().unwrap());
    assert_eq!(doors.pep_call(&pep, Some(&doors.bot), &path, None).await.status, 200);
    assert_eq!(doors.pep_call(&pep, Some(&stranger), &path, None).await.problem(), refused(404, "not_found"));
    let external = doors.deploy("production").await;
    let path = format!("/v1/pep/requests/{}", external["id"].as_str().unwrap());
    assert_eq!(
        doors.pep_call(&pep, Some(&doors.bot), &path, None).await.problem(),
        refused(404, "not_found")
    );
    let cancel = doors.pep_call(&pep, Some(&doors.bot), &format!("{path}/cancel"), Some(&json!({}))).await;
    assert_eq!(cancel.problem(), refused(404, "not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_kind_nor_runner_is_the_bodys_to_say() {
    let doors = Doors::open("team").await;
    let (pep, mcp) = (doors.pep("one", PepKind::Command).await, doors.pep("two", PepKind::Mcp).await);
    let call = command(&doors, &pep).await;
    let submit = async |pep: &str, call: &Value| {
        doors.pep_call(pep, Some(&doors.bot), "/v1/pep/requests", Some(call)).await.problem()
    };
    assert_eq!(submit(&mcp, &call).await, refused(403, "other_kind"));
    let guide = doors.pep_call(&mcp, None, "/v1/pep/guide", Some(&json!({"argv": ["true"]}))).await;
    assert_eq!(guide.problem(), refused(403, "other_kind"));
    for (member, value, code) in [
        ("target", json!("runner:local"), "bad_target"),
        ("pep", json!("mcp"), "unknown_member"),
        ("grade", json!("excellent"), "bad_value"),
        ("pins", json!({"x": 1}), "bad_value"),
        ("start", json!(""), "bad_value"),
        ("arguments", json!({"argv": []}), "bad_argv"),
    ] {
        let mut call = call.clone();
        call[member] = value;
        assert_eq!(submit(&pep, &call).await, refused(400, code), "{member}");
    }
    for path in ["/v1/pep?x=1", "/v1/pep/executions?x=1"] {
        assert_eq!(
            doors.pep_call(&pep, None, path, None).await.problem(),
            refused(400, "bad_query"),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_is_its_enforcement_points_alone() {
    let doors = Doors::open("team").await;
    let (pep, other) = (doors.pep("one", PepKind::Command).await, doors.pep("two", PepKind::Command).await);
    let request = doors
        .pep_call(&pep, Some(&doors.bot), "/v1/pep/requests", Some(&command(&doors, &pep).await))
        .await
        .json()["request"]
        .clone();
    let rob = doors.signed_in("rob").await;
    rob.decide(request["short_code"].as_str().unwrap(), "approve", "").await;
    let at = |what: &str| format!("/v1/pep/requests/{}/{what}", request["id"].as_str().unwrap());
    let claim = async |pep: &str, value: &str| {
        doors.pep_call(pep, Some(&doors.bot), &at("execution"), Some(&json!({"claim": value}))).await
    };
    assert_eq!(claim(&other, "x").await.problem(), refused(403, "not_the_executor"));
    let held = claim(&pep, "mine").await;
    assert_eq!(held.status, 200, "{}", held.text);
    assert_eq!(held.headers["cache-control"], "no-store");
    assert_eq!(held.json()["canonical"], request["canonical"]);
    assert_eq!(claim(&pep, "mine").await.json(), held.json());
    assert_eq!(claim(&pep, "x").await.problem(), refused(409, "already_claimed"));
    let execution = held.json()["execution_id"].clone();
    let list = async |pep: &str| doors.pep_call(pep, None, "/v1/pep/executions", None).await.json();
    let line = json!({"request": request["id"], "execution_id": execution});
    assert_eq!(list(&pep).await, json!({"executions": [line]}));
    assert_eq!(list(&other).await, json!({"executions": []}));
    let outcome = json!({"execution_id": execution, "outcome": "succeeded", "summary": "exit code 0"});
    let why = json!({"execution_id": execution, "why": "gone"});
    for (path, body) in [(at("outcome"), &outcome), (at("abandonment"), &why)] {
        let answer = doors.pep_call(&other, None, &path, Some(body)).await;
        assert_eq!(answer.problem(), refused(404, "not_found"), "{path}");
    }
    doors.world.broker.revoke_agent(&doors.world.operator, "bot").await.unwrap();
    // Its agent has gone; what became of the execution is told all the same.
    assert_eq!(doors.pep_call(&pep, None, &at("outcome"), Some(&outcome)).await.status, 204);
    assert_eq!(list(&pep).await, json!({"executions": []}));
    doors.world.broker.revoke_pep(&doors.world.operator, "one").await.unwrap();
    let answer = doors.pep_call(&pep, None, "/v1/pep/executions", None).await;
    assert_eq!(answer.problem(), refused(401, "unauthenticated"));
}
