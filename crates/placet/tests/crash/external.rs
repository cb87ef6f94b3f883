//! An action that the agent carries out itself: intake, vote, claim, outcome over the two doors.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Placet;
use crate::people::deploy;
use crate::stage::{Acknowledged, Flow, Keys, entries};
use crate::victim::Victim;

pub(crate) struct External;

/// The states that the way leads through, in order.
const WAY: [&str; 4] = ["pending", "granted", "executing", "succeeded"];

fn call() -> Value {
    let mut call = deploy("production", "1");
    call["idempotency_key"] = json!("k1");
    call
}

impl Flow for External {
    fn name(&self) -> &'static str {
        "an external action"
    }

    fn go(&self, victim: &mut Victim, keys: &Keys) -> Acknowledged {
        let mut was = Acknowledged::default();
        let _ = steps(victim, keys, &mut was);
        was
    }

    fn go_on(&self, placet: &Placet, keys: &Keys, was: &Acknowledged) {
        let door = placet.agents().bearer(Some(&keys.agent));
        // The client repeats what it was not told the end of, which makes one request in any case.
        let request = door.post("/v1/requests", &call());
        assert!([200, 201].contains(&request.status), "{}", request.text());
        let request = request.json();
        if let Some(known) = &was.request {
            assert_eq!((&request["id"], &request["digest"]), (&known["id"], &known["digest"]));
        }
        let path = format!("/v1/requests/{}", request["id"].as_str().unwrap());
        let status = || door.get(&path).expect(200).json()["status"].as_str().unwrap().to_owned();
        let place = || WAY.iter().position(|word| *word == status()).expect("a state on the way");
        let told = match was {
            Acknowledged { finished: true, .. } => 3,
            Acknowledged { execution: Some(_), .. } => 2,
            Acknowledged { voted: true, .. } => 1,
            _ => 0,
        };
        // The step that nobody was told of happened or did not.
        assert!([told, told + 1].contains(&place()), "{} after {told} steps", status());
        if place() == 0 {
            let reviewer = placet.reviewers(None).header("cookie", &keys.cookie);
            let reviewer =
                reviewer.header("origin", &placet.ready.reviewers).header("x-placet-form-token", &keys.form);
            let review = reviewer.get(&review_path(&request)).expect(200).json();
            reviewer.post(&format!("{}/votes", review_path(&request)), &ballot(&review)).expect(200);
        }
        let claim = json!({ "digest": request["digest"], "claim": "c1" });
        let held = door.post(&format!("{path}/execution"), &claim).expect(200).json();
        if let Some(execution) = &was.execution {
            assert_eq!(held["execution_id"], **execution, "the same claim gets the same execution");
        }
        let other = json!({ "digest": request["digest"], "claim": "c2" });
        door.post(&format!("{path}/execution"), &other).problem(409, "already_claimed");
        door.post(&format!("{path}/outcome"), &outcome(&held)).expect(200);
        assert_eq!(status(), "succeeded");
        for kind in
            ["request.received", "vote.cast", "decision.made", "execution.started", "execution.finished"]
        {
            assert_eq!(entries(placet, kind, &request), 1, "{kind}");
        }
    }
}

fn review_path(request: &Value) -> String {
    format!("/v1/reviews/{}", request["id"].as_str().unwrap())
}

pub(crate) fn ballot(review: &Value) -> Value {
    json!({
        "verdict": "approve",
        "digest": review["request"]["digest"],
        "version": review["request"]["content_version"],
        "card": review["card_hash"],
    })
}

fn outcome(held: &Value) -> Value {
    json!({ "execution_id": held["execution_id"], "outcome": "succeeded", "summary": "deployed" })
}

/// Approves a request as Ada does it.
pub(crate) fn approve(victim: &Victim, keys: &Keys, request: &Value) -> Option<()> {
    let (_, reviewers) = victim.doors.clone()?;
    let headers =
        [("cookie", keys.cookie.as_str()), ("origin", &reviewers), ("x-placet-form-token", &keys.form)];
    let url = format!("{reviewers}{}", review_path(request));
    let review = ok(victim.call(Method::GET, url.clone(), &headers, None))?;
    ok(victim.call(Method::POST, format!("{url}/votes"), &headers, Some(&ballot(&review))))?;
    Some(())
}

/// The body, if it is a yes.
pub(crate) fn ok(answer: Option<(u16, Value)>) -> Option<Value> {
    answer.filter(|(status, _)| (200..300).contains(status)).map(|(_, body)| body)
}

/// The way; none as soon as a step was not acknowledged.
fn steps(victim: &Victim, keys: &Keys, was: &mut Acknowledged) -> Option<()> {
    let (agents, _) = victim.doors.clone()?;
    let bearer = keys.bearer();
    let headers = [("authorization", bearer.as_str())];
    let post = |path: String, body: Value| {
        ok(victim.call(Method::POST, format!("{agents}{path}"), &headers, Some(&body)))
    };
    let request = post("/v1/requests".to_owned(), call())?;
    was.request = Some(request.clone());
    approve(victim, keys, &request)?;
    was.voted = true;
    let path = format!("/v1/requests/{}", request["id"].as_str()?);
    let held = post(format!("{path}/execution"), json!({ "digest": request["digest"], "claim": "c1" }))?;
    was.execution = held["execution_id"].as_str().map(str::to_owned);
    post(format!("{path}/outcome"), outcome(&held))?;
    was.finished = true;
    Some(())
}
