//! Tool calls that a rule maps by CEL.

use placet_core::c14n::Value;
use serde::Deserialize;
use toml::Spanned;

use super::Mapped;
use crate::finding::{Finding, Source};
use crate::schema::Vocabulary;

/// A `[[tool]]` as it stands in the file.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {}

#[derive(Clone, Debug)]
pub(super) struct ToolRule {}

pub(super) enum Applied {
    Mapped(Mapped),
    NotThisOne,
    Failed,
}

impl ToolRule {
    pub(super) fn read(
        _source: Source<'_>,
        _written: &Spanned<Written>,
        _vocabulary: &Vocabulary,
    ) -> Result<ToolRule, Vec<Finding>> {
        Err(Vec::new())
    }
    pub(super) fn is_for(&self, _server: &str, _tool: &str) -> bool {
        false
    }
    pub(super) fn apply(&self, _arguments: &Value) -> Applied {
        Applied::NotThisOne
    }
}
