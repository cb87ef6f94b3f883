//! How the program ends: exit codes that scripts can branch on, and what is said about a failure.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use placet_api::client::ClientError;
use placet_api::problem::Problem;

/// Our own exit codes, those of `sysexits.h` where it has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// It is done.
    Done,
    /// A check found something.
    Found,
    /// The command or what it names is wrong.
    Usage,
    /// placet cannot be reached.
    NoBroker,
    /// A bug of ours.
    Bug,
    /// It was carried out, and its output cannot be had any more.
    OutputGone,
    /// Nobody decided or claimed in time, or we stopped waiting.
    Waited,
    /// Nobody knows what happened.
    Unknown,
    /// Policy or a person said no.
    Refused,
    /// The configuration or a credential cannot be used.
    Configuration,
    /// Whoever read our output went away.
    ReaderGone,
    /// What the program that was run exited with, or 128 and its signal.
    Program(u8),
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Found => 1,
            Exit::Usage => 64,
            Exit::NoBroker => 69,
            Exit::Bug => 70,
            Exit::OutputGone => 74,
            Exit::Waited => 75,
            Exit::Unknown => 76,
            Exit::Refused => 77,
            Exit::Configuration => 78,
            // 128 and SIGPIPE, as if it had killed us.
            Exit::ReaderGone => 141,
            Exit::Program(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// Why a command did not do what it was asked, for the person or script that asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What to exit with.
    pub(crate) exit: Exit,
    /// Stable, if placet answered with one.
    pub(crate) code: Option<String>,
    /// What went wrong; fits "failed to …" or is a sentence of placet's.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure that is explained in a sentence.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure { exit, code: None, message: message.into(), hint: None }
    }

    /// A failure with the whole chain of its causes.
    pub(crate) fn of(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        Failure::new(exit, chain(error))
    }

    /// It, with what to do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What an answer of placet's means for us.
    pub(crate) fn of_problem(problem: &Problem) -> Self {
        let exit = match (problem.status, problem.code.as_str()) {
            (_, "outcome_unknown") => Exit::Unknown,
            (401 | 403 | 409, _) => Exit::Refused,
            (429, _) => Exit::Waited,
            (503, _) => Exit::NoBroker,
            (400..500, _) => Exit::Usage,
            _ => Exit::Bug,
        };
        let mut failure = Failure::new(exit, format!("{} ({})", problem.detail, problem.code));
        failure.code = Some(problem.code.clone());
        if exit == Exit::Bug {
            failure.hint = Some(format!("Report it, with call {} of the log.", problem.request_id));
        }
        failure
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Problem(problem) => Failure::of_problem(problem),
            ClientError::Unreachable { .. } => Failure::of(Exit::NoBroker, &error).hint(
                "Start it with `placet up`, or say where it is in PLACET_AGENTS_URL or PLACET_REVIEWERS_URL.",
            ),
            ClientError::Unexpected { .. } => Failure::of(Exit::Bug, &error),
            ClientError::Configuration(_) => Failure::of(Exit::Configuration, &error),
        }
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Failure::of(Exit::Configuration, &error).hint("`placet reference config` tells every key.")
    }
}

/// An error and its causes, in one line; a cause that only repeats what was said is left out.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_said = cause.to_string();
        if !said.contains(&cause_said) {
            said = format!("{said}: {cause_said}");
        }
        source = cause.source();
    }
    said
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_end_in_the_code_that_tells_scripts_what_to_do() {
        for (status, code, exit) in [
            (400, "bad_value", 64),
            (401, "unauthenticated", 77),
            (403, "conflict_of_interest", 77),
            (404, "not_found", 64),
            (409, "already_voted", 77),
            (409, "outcome_unknown", 76),
            (429, "call_rate", 75),
            (500, "internal", 70),
            (503, "unavailable", 69),
        ] {
            let failure = Failure::of_problem(&Problem::new(status, "", code, "It did not work."));
            assert_eq!(failure.exit.code(), exit, "{status} {code}");
            assert_eq!(failure.code.as_deref(), Some(code));
        }
    }
}
