//! `placet config check`: the configuration as `placet up` would read it.

use serde::Serialize;

use crate::config::{Config, ConfigArgs, Environment};
use crate::exit::{Exit, Failure};
use crate::output::{Output, table};

/// A key, what it says, and who said so.
#[derive(Serialize)]
struct Line {
    key: &'static str,
    value: Option<String>,
    origin: Option<String>,
}

/// Prints every key, if they make a configuration.
pub(crate) fn check(args: &ConfigArgs, output: Output) -> Result<Exit, Failure> {
    let settings = args.settings(&Environment::of_process()?)?;
    Config::of(&settings)?;
    let lines: Vec<Line> = settings
        .iter()
        .map(|(key, said)| Line {
            key: key.name,
            value: said.map(|(value, _)| value.clone()),
            origin: said.map(|(_, origin)| origin.to_string()),
        })
        .collect();
    output.result(&lines, || {
        let row = |line: &Line| {
            let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            [line.key.to_owned(), text(&line.value), text(&line.origin)]
        };
        table(["KEY", "VALUE", "SAID IN"], &lines.iter().map(row).collect::<Vec<_>>())
    })?;
    Ok(Exit::Done)
}
