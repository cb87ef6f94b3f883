//! `placet agent`: agents and pipelines, over the admin socket.

use placet_api::admin::{AgentCredential, AgentDocument, NewAgentRequest, WorkloadDocument};

use crate::admin::{Admin, Body};
use crate::cli::operating::{Agent, NewAgent};
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain, table};

/// Does it.
pub(crate) async fn run(command: Agent, admin: &Admin, output: Output) -> Result<Exit, Failure> {
    match command {
        Agent::Add(new) => {
            let credential: AgentCredential =
                admin.post(&["agents"], Body::Json(request(new).to_json())).await?;
            show_token(&credential, output)?;
        }
        Agent::Rotate { which } => {
            let credential: AgentCredential = admin.post(&["agents", &which, "rotate"], Body::Empty).await?;
            show_token(&credential, output)?;
        }
        Agent::Revoke { which } => {
            let agent: AgentDocument = admin.post(&["agents", &which, "revoke"], Body::Empty).await?;
            output.result(&agent, || {
                format!("{} is revoked: its token opens nothing any more.", plain(&agent.name))
            })?;
        }
        Agent::Erase { which } => {
            let agent: AgentDocument = admin.post(&["agents", &which, "erase"], Body::Empty).await?;
            output.result(&agent, || {
                format!("What {} asked for is erased: its key is destroyed.", plain(&agent.name))
            })?;
        }
        Agent::Ls => {
            let agents: Vec<AgentDocument> = admin.get(&["agents"]).await?;
            output.result(&agents, || listed(&agents))?;
        }
    }
    Ok(Exit::Done)
}

fn request(new: NewAgent) -> NewAgentRequest {
    NewAgentRequest {
        name: new.name,
        pipeline: new.pipeline,
        sponsor: new.sponsor,
        owners: new.owners,
        acts_for: new.acts_for,
        groups: new.groups,
        workload: new.issuer.zip(new.subject).map(|(issuer, subject)| WorkloadDocument { issuer, subject }),
    }
}

/// The token alone is the data: it can be piped where it belongs.
fn show_token(credential: &AgentCredential, output: Output) -> Result<(), Failure> {
    let name = plain(&credential.agent.name);
    let Some(token) = &credential.token else {
        let workload = credential.agent.workload.as_ref().map(of_workload).unwrap_or_default();
        return output.result(credential, || {
            format!("{name} is added. It has no token of placet's: it is {workload}.")
        });
    };
    output.result(credential, || token.clone())?;
    if !output.is_json() {
        output.say(&format!(
            "The token of {name} is shown this once. Give it to {name} as PLACET_AGENT_TOKEN."
        ));
    }
    Ok(())
}

fn of_workload(workload: &WorkloadDocument) -> String {
    format!("{} of {}", plain(&workload.subject), plain(&workload.issuer))
}

fn listed(agents: &[AgentDocument]) -> String {
    let row = |agent: &AgentDocument| {
        [
            agent.id.clone(),
            plain(&agent.name),
            agent.kind.clone(),
            plain(&agent.sponsor),
            plain(&agent.acts_for.join(", ")),
            agent.groups.join(", "),
            agent.workload.as_ref().map_or_else(|| "placet".to_owned(), of_workload),
            if agent.active { "active" } else { "revoked" }.to_owned(),
        ]
    };
    let rows: Vec<_> = agents.iter().map(row).collect();
    table(["ID", "NAME", "KIND", "SPONSOR", "ACTS FOR", "GROUPS", "TOKENS", "STATE"], &rows)
}
