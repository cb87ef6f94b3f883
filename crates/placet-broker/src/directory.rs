//! The operator's use cases: persons, agents, groups, their links and tokens. Every one is an entry.

use std::collections::BTreeSet;
use std::sync::Arc;

use placet_core::c14n::Value;
use placet_core::directory::{
    AccessEnd, Agent, AgentKind, Directory, GroupName, Invitation, Operator, Person, PersonToken, Status,
    Workload,
};
use placet_core::entry::{Draft, Kind};
use placet_core::id::{AgentId, InvitationId, PepId, PersonId, TokenId};
use placet_core::time::Timestamp;
use placet_store::{Requires, Transition, Write};

use crate::access::{AGENT_PREFIX, Credential, LINK_PREFIX, PERSON_PREFIX};
use crate::error::CallError;
use crate::{Broker, drafts};

/// A person to add.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NewPerson {
    /// Their name.
    pub name: String,
    /// Their address; a weak alias.
    pub email: Option<String>,
    /// The groups they are in.
    pub groups: Vec<String>,
    /// The operating system's user that is this person.
    pub operator_uid: Option<u32>,
}

/// An agent or pipeline to add.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewAgent {
    /// Its name.
    pub name: String,
    /// Agent or pipeline.
    pub kind: AgentKind,
    /// Who answers for it, by id or name.
    pub sponsor: String,
    /// Further owners, by id or name.
    pub owners: Vec<String>,
    /// Persons it may act for, by id or name.
    pub acts_for: Vec<String>,
    /// The groups it is in.
    pub groups: Vec<String>,
    /// Whose tokens of another issuer are its own.
    pub workload: Option<Workload>,
}

/// A sign-in link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invited {
    /// Whom it signs in.
    pub person: Person,
    /// What stands in the link.
    pub secret: Credential,
    /// Until when it works.
    pub expires_at: Timestamp,
}

/// How many bytes a name or address may have.
const NAME_MAX: usize = 200;

impl Broker {
    /// Everyone, at this moment.
    pub async fn directory(&self) -> Result<Arc<Directory>, CallError> {
        Ok(self.0.views.directory().await?)
    }

    /// Adds a person.
    pub async fn add_person(&self, operator: &Operator, new: NewPerson) -> Result<Person, CallError> {
        let directory = self.directory().await?;
        let name = checked_name(&new.name)?;
        if directory.people.values().any(|person| person.status == Status::Active && person.name == name) {
            return Err(taken(&name));
        }
        let holder = |person: &&Person| new.operator_uid.is_some() && person.operator_uid == new.operator_uid;
        if let Some(holder) = directory.people.values().find(holder) {
            // One user of the operating system as two persons could vouch for the one as the other.
            let name = placet_core::text::visible(&holder.name);
            return Err(CallError::Conflict {
                code: "operator_taken",
                message: format!("This operating system user is {name} already."),
                request: None,
            });
        }
        let groups = existing_groups(&directory, &new.groups)?;
        let now = self.now();
        let email = new.email.map(|email| checked_name(&email)).transpose()?;
        let person = Person {
            id: PersonId::new(now, self.0.entropy.as_ref()),
            name,
            email,
            groups,
            operator_uid: new.operator_uid,
            status: Status::Active,
            created_at: now,
        };
        let draft = drafts::operated(Kind::PersonAdded, operator, ("person", person.id.to_string()))
            .commit("name", Value::string(person.name.as_str()))
            .commit("groups", group_list(&person.groups));
        self.change(&directory, vec![Write::Person(person.clone())], draft).await?;
        Ok(person)
    }

    /// Mints a single-use sign-in link. Whatever let this person in before ends: their sessions, links and tokens.
    pub async fn invite(&self, operator: &Operator, who: &str) -> Result<Invited, CallError> {
        let directory = self.directory().await?;
        let person = find_person(&directory, who)?;
        // The person is written as they are, which moves the directory's epoch: what an ended session is doing right now
        // is decided anew, and refused.
        let ends = vec![Write::EndAccess(person.id, AccessEnd::Invited), Write::Person(person.clone())];
        self.mint_link(operator, &directory, person, ends).await
    }

    /// Mints a sign-in link for the operator's own person, and for nobody else. What lets them in already stays.
    pub async fn login(&self, operator: &Operator) -> Result<Invited, CallError> {
        let directory = self.directory().await?;
        let own = operator.person.and_then(|id| directory.active_person(id)).ok_or_else(|| {
            CallError::forbidden(
                "no_own_person",
                "No person is known to be this operating system user. Add one with `placet person add NAME --operator`.",
            )
        })?;
        self.mint_link(operator, &directory, own.clone(), Vec::new()).await
    }

    async fn mint_link(
        &self,
        operator: &Operator,
        directory: &Directory,
        person: Person,
        mut writes: Vec<Write>,
    ) -> Result<Invited, CallError> {
        let now = self.now();
        let (secret, secret_hash) = self.credential(LINK_PREFIX);
        let expires_at = now.plus(self.0.config.invitation_lifetime);
        let invitation = Invitation {
            id: InvitationId::new(now, self.0.entropy.as_ref()),
            person: person.id,
            secret_hash,
            minted_by: operator.clone(),
            expires_at,
            consumed_at: None,
        };
        let draft = drafts::operated(Kind::PersonInvited, operator, ("person", person.id.to_string()))
            .commit("link", Value::string(invitation.id.to_string()));
        writes.push(Write::Invitation(invitation));
        self.change(directory, writes, draft).await?;
        Ok(Invited { person, secret, expires_at })
    }

    /// Disables a person: their sessions, links and tokens end, their votes stop counting, their agents stop.
    pub async fn disable_person(&self, operator: &Operator, who: &str) -> Result<Person, CallError> {
        let directory = self.directory().await?;
        let mut person = find_person(&directory, who)?;
        person.status = Status::Disabled;
        // The operating system's user may be somebody else's from now on. Until then nobody knows who it is.
        person.operator_uid = None;
        let draft = drafts::operated(Kind::PersonChanged, operator, ("person", person.id.to_string()))
            .verdict("disabled");
        let writes = vec![Write::EndAccess(person.id, AccessEnd::Disabled), Write::Person(person.clone())];
        self.change(&directory, writes, draft).await?;
        Ok(person)
    }

    /// Mints an API token of a person.
    pub async fn mint_token(
        &self,
        operator: &Operator,
        who: &str,
    ) -> Result<(PersonToken, Credential), CallError> {
        let directory = self.directory().await?;
        let person = find_person(&directory, who)?;
        let now = self.now();
        let (secret, token_hash) = self.credential(PERSON_PREFIX);
        let token = PersonToken {
            id: TokenId::new(now, self.0.entropy.as_ref()),
            person: person.id,
            token_hash,
            minted_by: operator.clone(),
            created_at: now,
            expires_at: now.plus(self.0.config.token_lifetime),
        };
        let draft = drafts::operated(Kind::TokenMinted, operator, ("person", person.id.to_string()))
            .commit("token", Value::string(token.id.to_string()));
        self.change(&directory, vec![Write::Token(token.clone())], draft).await?;
        Ok((token, secret))
    }

    /// A person's API tokens.
    pub async fn tokens_of(&self, who: &str) -> Result<Vec<PersonToken>, CallError> {
        let person = find_person(&*self.directory().await?, who)?;
        Ok(self.0.views.tokens_of(person.id).await?)
    }

    /// Ends an API token.
    pub async fn revoke_token(&self, operator: &Operator, token: &str) -> Result<(), CallError> {
        let directory = self.directory().await?;
        let id = TokenId::parse(token).map_err(|_| CallError::NotFound)?;
        let holder = self.holder_of(&directory, id).await?;
        let draft = drafts::operated(Kind::TokenRevoked, operator, ("token", id.to_string()))
            .commit("person", Value::string(holder.id.to_string()));
        // As with a link: what the token is doing right now is decided anew.
        self.change(&directory, vec![Write::RevokeToken(id), Write::Person(holder)], draft).await
    }

    async fn holder_of(&self, directory: &Directory, token: TokenId) -> Result<Person, CallError> {
        for person in directory.people.values() {
            if self.0.views.tokens_of(person.id).await?.iter().any(|held| held.id == token) {
                return Ok(person.clone());
            }
        }
        Err(CallError::NotFound)
    }

    /// Adds an agent or pipeline, and mints its bearer token.
    pub async fn add_agent(
        &self,
        operator: &Operator,
        new: NewAgent,
    ) -> Result<(Agent, Credential), CallError> {
        let directory = self.directory().await?;
        let name = checked_name(&new.name)?;
        if directory.agents.values().any(|agent| agent.status == Status::Active && agent.name == name) {
            return Err(taken(&name));
        }
        if let Some(other) = new.workload.as_ref().and_then(|workload| directory.agent_of(workload)) {
            let message = format!("{} is that workload already. Revoke it first.", other.name);
            return Err(CallError::Conflict { code: "workload_taken", message, request: None });
        }
        let people = |references: &[String]| -> Result<BTreeSet<PersonId>, CallError> {
            references.iter().map(|who| find_person(&directory, who).map(|person| person.id)).collect()
        };
        let now = self.now();
        let (token, token_hash) = self.credential(AGENT_PREFIX);
        let agent = Agent {
            id: AgentId::new(now, self.0.entropy.as_ref()),
            kind: new.kind,
            name,
            sponsor: find_person(&directory, &new.sponsor)?.id,
            owners: people(&new.owners)?,
            acts_for: people(&new.acts_for)?,
            groups: existing_groups(&directory, &new.groups)?,
            status: Status::Active,
            token_hash,
            credential_version: 1,
            workload: new.workload,
            created_at: now,
        };
        let mut draft = drafts::operated(Kind::AgentAdded, operator, ("agent", agent.id.to_string()))
            .commit("name", Value::string(agent.name.as_str()))
            .commit("sponsor", Value::string(agent.sponsor.to_string()));
        if let Some(workload) = &agent.workload {
            draft = draft
                .commit("issuer", Value::string(workload.issuer()))
                .commit("subject", Value::string(workload.subject()));
        }
        self.change(&directory, vec![Write::Agent(agent.clone())], draft).await?;
        Ok((agent, token))
    }

    /// Revokes an agent: its token opens nothing from now on, and what it was granted is not carried out.
    pub async fn revoke_agent(&self, operator: &Operator, which: &str) -> Result<Agent, CallError> {
        let directory = self.directory().await?;
        let mut agent = find_agent(&directory, which)?;
        agent.status = Status::Disabled;
        let draft = drafts::operated(Kind::AgentChanged, operator, ("agent", agent.id.to_string()))
            .verdict("revoked");
        self.change(&directory, vec![Write::Agent(agent.clone())], draft).await?;
        Ok(agent)
    }

    /// Mints a new bearer token for an agent; the old one opens nothing from now on.
    pub async fn rotate_agent(
        &self,
        operator: &Operator,
        which: &str,
    ) -> Result<(Agent, Credential), CallError> {
        let directory = self.directory().await?;
        let mut agent = find_agent(&directory, which)?;
        if agent.workload.is_some() {
            let message =
                format!("{} calls with the tokens of its platform, and has none of placet's.", agent.name);
            return Err(CallError::Conflict { code: "has_workload", message, request: None });
        }
        let (token, token_hash) = self.credential(AGENT_PREFIX);
        agent.token_hash = token_hash;
        agent.credential_version = agent.credential_version.saturating_add(1);
        let draft = drafts::operated(Kind::AgentChanged, operator, ("agent", agent.id.to_string()))
            .verdict("rotated");
        self.change(&directory, vec![Write::Agent(agent.clone())], draft).await?;
        Ok((agent, token))
    }

    /// Adds a group.
    pub async fn add_group(&self, operator: &Operator, name: &str) -> Result<GroupName, CallError> {
        let directory = self.directory().await?;
        let group = group_name(name)?;
        if directory.groups.contains(&group) {
            return Err(taken(name));
        }
        let draft =
            drafts::operated(Kind::GroupChanged, operator, ("group", name.to_owned())).verdict("added");
        self.change(&directory, vec![Write::Group(group.clone())], draft).await?;
        Ok(group)
    }

    /// Removes a group that nobody is in.
    pub async fn remove_group(&self, operator: &Operator, name: &str) -> Result<(), CallError> {
        let directory = self.directory().await?;
        let group = existing_group(&directory, name)?;
        let used = directory.people.values().any(|person| person.groups.contains(&group))
            || directory.agents.values().any(|agent| agent.groups.contains(&group));
        if used {
            let message = format!("Somebody is in {name}. Take them out first with `placet group leave`.");
            return Err(CallError::Conflict { code: "group_in_use", message, request: None });
        }
        let draft =
            drafts::operated(Kind::GroupChanged, operator, ("group", name.to_owned())).verdict("removed");
        self.change(&directory, vec![Write::RemoveGroup(group)], draft).await
    }

    /// Puts a person or an agent into a group.
    pub async fn join_group(&self, operator: &Operator, name: &str, who: &str) -> Result<(), CallError> {
        self.move_in_group(operator, name, who, "joined", |groups, group| {
            groups.insert(group);
        })
        .await
    }

    /// Takes a person or an agent out of a group.
    pub async fn leave_group(&self, operator: &Operator, name: &str, who: &str) -> Result<(), CallError> {
        self.move_in_group(operator, name, who, "left", |groups, group| {
            groups.remove(&group);
        })
        .await
    }

    async fn move_in_group(
        &self,
        operator: &Operator,
        name: &str,
        who: &str,
        word: &'static str,
        change: impl Fn(&mut BTreeSet<GroupName>, GroupName),
    ) -> Result<(), CallError> {
        let directory = self.directory().await?;
        let group = existing_group(&directory, name)?;
        let (write, subject) = match (find_person(&directory, who), find_agent(&directory, who)) {
            (Ok(mut person), Err(CallError::NotFound)) => {
                change(&mut person.groups, group);
                let id = person.id.to_string();
                (Write::Person(person), id)
            }
            (Err(CallError::NotFound), Ok(mut agent)) => {
                change(&mut agent.groups, group);
                let id = agent.id.to_string();
                (Write::Agent(agent), id)
            }
            (Ok(_), Ok(_)) => return Err(ambiguous()),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let draft = drafts::operated(Kind::GroupChanged, operator, ("group", name.to_owned()))
            .verdict(word)
            .commit("member", Value::String(subject));
        self.change(&directory, vec![write], draft).await
    }

    /// Writes a change of the directory that was decided on this snapshot of it.
    pub(crate) async fn change(
        &self,
        directory: &Directory,
        writes: Vec<Write>,
        draft: Draft,
    ) -> Result<(), CallError> {
        let requires = vec![Requires::DirectoryEpoch(directory.epoch)];
        let entries = vec![self.seal(draft)];
        self.commit_once(Transition { requires, writes, entries }).await.map(drop)
    }
}

pub(crate) fn taken(name: &str) -> CallError {
    CallError::Conflict {
        code: "name_taken",
        message: format!("{} is taken already. Choose another name.", placet_core::text::visible(name)),
        request: None,
    }
}

pub(crate) fn checked_name(name: &str) -> Result<String, CallError> {
    let name = name.trim();
    if name.is_empty() || name.len() > NAME_MAX || placet_core::text::visible(name) != name {
        return Err(CallError::invalid("bad_name", "write 1 to 200 visible characters", "/name"));
    }
    // Ids and names stand in the same places: a name that reads like an id would be taken for whose it is.
    if PersonId::parse(name).is_ok() || AgentId::parse(name).is_ok() || PepId::parse(name).is_ok() {
        return Err(CallError::invalid("bad_name", "a name must not be written like an id", "/name"));
    }
    Ok(name.to_owned())
}

fn group_name(name: &str) -> Result<GroupName, CallError> {
    GroupName::parse(name).map_err(|error| CallError::invalid("bad_group", error.to_string(), "/group"))
}

fn existing_group(directory: &Directory, name: &str) -> Result<GroupName, CallError> {
    let group = group_name(name)?;
    if directory.groups.contains(&group) {
        return Ok(group);
    }
    let message = format!("There is no group {name}. Add it first with `placet group add {name}`.");
    Err(CallError::invalid("unknown_group", message, "/group"))
}

fn existing_groups(directory: &Directory, names: &[String]) -> Result<BTreeSet<GroupName>, CallError> {
    names.iter().map(|name| existing_group(directory, name)).collect()
}

fn group_list(groups: &BTreeSet<GroupName>) -> Value {
    Value::Array(groups.iter().map(|group| Value::string(group.as_str())).collect())
}

/// An active person by id, or by name if only one has it.
pub(crate) fn find_person(directory: &Directory, who: &str) -> Result<Person, CallError> {
    let active = directory.people.values().filter(|person| person.status == Status::Active);
    only(active.filter(|person| person.id.to_string() == who || person.name == who))
}

/// An active agent by id, or by name if only one has it.
fn find_agent(directory: &Directory, which: &str) -> Result<Agent, CallError> {
    let active = directory.agents.values().filter(|agent| agent.status == Status::Active);
    only(active.filter(|agent| agent.id.to_string() == which || agent.name == which))
}

pub(crate) fn only<'a, T: Clone + 'a>(mut found: impl Iterator<Item = &'a T>) -> Result<T, CallError> {
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.clone()),
        (Some(_), Some(_)) => Err(ambiguous()),
        (None, _) => Err(CallError::NotFound),
    }
}

fn ambiguous() -> CallError {
    CallError::Invalid {
        code: "ambiguous",
        message: "more than one has this name: use the id".to_owned(),
        pointer: None,
    }
}
