//! Stored people, agents, links, sessions, tokens and keys.

use placet_core::directory::{
    Agent, AgentKind, Invitation, Operator, Pep, Person, PersonToken, Session, Status, Workload,
};
use placet_core::entry::Disclosure;
use placet_core::retry::KeyRecord;
use serde::{Deserialize, Serialize};

use super::{Form, RowError};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonRow {
    id: String,
    name: String,
    email: Option<String>,
    groups: Vec<String>,
    active: bool,
    operator_uid: Option<u32>,
    created_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentRow {
    id: String,
    kind: AgentKindRow,
    name: String,
    sponsor: String,
    owners: Vec<String>,
    acts_for: Vec<String>,
    groups: Vec<String>,
    active: bool,
    token_hash: String,
    credential_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workload: Option<WorkloadRow>,
    created_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkloadRow {
    issuer: String,
    subject: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AgentKindRow {
    Agent,
    Pipeline,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PepRow {
    id: String,
    kind: String,
    name: String,
    sponsor: String,
    active: bool,
    token_hash: String,
    credential_version: u32,
    created_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvitationRow {
    id: String,
    person: String,
    secret_hash: String,
    minted_by: OperatorRow,
    expires_at: i64,
    consumed_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperatorRow {
    uid: u32,
    person: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionRow {
    id: String,
    person: String,
    secret_hash: String,
    host: String,
    minted_by: OperatorRow,
    created_at: i64,
    expires_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRow {
    id: String,
    person: String,
    token_hash: String,
    minted_by: OperatorRow,
    created_at: i64,
    expires_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyRow {
    digest: String,
    request: String,
    at: i64,
}

impl Form for Status {
    type Row = bool;
    fn to_row(&self) -> bool {
        *self == Status::Active
    }
    fn from_row(row: bool) -> Result<Self, RowError> {
        Ok(if row { Status::Active } else { Status::Disabled })
    }
}

impl Form for Person {
    type Row = PersonRow;
    fn to_row(&self) -> PersonRow {
        PersonRow {
            id: self.id.to_row(),
            name: self.name.clone(),
            email: self.email.clone(),
            groups: self.groups.to_row(),
            active: self.status.to_row(),
            operator_uid: self.operator_uid,
            created_at: self.created_at.to_row(),
        }
    }
    fn from_row(row: PersonRow) -> Result<Self, RowError> {
        Ok(Person {
            id: Form::from_row(row.id)?,
            name: row.name,
            email: row.email,
            groups: Form::from_row(row.groups)?,
            status: Form::from_row(row.active)?,
            operator_uid: row.operator_uid,
            created_at: Form::from_row(row.created_at)?,
        })
    }
}

impl Form for Agent {
    type Row = AgentRow;
    fn to_row(&self) -> AgentRow {
        AgentRow {
            id: self.id.to_row(),
            kind: match self.kind {
                AgentKind::Agent => AgentKindRow::Agent,
                AgentKind::Pipeline => AgentKindRow::Pipeline,
            },
            name: self.name.clone(),
            sponsor: self.sponsor.to_row(),
            owners: self.owners.to_row(),
            acts_for: self.acts_for.to_row(),
            groups: self.groups.to_row(),
            active: self.status.to_row(),
            token_hash: self.token_hash.to_row(),
            credential_version: self.credential_version,
            workload: self.workload.to_row(),
            created_at: self.created_at.to_row(),
        }
    }
    fn from_row(row: AgentRow) -> Result<Self, RowError> {
        Ok(Agent {
            id: Form::from_row(row.id)?,
            kind: match row.kind {
                AgentKindRow::Agent => AgentKind::Agent,
                AgentKindRow::Pipeline => AgentKind::Pipeline,
            },
            name: row.name,
            sponsor: Form::from_row(row.sponsor)?,
            owners: Form::from_row(row.owners)?,
            acts_for: Form::from_row(row.acts_for)?,
            groups: Form::from_row(row.groups)?,
            status: Form::from_row(row.active)?,
            token_hash: Form::from_row(row.token_hash)?,
            credential_version: row.credential_version,
            workload: Form::from_row(row.workload)?,
            created_at: Form::from_row(row.created_at)?,
        })
    }
}

impl Form for Workload {
    type Row = WorkloadRow;
    fn to_row(&self) -> WorkloadRow {
        WorkloadRow { issuer: self.issuer().to_owned(), subject: self.subject().to_owned() }
    }
    fn from_row(row: WorkloadRow) -> Result<Self, RowError> {
        Workload::new(&row.issuer, &row.subject).ok_or(RowError::Value("workload"))
    }
}

impl Form for Pep {
    type Row = PepRow;
    fn to_row(&self) -> PepRow {
        PepRow {
            id: self.id.to_row(),
            kind: self.kind.to_row(),
            name: self.name.clone(),
            sponsor: self.sponsor.to_row(),
            active: self.status.to_row(),
            token_hash: self.token_hash.to_row(),
            credential_version: self.credential_version,
            created_at: self.created_at.to_row(),
        }
    }
    fn from_row(row: PepRow) -> Result<Self, RowError> {
        Ok(Pep {
            id: Form::from_row(row.id)?,
            kind: Form::from_row(row.kind)?,
            name: row.name,
            sponsor: Form::from_row(row.sponsor)?,
            status: Form::from_row(row.active)?,
            token_hash: Form::from_row(row.token_hash)?,
            credential_version: row.credential_version,
            created_at: Form::from_row(row.created_at)?,
        })
    }
}

impl Form for Operator {
    type Row = OperatorRow;
    fn to_row(&self) -> OperatorRow {
        OperatorRow { uid: self.uid, person: self.person.to_row() }
    }
    fn from_row(row: OperatorRow) -> Result<Self, RowError> {
        Ok(Operator { uid: row.uid, person: Form::from_row(row.person)? })
    }
}

impl Form for Invitation {
    type Row = InvitationRow;
    fn to_row(&self) -> InvitationRow {
        InvitationRow {
            id: self.id.to_row(),
            person: self.person.to_row(),
            secret_hash: self.secret_hash.to_row(),
            minted_by: self.minted_by.to_row(),
            expires_at: self.expires_at.to_row(),
            consumed_at: self.consumed_at.to_row(),
        }
    }
    fn from_row(row: InvitationRow) -> Result<Self, RowError> {
        Ok(Invitation {
            id: Form::from_row(row.id)?,
            person: Form::from_row(row.person)?,
            secret_hash: Form::from_row(row.secret_hash)?,
            minted_by: Form::from_row(row.minted_by)?,
            expires_at: Form::from_row(row.expires_at)?,
            consumed_at: Form::from_row(row.consumed_at)?,
        })
    }
}

impl Form for Session {
    type Row = SessionRow;
    fn to_row(&self) -> SessionRow {
        SessionRow {
            id: self.id.to_row(),
            person: self.person.to_row(),
            secret_hash: self.secret_hash.to_row(),
            host: self.host.clone(),
            minted_by: self.minted_by.to_row(),
            created_at: self.created_at.to_row(),
            expires_at: self.expires_at.to_row(),
        }
    }
    fn from_row(row: SessionRow) -> Result<Self, RowError> {
        Ok(Session {
            id: Form::from_row(row.id)?,
            person: Form::from_row(row.person)?,
            secret_hash: Form::from_row(row.secret_hash)?,
            host: row.host,
            minted_by: Form::from_row(row.minted_by)?,
            created_at: Form::from_row(row.created_at)?,
            expires_at: Form::from_row(row.expires_at)?,
        })
    }
}

impl Form for PersonToken {
    type Row = TokenRow;
    fn to_row(&self) -> TokenRow {
        TokenRow {
            id: self.id.to_row(),
            person: self.person.to_row(),
            token_hash: self.token_hash.to_row(),
            minted_by: self.minted_by.to_row(),
            created_at: self.created_at.to_row(),
            expires_at: self.expires_at.to_row(),
        }
    }
    fn from_row(row: TokenRow) -> Result<Self, RowError> {
        Ok(PersonToken {
            id: Form::from_row(row.id)?,
            person: Form::from_row(row.person)?,
            token_hash: Form::from_row(row.token_hash)?,
            minted_by: Form::from_row(row.minted_by)?,
            created_at: Form::from_row(row.created_at)?,
            expires_at: Form::from_row(row.expires_at)?,
        })
    }
}

impl Form for KeyRecord {
    type Row = KeyRow;
    fn to_row(&self) -> KeyRow {
        KeyRow { digest: self.digest.to_row(), request: self.request.to_row(), at: self.at.to_row() }
    }
    fn from_row(row: KeyRow) -> Result<Self, RowError> {
        Ok(KeyRecord {
            digest: Form::from_row(row.digest)?,
            request: Form::from_row(row.request)?,
            at: Form::from_row(row.at)?,
        })
    }
}

impl Form for Disclosure {
    type Row = String;
    fn to_row(&self) -> String {
        self.as_str().to_owned()
    }
    fn from_row(row: String) -> Result<Self, RowError> {
        Ok(Disclosure::from_stored(row))
    }
}
