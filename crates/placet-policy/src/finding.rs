//! What is wrong, or doubtful, in a bundle: where, why, and what to do about it.

use std::fmt;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceSpan};

use crate::files::BundleFiles;

/// Whether a finding keeps a bundle from loading.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but somebody should look.
    Warning,
}

/// One thing that is wrong or doubtful in a file of a bundle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Whether it keeps the bundle from loading.
    pub severity: Severity,
    /// Stable code: `L1` to `L16` are lint rules, `file`, `toml`, `schema`, `entities`, `mapping` and `tests` name what
    /// was read.
    pub code: &'static str,
    /// The file's relative path.
    pub file: String,
    /// Line, from one.
    pub line: usize,
    /// Column in characters, from one.
    pub column: usize,
    /// Where in the file, in bytes.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// A range of bytes in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// Where it starts.
    pub offset: usize,
    /// How long it is.
    pub length: usize,
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Self {
        Span { offset: range.start, length: range.end.saturating_sub(range.start) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { file, line, column, code, message, .. } = self;
        write!(f, "{file}:{line}:{column}: {code}: {message}")
    }
}

impl Finding {
    /// It with its source, for a terminal.
    pub fn report(&self, files: &BundleFiles) -> FindingReport {
        let text = files.get(&self.file).map(String::from_utf8_lossy).unwrap_or_default();
        FindingReport { finding: self.clone(), source: NamedSource::new(&self.file, text.into_owned()) }
    }
}

/// A finding that knows its source.
#[derive(Debug)]
pub struct FindingReport {
    finding: Finding,
    source: NamedSource<String>,
}

impl fmt::Display for FindingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.finding.message)
    }
}

impl std::error::Error for FindingReport {}

impl Diagnostic for FindingReport {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.finding.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.finding.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.finding.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let Span { offset, length } = self.finding.span;
        let span = SourceSpan::new(offset.into(), length);
        Some(Box::new(std::iter::once(LabeledSpan::new_primary_with_span(None, span))))
    }
}

/// A text of the bundle, and where in it something stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
}

impl Source<'_> {
    pub(crate) fn error(
        &self,
        code: &'static str,
        span: impl Into<Span>,
        message: impl Into<String>,
    ) -> Finding {
        let span = span.into();
        let before = self.text.get(..span.offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Finding {
            severity: Severity::Error,
            code,
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).map_or(0, |line| line.chars().count()) + 1,
            span,
            message: message.into(),
            help: None,
        }
    }

    /// What another parser found, at the place that it labels.
    pub(crate) fn foreign(&self, code: &'static str, found: &dyn Diagnostic) -> Finding {
        let labels: Vec<LabeledSpan> = found.labels().into_iter().flatten().collect();
        let span = labels.first().map(|label| Span { offset: label.offset(), length: label.len() });
        let hints: Vec<String> = labels
            .iter()
            .filter_map(|label| label.label().map(str::to_owned))
            .chain(found.help().map(|help| help.to_string()))
            .collect();
        let finding = self.error(code, span.unwrap_or_default(), found.to_string());
        if hints.is_empty() { finding } else { finding.help(hints.join("; ")) }
    }

    /// What the TOML reader found.
    pub(crate) fn toml(&self, found: &toml::de::Error) -> Finding {
        self.error("toml", found.span().unwrap_or(0..0), found.message())
    }
}

impl Finding {
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }
}
