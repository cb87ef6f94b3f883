//! `placet group`: groups, over the admin socket.

use hyper::Method;
use placet_api::admin::{AgentDocument, PersonDocument};
use serde::Serialize;

use crate::admin::Admin;
use crate::cli::operating::Group;
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain, table};

/// A group with who is in it.
#[derive(Serialize)]
struct Listed {
    name: String,
    people: Vec<String>,
    agents: Vec<String>,
}

/// Does it.
pub(crate) async fn run(command: Group, admin: &Admin, output: Output) -> Result<Exit, Failure> {
    match command {
        Group::Add { name } => {
            admin.send(Method::PUT, &["groups", &name]).await?;
            done(
                output,
                "added",
                &name,
                format!("The group {} is there; put people in with `placet group join`.", plain(&name)),
            )?;
        }
        Group::Rm { name } => {
            admin.send(Method::DELETE, &["groups", &name]).await?;
            done(output, "removed", &name, format!("The group {} is gone.", plain(&name)))?;
        }
        Group::Join { name, who } => {
            admin.send(Method::PUT, &["groups", &name, "members", &who]).await?;
            done(output, "joined", &who, format!("{} is in {}.", plain(&who), plain(&name)))?;
        }
        Group::Leave { name, who } => {
            admin.send(Method::DELETE, &["groups", &name, "members", &who]).await?;
            done(output, "left", &who, format!("{} is not in {} any more.", plain(&who), plain(&name)))?;
        }
        Group::Ls => {
            let groups = list(admin).await?;
            output.result(&groups, || {
                let row = |group: &Listed| {
                    [group.name.clone(), plain(&group.people.join(", ")), plain(&group.agents.join(", "))]
                };
                table(["GROUP", "PEOPLE", "AGENTS"], &groups.iter().map(row).collect::<Vec<_>>())
            })?;
        }
    }
    Ok(Exit::Done)
}

fn done(output: Output, word: &str, whom: &str, text: String) -> Result<(), Failure> {
    let mut document = serde_json::Map::new();
    document.insert(word.to_owned(), whom.into());
    output.result(&document, || text)
}

async fn list(admin: &Admin) -> Result<Vec<Listed>, Failure> {
    let names: Vec<String> = admin.get(&["groups"]).await?;
    let people: Vec<PersonDocument> = admin.get(&["people"]).await?;
    let agents: Vec<AgentDocument> = admin.get(&["agents"]).await?;
    let listed = |name: String| {
        let people = people.iter().filter(|person| person.active && person.groups.contains(&name));
        let agents = agents.iter().filter(|agent| agent.active && agent.groups.contains(&name));
        Listed {
            people: people.map(|person| person.name.clone()).collect(),
            agents: agents.map(|agent| agent.name.clone()).collect(),
            name,
        }
    };
    Ok(names.into_iter().map(listed).collect())
}
