//! Figures for people and for programs.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::figure::{Aim, Figure};
use crate::machine::Machine;
use crate::{Result, Scale};

/// One figure in one line, as it is measured.
pub(crate) fn line(figure: &Figure) -> String {
    let (low, high) = figure.spread();
    let mut line = format!(
        "  {:<26} {:>10} {} ({} to {})",
        figure.name,
        number(figure.median()),
        figure.unit,
        number(low),
        number(high)
    );
    if let (Some(floor), Some(ratio)) = (figure.floor_median(), figure.ratio()) {
        let _ = write!(line, "; floor {} {}, ratio {}", number(floor), figure.unit, number(ratio));
    }
    if let Some(aim) = aim(figure) {
        let _ = write!(line, "; aim {aim}: {}", verdict(figure));
    }
    if let Some((generator, subject)) = figure.cpu() {
        let _ = write!(line, "; cores: load {generator:.2}, placet {subject:.2}");
    }
    if !figure.note.is_empty() {
        let _ = write!(line, "; {}", figure.note);
    }
    line
}

/// Everything, round by round.
pub(crate) fn json(machine: &Machine, scale: Scale, figures: &[Figure]) -> String {
    let machine: serde_json::Map<String, Value> =
        machine.lines.iter().map(|(about, line)| ((*about).to_owned(), json!(line))).collect();
    let figures: Vec<Value> = figures.iter().map(figure_json).collect();
    let whole =
        json!({ "machine": machine, "scale": format!("{scale:?}").to_lowercase(), "figures": figures });
    format!("{whole:#}\n")
}

fn figure_json(figure: &Figure) -> Value {
    let (low, high) = figure.spread();
    let rounds = figure.rounds.iter().map(|round| {
        let (generator, subject) = round.cpu.unzip();
        json!({ "value": round.value, "floor": round.floor, "load_cores": generator, "placet_cores": subject })
    });
    json!({
        "name": figure.name,
        "what": figure.what,
        "unit": figure.unit,
        "median": figure.median(),
        "lowest": low,
        "highest": high,
        "floor": { "what": figure.floor, "median": figure.floor_median() },
        "ratio": figure.ratio(),
        "aim": figure.aimed_at(),
        "reached": figure.reached(),
        "rounds": rounds.collect::<Vec<_>>(),
        "note": figure.note,
    })
}

/// What stands before and behind the part of the page that is written by this.
const BEGIN: &str = "<!-- measured: written by `cargo xtask bench --markdown` -->";
const END: &str = "<!-- /measured -->";

/// Writes the tables between the two marks of the page, and leaves what people wrote around them.
pub(crate) fn write_markdown(path: &Path, machine: &Machine, scale: Scale, figures: &[Figure]) -> Result<()> {
    let page = std::fs::read_to_string(path)?;
    let tables = markdown(machine, scale, figures);
    std::fs::write(path, between(&page, &tables).ok_or("the page has lost its marks")?)?;
    Ok(())
}

fn between(page: &str, tables: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{tables}\n{END}{after}"))
}

fn markdown(machine: &Machine, scale: Scale, figures: &[Figure]) -> String {
    let mut text = String::from(
        "| what | measured | floor | ratio | aim | | cores: load, placet |\n|---|---|---|---|---|---|---|\n",
    );
    for figure in figures {
        let (low, high) = figure.spread();
        let spread = if figure.rounds.len() > 1 {
            format!(" ({} to {})", number(low), number(high))
        } else {
            String::new()
        };
        let floor = figure
            .floor_median()
            .map_or(String::new(), |floor| format!("{} {}: {}", number(floor), figure.unit, figure.floor));
        let cpu = figure.cpu().map_or(String::new(), |(load, placet)| format!("{load:.2}, {placet:.2}"));
        let note = if figure.note.is_empty() { String::new() } else { format!(" ({})", figure.note) };
        let _ = writeln!(
            text,
            "| {}{note} | **{} {}**{spread} | {floor} | {} | {} | {} | {cpu} |",
            figure.what,
            number(figure.median()),
            figure.unit,
            figure.ratio().map_or(String::new(), number),
            aim(figure).unwrap_or_default(),
            verdict(figure),
        );
    }
    text.push_str("\nMeasured on:\n\n");
    for (about, line) in &machine.lines {
        let _ = writeln!(text, "- {about}: {line}");
    }
    if scale != Scale::Full {
        let _ = writeln!(text, "- **not a full run: {}**", format!("{scale:?}").to_lowercase());
    }
    text
}

fn aim(figure: &Figure) -> Option<String> {
    let number = number(figure.aimed_at()?);
    Some(match figure.aim {
        Aim::Nothing => return None,
        Aim::AtMost(_) => format!("≤ {number} {}", figure.unit),
        Aim::AtLeast(_) => format!("≥ {number} {}", figure.unit),
        Aim::Floors(times, plus) => format!("≤ {times} floors + {plus} {0} = {number} {0}", figure.unit),
    })
}

fn verdict(figure: &Figure) -> String {
    match (figure.reached(), figure.aimed_at()) {
        (Some(true), _) => "reached".to_owned(),
        (Some(false), Some(aim)) => format!("missed: {} of it", number(figure.median() / aim)),
        _ => String::new(),
    }
}

/// Three digits that count, and no more.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    rest.map_or_else(|| grouped.clone(), |rest| format!("{grouped}.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Round;

    #[test]
    fn numbers_are_for_people() {
        for (value, text) in [
            (0.1234, "0.123"),
            (1.5, "1.50"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1234.0, "1,234"),
            (1e6, "1,000,000"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_page_keeps_what_people_wrote() {
        let page = format!("# Title\n{BEGIN}\nold\n{END}\nmisses\n");
        assert_eq!(between(&page, "new\n").unwrap(), format!("# Title\n{BEGIN}\n\nnew\n\n{END}\nmisses\n"));
        assert_eq!(between("# Title\n", "new"), None);
    }

    #[test]
    fn a_miss_says_by_how_much() {
        let figure = Figure {
            name: "http-1",
            what: "one caller".to_owned(),
            unit: "ms",
            aim: Aim::Floors(1.3, 0.2),
            floor: "one fdatasync",
            rounds: vec![Round { value: 3.0, floor: Some(1.0), cpu: Some((0.1, 0.2)) }],
            note: String::new(),
        };
        assert_eq!(
            line(&figure).trim(),
            "http-1                           3.00 ms (3.00 to 3.00); floor 1.00 ms, ratio 3.00; \
             aim ≤ 1.3 floors + 0.2 ms = 1.50 ms: missed: 2.00 of it; cores: load 0.10, placet 0.20"
        );
    }
}
