//! Who there is: people and agents. Operators change these on the admin socket.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use placet_broker::review::Reviewer;
use placet_core::directory::{Agent, AgentKind, Directory, GroupName, Pep, Person, Status};
use placet_core::id::PersonId;
use placet_core::text::visible;

use super::view::{When, when};
use super::{Chrome, page};
use crate::app::App;
use crate::failure::Outcome;

#[derive(Template)]
#[template(path = "people.html")]
struct PeoplePage {
    chrome: Chrome,
    people: Vec<PersonView>,
}

struct PersonView {
    id: String,
    name: String,
    me: bool,
    active: bool,
    operator: bool,
    groups: Vec<String>,
    sponsors: String,
    since: When,
}

pub(super) async fn people(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
) -> Outcome<Response> {
    let directory = app.broker.directory().await?;
    let view = |person: &Person| PersonView {
        id: person.id.to_string(),
        name: visible(&person.name),
        me: person.id == reviewer.verified.person,
        active: person.status == Status::Active,
        operator: person.operator_uid.is_some(),
        groups: groups(&person.groups),
        sponsors: sponsored(&directory, person.id),
        since: when(person.created_at),
    };
    let people = directory.people.values().map(view).collect();
    page(StatusCode::OK, &PeoplePage { chrome: Chrome::new("People", Some(&reviewer), "/people"), people })
}

fn groups(groups: &BTreeSet<GroupName>) -> Vec<String> {
    groups.iter().map(|group| group.as_str().to_owned()).collect()
}

/// The active agents that a person answers for.
fn sponsored(directory: &Directory, person: PersonId) -> String {
    let own =
        directory.agents.values().filter(|agent| agent.sponsor == person && agent.status == Status::Active);
    own.map(|agent| visible(&agent.name)).collect::<Vec<_>>().join(", ")
}

#[derive(Template)]
#[template(path = "agents.html")]
struct AgentsPage {
    chrome: Chrome,
    agents: Vec<AgentView>,
    peps: Vec<PepView>,
}

struct PepView {
    id: String,
    name: String,
    kind: &'static str,
    active: bool,
    sponsor: String,
    credential: u32,
    since: When,
}

struct AgentView {
    id: String,
    name: String,
    kind: &'static str,
    active: bool,
    sponsor: String,
    owners: String,
    acts_for: String,
    groups: Vec<String>,
    workload: Option<String>,
    credential: u32,
    since: When,
}

pub(super) async fn agents(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
) -> Outcome<Response> {
    let directory = app.broker.directory().await?;
    let view = |agent: &Agent| AgentView {
        id: agent.id.to_string(),
        name: visible(&agent.name),
        kind: match agent.kind {
            AgentKind::Agent => "agent",
            AgentKind::Pipeline => "pipeline",
        },
        active: agent.status == Status::Active,
        sponsor: person_name(&directory, agent.sponsor),
        owners: person_names(&directory, &agent.owners),
        acts_for: person_names(&directory, &agent.acts_for),
        groups: groups(&agent.groups),
        workload: agent
            .workload
            .as_ref()
            .map(|workload| format!("{} of {}", visible(workload.subject()), visible(workload.issuer()))),
        credential: agent.credential_version,
        since: when(agent.created_at),
    };
    let pep_view = |pep: &Pep| PepView {
        id: pep.id.to_string(),
        name: visible(&pep.name),
        kind: pep.kind.as_str(),
        active: pep.status == Status::Active,
        sponsor: person_name(&directory, pep.sponsor),
        credential: pep.credential_version,
        since: when(pep.created_at),
    };
    let agents = directory.agents.values().map(view).collect();
    let peps = directory.peps.values().map(pep_view).collect();
    let chrome = Chrome::new("Agents", Some(&reviewer), "/agents");
    page(StatusCode::OK, &AgentsPage { chrome, agents, peps })
}

fn person_name(directory: &Directory, id: PersonId) -> String {
    directory.people.get(&id).map_or_else(|| id.to_string(), |person| visible(&person.name))
}

fn person_names(directory: &Directory, ids: &BTreeSet<PersonId>) -> String {
    ids.iter().map(|id| person_name(directory, *id)).collect::<Vec<_>>().join(", ")
}
