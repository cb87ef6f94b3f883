//! Stored requests and votes. A request's votes are rows of their own; its body says only how many there are.

use std::collections::BTreeMap;

use placet_core::action::{ActionRequest, Canonical};
use placet_core::request::{
    Denial, Execution, Grant, Outcome, Pending, Recording, Request, Resolution, State,
};
use placet_core::review::{Evidence, Vote};
use serde::{Deserialize, Serialize};

use super::decision::{DecisionRow, ForbidRow};
use super::{Form, RowError};

/// A request without its votes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Body {
    /// The request; its list of votes is empty.
    pub(crate) request: Request,
    /// How many votes it has.
    pub(crate) votes: usize,
}

impl Body {
    /// The request without its votes, and the votes.
    pub(crate) fn of(mut request: Request) -> (Self, Vec<Vote>) {
        let votes = std::mem::take(&mut request.votes);
        (Body { request, votes: votes.len() }, votes)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BodyRow {
    id: String,
    version: u64,
    content_version: u32,
    canonical: String,
    short_code: String,
    /// Absent in what the first version wrote, and where no credential stands for the enforcement point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    taken_in_by: Option<String>,
    grade: String,
    justification: Option<String>,
    created_at: i64,
    updated_at: i64,
    decision: DecisionRow,
    reviewed: bool,
    votes: usize,
    state: StateRow,
    resolution: Option<ResolutionRow>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum StateRow {
    Refused(ForbidRow),
    Pending { expires_at: i64 },
    Denied { by: String, reason: Option<String>, cooldown_until: i64 },
    Expired,
    Cancelled,
    Granted { minted_at: i64, expires_at: i64 },
    Lapsed,
    Executing(ExecutionRow),
    Succeeded(ExecutionRow, OutcomeRow),
    Failed(ExecutionRow, OutcomeRow),
    Unknown(ExecutionRow, OutcomeRow),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecutionRow {
    id: String,
    claim: String,
    executor: String,
    started_at: i64,
    lease_until: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutcomeRow {
    summary: String,
    measures: BTreeMap<String, i64>,
    result: Option<String>,
    /// Absent in what was written before there were recordings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recording: Option<RecordingRow>,
    reported_by: String,
    at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordingRow {
    sha256: String,
    bytes: u64,
    truncated: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResolutionRow {
    by: String,
    text: String,
    at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VoteRow {
    person: String,
    verdict: String,
    reason: Option<String>,
    round: u32,
    content_version: u32,
    card: String,
    roles: Vec<String>,
    assurance: String,
    evidence: EvidenceRow,
    vouched: bool,
    self_reviewed: bool,
    at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EvidenceRow {
    Session(String),
    Token(String),
}

impl Form for Body {
    type Row = BodyRow;
    fn to_row(&self) -> BodyRow {
        let request = &self.request;
        BodyRow {
            id: request.id.to_row(),
            version: request.version,
            content_version: request.content_version,
            canonical: request.canonical.as_str().to_owned(),
            short_code: request.short_code.to_row(),
            taken_in_by: request.taken_in_by.to_row(),
            grade: request.grade.to_row(),
            justification: request.justification.to_row(),
            created_at: request.created_at.to_row(),
            updated_at: request.updated_at.to_row(),
            decision: request.decision.to_row(),
            reviewed: request.reviewed,
            votes: self.votes,
            state: state_row(&request.state),
            resolution: request.resolution.to_row(),
        }
    }
    fn from_row(row: BodyRow) -> Result<Self, RowError> {
        let canonical = Canonical::from_stored(row.canonical);
        let action =
            ActionRequest::from_canonical(&canonical).map_err(|_| RowError::Value("canonical form"))?;
        let request = Request {
            id: Form::from_row(row.id)?,
            version: row.version,
            content_version: row.content_version,
            action,
            canonical,
            short_code: Form::from_row(row.short_code)?,
            taken_in_by: Form::from_row(row.taken_in_by)?,
            grade: Form::from_row(row.grade)?,
            justification: Form::from_row(row.justification)?,
            created_at: Form::from_row(row.created_at)?,
            updated_at: Form::from_row(row.updated_at)?,
            decision: Form::from_row(row.decision)?,
            reviewed: row.reviewed,
            votes: Vec::new(),
            state: state(row.state)?,
            resolution: Form::from_row(row.resolution)?,
        };
        Ok(Body { request, votes: row.votes })
    }
}

fn state_row(state: &State) -> StateRow {
    match state {
        State::Refused(reason) => StateRow::Refused(reason.to_row()),
        State::Pending(pending) => StateRow::Pending { expires_at: pending.expires_at.to_row() },
        State::Denied(denial) => StateRow::Denied {
            by: denial.by.to_row(),
            reason: denial.reason.to_row(),
            cooldown_until: denial.cooldown_until.to_row(),
        },
        State::Expired => StateRow::Expired,
        State::Cancelled => StateRow::Cancelled,
        State::Granted(grant) => {
            StateRow::Granted { minted_at: grant.minted_at.to_row(), expires_at: grant.expires_at.to_row() }
        }
        State::Lapsed => StateRow::Lapsed,
        State::Executing(execution) => StateRow::Executing(execution.to_row()),
        State::Succeeded(execution, outcome) => StateRow::Succeeded(execution.to_row(), outcome.to_row()),
        State::Failed(execution, outcome) => StateRow::Failed(execution.to_row(), outcome.to_row()),
        State::Unknown(execution, outcome) => StateRow::Unknown(execution.to_row(), outcome.to_row()),
    }
}

fn state(row: StateRow) -> Result<State, RowError> {
    Ok(match row {
        StateRow::Refused(reason) => State::Refused(Form::from_row(reason)?),
        StateRow::Pending { expires_at } => {
            State::Pending(Pending { expires_at: Form::from_row(expires_at)? })
        }
        StateRow::Denied { by, reason, cooldown_until } => State::Denied(Denial {
            by: Form::from_row(by)?,
            reason: Form::from_row(reason)?,
            cooldown_until: Form::from_row(cooldown_until)?,
        }),
        StateRow::Expired => State::Expired,
        StateRow::Cancelled => State::Cancelled,
        StateRow::Granted { minted_at, expires_at } => State::Granted(Grant {
            minted_at: Form::from_row(minted_at)?,
            expires_at: Form::from_row(expires_at)?,
        }),
        StateRow::Lapsed => State::Lapsed,
        StateRow::Executing(execution) => State::Executing(Form::from_row(execution)?),
        StateRow::Succeeded(execution, outcome) => {
            State::Succeeded(Form::from_row(execution)?, Form::from_row(outcome)?)
        }
        StateRow::Failed(execution, outcome) => {
            State::Failed(Form::from_row(execution)?, Form::from_row(outcome)?)
        }
        StateRow::Unknown(execution, outcome) => {
            State::Unknown(Form::from_row(execution)?, Form::from_row(outcome)?)
        }
    })
}

impl Form for Execution {
    type Row = ExecutionRow;
    fn to_row(&self) -> ExecutionRow {
        ExecutionRow {
            id: self.id.to_row(),
            claim: self.claim.to_row(),
            executor: self.executor.to_row(),
            started_at: self.started_at.to_row(),
            lease_until: self.lease_until.to_row(),
        }
    }
    fn from_row(row: ExecutionRow) -> Result<Self, RowError> {
        Ok(Execution {
            id: Form::from_row(row.id)?,
            claim: Form::from_row(row.claim)?,
            executor: Form::from_row(row.executor)?,
            started_at: Form::from_row(row.started_at)?,
            lease_until: Form::from_row(row.lease_until)?,
        })
    }
}

impl Form for Outcome {
    type Row = OutcomeRow;
    fn to_row(&self) -> OutcomeRow {
        OutcomeRow {
            summary: self.summary.to_row(),
            measures: self.measures.clone(),
            result: self.result.to_row(),
            recording: self.recording.to_row(),
            reported_by: self.reported_by.to_row(),
            at: self.at.to_row(),
        }
    }
    fn from_row(row: OutcomeRow) -> Result<Self, RowError> {
        Ok(Outcome {
            summary: Form::from_row(row.summary)?,
            measures: row.measures,
            result: Form::from_row(row.result)?,
            recording: Form::from_row(row.recording)?,
            reported_by: Form::from_row(row.reported_by)?,
            at: Form::from_row(row.at)?,
        })
    }
}

impl Form for Recording {
    type Row = RecordingRow;
    fn to_row(&self) -> RecordingRow {
        RecordingRow { sha256: self.sha256.to_row(), bytes: self.bytes, truncated: self.truncated }
    }
    fn from_row(row: RecordingRow) -> Result<Self, RowError> {
        Ok(Recording { sha256: Form::from_row(row.sha256)?, bytes: row.bytes, truncated: row.truncated })
    }
}

impl Form for Resolution {
    type Row = ResolutionRow;
    fn to_row(&self) -> ResolutionRow {
        ResolutionRow { by: self.by.to_row(), text: self.text.to_row(), at: self.at.to_row() }
    }
    fn from_row(row: ResolutionRow) -> Result<Self, RowError> {
        Ok(Resolution {
            by: Form::from_row(row.by)?,
            text: Form::from_row(row.text)?,
            at: Form::from_row(row.at)?,
        })
    }
}

impl Form for Vote {
    type Row = VoteRow;
    fn to_row(&self) -> VoteRow {
        VoteRow {
            person: self.person.to_row(),
            verdict: self.verdict.to_row(),
            reason: self.reason.to_row(),
            round: self.round,
            content_version: self.content_version,
            card: self.card.to_row(),
            roles: self.roles.to_row(),
            assurance: self.assurance.to_row(),
            evidence: match self.evidence {
                Evidence::Session(id) => EvidenceRow::Session(id.to_row()),
                Evidence::Token(id) => EvidenceRow::Token(id.to_row()),
            },
            vouched: self.vouched,
            self_reviewed: self.self_reviewed,
            at: self.at.to_row(),
        }
    }
    fn from_row(row: VoteRow) -> Result<Self, RowError> {
        Ok(Vote {
            person: Form::from_row(row.person)?,
            verdict: Form::from_row(row.verdict)?,
            reason: Form::from_row(row.reason)?,
            round: row.round,
            content_version: row.content_version,
            card: Form::from_row(row.card)?,
            roles: Form::from_row(row.roles)?,
            assurance: Form::from_row(row.assurance)?,
            evidence: match row.evidence {
                EvidenceRow::Session(id) => Evidence::Session(Form::from_row(id)?),
                EvidenceRow::Token(id) => Evidence::Token(Form::from_row(id)?),
            },
            vouched: row.vouched,
            self_reviewed: row.self_reviewed,
            at: Form::from_row(row.at)?,
        })
    }
}
