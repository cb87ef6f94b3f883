//! What `placet up` logs: to stderr, for operators. It may be lost; the ledger may not.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::output::Output;

/// Logs from now on: lines of JSON if JSON was asked for, lines of text otherwise.
pub(crate) fn start(output: Output) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,placet=info"));
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    // A log that was started before is as good.
    let _ = if output.is_json() { log.json().try_init() } else { log.try_init() };
}
