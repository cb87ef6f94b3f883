//! `placet requests`: an agent's own requests.

use std::time::Duration;

use placet_api::client::ListRequests;
use placet_api::request::{RequestDocument, RequestList, Status};

use super::interrupt::Interrupts;
use super::waiting::{self, Waited};
use crate::cli::asking::Requests;
use crate::credentials;
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain, table};

/// Does it.
pub(crate) async fn run(command: Requests, output: Output) -> Result<Exit, Failure> {
    let agents = credentials::agents()?;
    match command {
        Requests::Ls { status, page } => {
            let statuses = status.iter().map(|word| status_of(word)).collect::<Result<_, _>>()?;
            let list = ListRequests { statuses, cursor: page.cursor, limit: Some(page.limit) };
            let listed = agents.requests(&list).await?;
            output.result(&listed, || rows(&listed))?;
            if let Some(cursor) = listed.next_cursor.as_ref().filter(|_| !output.is_json()) {
                output.say(&format!("There are more: --cursor {cursor}"));
            }
            Ok(Exit::Done)
        }
        Requests::Show { id } => {
            let request = agents.request(&id).await?;
            output.result(&request, || shown(&request))?;
            Ok(Exit::Done)
        }
        Requests::Wait { id, timeout } => {
            let request = agents.request(&id).await?;
            let limit = timeout.map(Duration::from_secs);
            let over = |request: &RequestDocument| !request.status.is_open();
            let waited =
                waiting::until(&agents, request, limit, &mut Interrupts::take()?, output, over).await?;
            let request = waited.request();
            output.result(request, || shown(request))?;
            match waited {
                Waited::Reached(request) => Ok(exit_of(&request)),
                Waited::Stopped(_) | Waited::TimeUp(_) => Ok(Exit::Waited),
            }
        }
        Requests::Cancel { id } => {
            let request = agents.request(&id).await?;
            let request = if request.pep == "command" && request.status == Status::Executing {
                agents.cancel_command(&id).await?;
                agents.request(&id).await?
            } else {
                agents.cancel(&id).await?
            };
            output.result(&request, || match request.status {
                Status::Executing => format!("{} was asked to end; it has ten seconds.", request.id),
                status => format!("{} is {}.", request.id, status.as_str()),
            })?;
            Ok(Exit::Done)
        }
    }
}

fn status_of(word: &str) -> Result<Status, Failure> {
    serde_json::from_value(word.into()).map_err(|_| {
        let words = placet_core::request::Status::ALL.map(placet_core::request::Status::as_str);
        Failure::new(Exit::Usage, format!("list requests: {:?} is no status", plain(word)))
            .hint(format!("Write one of {}.", words.join(", ")))
    })
}

/// What a request's end means for whoever waited for it.
pub(crate) fn exit_of(request: &RequestDocument) -> Exit {
    match request.status {
        Status::Succeeded => Exit::Done,
        Status::Failed => Exit::Found,
        Status::Unknown => Exit::Unknown,
        Status::Refused | Status::Denied => Exit::Refused,
        Status::Expired | Status::Lapsed | Status::Cancelled => Exit::Waited,
        Status::Pending | Status::Granted | Status::Executing => Exit::Waited,
    }
}

/// `Type::"id"`, as people may see it.
pub(crate) fn resource(request: &RequestDocument) -> String {
    plain(&format!("{}::{:?}", request.resource.kind, request.resource.id))
}

fn rows(list: &RequestList) -> String {
    let row = |request: &RequestDocument| {
        [
            request.id.clone(),
            request.status.as_str().to_owned(),
            request.action.clone(),
            resource(request),
            request.short_code.clone(),
            request.created_at.clone(),
        ]
    };
    table(
        ["ID", "STATUS", "ACTION", "RESOURCE", "CODE", "CREATED"],
        &list.requests.iter().map(row).collect::<Vec<_>>(),
    )
}

/// A request, for people.
pub(crate) fn shown(request: &RequestDocument) -> String {
    let mut lines: Vec<(&str, String)> = vec![
        ("request", request.id.clone()),
        ("status", request.status.as_str().to_owned()),
        ("action", format!("{} on {}", request.action, resource(request))),
        ("code", request.short_code.clone()),
        ("grade", format!("{} ({})", request.grade, request.pep)),
        ("digest", request.digest.clone()),
        ("created", request.created_at.clone()),
    ];
    let mut put = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
    put("until", request.expires_at.clone());
    put("chain", Some(chain(request)));
    put("decision", Some(decision(request)));
    put("review", request.review.as_ref().map(|review| review.url.clone()));
    put("needs", Some(waiting::progress(request)).filter(|needs| !needs.is_empty()));
    put(
        "denial",
        request.denial.as_ref().map(|denial| {
            let reason =
                denial.reason.as_deref().map(|reason| format!(": {}", plain(reason))).unwrap_or_default();
            format!("{}{reason}", denial.code)
        }),
    );
    put(
        "execution",
        request
            .execution
            .as_ref()
            .map(|execution| format!("{} since {}", execution.id, execution.started_at)),
    );
    if let Some(outcome) = &request.outcome {
        put(
            "outcome",
            Some(format!("{}, says {}: {}", outcome.outcome, outcome.reported_by, plain(&outcome.summary))),
        );
        for (name, number) in &outcome.measures {
            put("", Some(format!("{} {number}", plain(name))));
        }
        put("result", outcome.result_digest.clone().map(|digest| format!("sha256 {digest}")));
        put("recording", outcome.recording.as_ref().map(|recording| format!("sha256 {}", recording.sha256)));
        put("resolution", outcome.resolution.as_deref().map(plain));
    }
    let entries: Vec<String> = request.ledger.entries.iter().map(u64::to_string).collect();
    put("entries", Some(entries.join(", ")));
    put("canonical", Some(plain(&request.canonical)));
    // Whatever placet answers, a value stays in its line.
    lines.iter().map(|(name, value)| format!("{name:<10} {}\n", plain(value))).collect()
}

fn chain(request: &RequestDocument) -> String {
    let actor = |actor: &placet_api::request::PrincipalRef| {
        format!("{} {}", actor.kind, actor.name.as_deref().map_or_else(|| actor.id.clone(), plain))
    };
    request.actor_chain.iter().map(actor).collect::<Vec<_>>().join(" → ")
}

fn decision(request: &RequestDocument) -> String {
    let because: Vec<String> = request.decision.because.iter().map(|because| plain(&because.title)).collect();
    if because.is_empty() {
        return request.decision.effect.clone();
    }
    format!("{}: {}", request.decision.effect, because.join("; "))
}
