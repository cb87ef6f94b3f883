//! Stored decisions of policy.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::decision::{
    Because, Condition, Decision, Effect, Escalation, ForbidReason, GuardAsk, Need, Requirement,
};
use serde::{Deserialize, Serialize};

use super::{Form, RowError};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionRow {
    evaluation: String,
    bundle: String,
    at: i64,
    effect: EffectRow,
    because: Vec<BecauseRow>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EffectRow {
    Permit,
    Forbid(ForbidRow),
    RequireApproval(Box<RequirementRow>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BecauseRow {
    policy: String,
    title: String,
    text: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ForbidRow {
    NotPermitted,
    Policy,
    CannotBeApproved,
    NobodyCanApprove(String),
    UnknownAction,
    UnknownEntity(String),
    BadFacts(String),
    ChainBroken,
    EvidenceGone,
    Vetoed,
    PolicyError(Vec<String>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequirementRow {
    guards: Vec<GuardRow>,
    review_for_ms: u64,
    age_max_ms: Option<u64>,
    veto: u32,
    channels: BTreeSet<String>,
    eligible: BTreeMap<String, Vec<String>>,
    self_review: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuardRow {
    id: String,
    title: String,
    because: Option<String>,
    situation: Vec<ConditionRow>,
    needs: NeedRow,
    escalate: Vec<EscalationRow>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConditionRow {
    text: String,
    /// Not there where the text itself is all there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    words: Option<String>,
    holds: Option<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EscalationRow {
    to: String,
    after_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum NeedRow {
    All(Vec<NeedRow>),
    Any(Vec<NeedRow>),
    AtLeast { count: u32, role: String, assurance: Option<String> },
    Distinct(u32),
    WithinMs(u64),
    Data(ConditionRow),
}

impl Form for Decision {
    type Row = DecisionRow;
    fn to_row(&self) -> DecisionRow {
        DecisionRow {
            evaluation: self.evaluation.to_row(),
            bundle: self.bundle.to_row(),
            at: self.at.to_row(),
            effect: self.effect.to_row(),
            because: self.because.to_row(),
        }
    }
    fn from_row(row: DecisionRow) -> Result<Self, RowError> {
        Ok(Decision {
            evaluation: Form::from_row(row.evaluation)?,
            bundle: Form::from_row(row.bundle)?,
            at: Form::from_row(row.at)?,
            effect: Form::from_row(row.effect)?,
            because: Form::from_row(row.because)?,
        })
    }
}

impl Form for Effect {
    type Row = EffectRow;
    fn to_row(&self) -> EffectRow {
        match self {
            Effect::Permit => EffectRow::Permit,
            Effect::Forbid(reason) => EffectRow::Forbid(reason.to_row()),
            Effect::RequireApproval(requirement) => {
                EffectRow::RequireApproval(Box::new(requirement.to_row()))
            }
        }
    }
    fn from_row(row: EffectRow) -> Result<Self, RowError> {
        Ok(match row {
            EffectRow::Permit => Effect::Permit,
            EffectRow::Forbid(reason) => Effect::Forbid(Form::from_row(reason)?),
            EffectRow::RequireApproval(requirement) => Effect::RequireApproval(Form::from_row(*requirement)?),
        })
    }
}

impl Form for Because {
    type Row = BecauseRow;
    fn to_row(&self) -> BecauseRow {
        BecauseRow { policy: self.policy.clone(), title: self.title.clone(), text: self.text.clone() }
    }
    fn from_row(row: BecauseRow) -> Result<Self, RowError> {
        Ok(Because { policy: row.policy, title: row.title, text: row.text })
    }
}

impl Form for ForbidReason {
    type Row = ForbidRow;
    fn to_row(&self) -> ForbidRow {
        match self {
            ForbidReason::NotPermitted => ForbidRow::NotPermitted,
            ForbidReason::Policy => ForbidRow::Policy,
            ForbidReason::CannotBeApproved => ForbidRow::CannotBeApproved,
            ForbidReason::NobodyCanApprove(role) => ForbidRow::NobodyCanApprove(role.to_row()),
            ForbidReason::UnknownAction => ForbidRow::UnknownAction,
            ForbidReason::UnknownEntity(name) => ForbidRow::UnknownEntity(name.clone()),
            ForbidReason::BadFacts(what) => ForbidRow::BadFacts(what.clone()),
            ForbidReason::ChainBroken => ForbidRow::ChainBroken,
            ForbidReason::EvidenceGone => ForbidRow::EvidenceGone,
            ForbidReason::Vetoed => ForbidRow::Vetoed,
            ForbidReason::PolicyError(errors) => ForbidRow::PolicyError(errors.clone()),
        }
    }
    fn from_row(row: ForbidRow) -> Result<Self, RowError> {
        Ok(match row {
            ForbidRow::NotPermitted => ForbidReason::NotPermitted,
            ForbidRow::Policy => ForbidReason::Policy,
            ForbidRow::CannotBeApproved => ForbidReason::CannotBeApproved,
            ForbidRow::NobodyCanApprove(role) => ForbidReason::NobodyCanApprove(Form::from_row(role)?),
            ForbidRow::UnknownAction => ForbidReason::UnknownAction,
            ForbidRow::UnknownEntity(name) => ForbidReason::UnknownEntity(name),
            ForbidRow::BadFacts(what) => ForbidReason::BadFacts(what),
            ForbidRow::ChainBroken => ForbidReason::ChainBroken,
            ForbidRow::EvidenceGone => ForbidReason::EvidenceGone,
            ForbidRow::Vetoed => ForbidReason::Vetoed,
            ForbidRow::PolicyError(errors) => ForbidReason::PolicyError(errors),
        })
    }
}

impl Form for Requirement {
    type Row = RequirementRow;
    fn to_row(&self) -> RequirementRow {
        RequirementRow {
            guards: self.guards.to_row(),
            review_for_ms: self.review_for.to_row(),
            age_max_ms: self.age_max.to_row(),
            veto: self.veto,
            channels: self.channels.clone(),
            eligible: self.eligible.to_row(),
            self_review: self.self_review.to_row(),
        }
    }
    fn from_row(row: RequirementRow) -> Result<Self, RowError> {
        Ok(Requirement {
            guards: Form::from_row(row.guards)?,
            review_for: Form::from_row(row.review_for_ms)?,
            age_max: Form::from_row(row.age_max_ms)?,
            veto: row.veto,
            channels: row.channels,
            eligible: Form::from_row(row.eligible)?,
            self_review: Form::from_row(row.self_review)?,
        })
    }
}

impl Form for GuardAsk {
    type Row = GuardRow;
    fn to_row(&self) -> GuardRow {
        GuardRow {
            id: self.id.clone(),
            title: self.title.clone(),
            because: self.because.clone(),
            situation: self.situation.to_row(),
            needs: self.needs.to_row(),
            escalate: self.escalate.to_row(),
        }
    }
    fn from_row(row: GuardRow) -> Result<Self, RowError> {
        Ok(GuardAsk {
            id: row.id,
            title: row.title,
            because: row.because,
            situation: Form::from_row(row.situation)?,
            needs: Form::from_row(row.needs)?,
            escalate: Form::from_row(row.escalate)?,
        })
    }
}

impl Form for Condition {
    type Row = ConditionRow;
    fn to_row(&self) -> ConditionRow {
        let words = (self.words != self.text).then(|| self.words.clone());
        ConditionRow { text: self.text.clone(), words, holds: self.holds }
    }
    fn from_row(row: ConditionRow) -> Result<Self, RowError> {
        let words = row.words.unwrap_or_else(|| row.text.clone());
        Ok(Condition { text: row.text, words, holds: row.holds })
    }
}

impl Form for Escalation {
    type Row = EscalationRow;
    fn to_row(&self) -> EscalationRow {
        EscalationRow { to: self.to.clone(), after_ms: self.after.to_row() }
    }
    fn from_row(row: EscalationRow) -> Result<Self, RowError> {
        Ok(Escalation { to: row.to, after: Form::from_row(row.after_ms)? })
    }
}

impl Form for Need {
    type Row = NeedRow;
    fn to_row(&self) -> NeedRow {
        match self {
            Need::All(parts) => NeedRow::All(parts.to_row()),
            Need::Any(parts) => NeedRow::Any(parts.to_row()),
            Need::AtLeast { count, role, assurance } => {
                NeedRow::AtLeast { count: *count, role: role.to_row(), assurance: assurance.to_row() }
            }
            Need::Distinct(count) => NeedRow::Distinct(*count),
            Need::Within(age) => NeedRow::WithinMs(age.to_row()),
            Need::Data(condition) => NeedRow::Data(condition.to_row()),
        }
    }
    fn from_row(row: NeedRow) -> Result<Self, RowError> {
        Ok(match row {
            NeedRow::All(parts) => Need::All(Form::from_row(parts)?),
            NeedRow::Any(parts) => Need::Any(Form::from_row(parts)?),
            NeedRow::AtLeast { count, role, assurance } => {
                Need::AtLeast { count, role: Form::from_row(role)?, assurance: Form::from_row(assurance)? }
            }
            NeedRow::Distinct(count) => Need::Distinct(count),
            NeedRow::WithinMs(age) => Need::Within(Form::from_row(age)?),
            NeedRow::Data(condition) => Need::Data(Form::from_row(condition)?),
        })
    }
}
