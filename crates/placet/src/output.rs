//! What the program says: data on stdout, talk on stderr, readable without colour.

use std::io::{self, IsTerminal as _, Write as _};

use placet_core::text::visible;
use serde::Serialize;

use crate::exit::{Exit, Failure};

/// Where a command's words go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// Text, or JSON if that was asked for.
    pub(crate) fn new(json: bool) -> Self {
        Output { json }
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Gives the result: as JSON if that was asked for, as text otherwise.
    pub(crate) fn result(
        self,
        document: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.json {
            let mut line = serde_json::to_string(document).map_err(|error| Failure::of(Exit::Bug, &error))?;
            line.push('\n');
            return data(line.as_bytes());
        }
        let mut text = text();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        data(unsteered(&text).as_bytes())
    }

    /// Says something to whoever watches. Never data.
    pub(crate) fn say(self, text: &str) {
        // Nobody to talk to is no reason to stop.
        let _ = writeln!(io::stderr().lock(), "{}", unsteered(text));
    }

    /// Says why the command failed, and what to do.
    pub(crate) fn failure(self, failure: &Failure) {
        if failure.exit == Exit::ReaderGone {
            return;
        }
        if self.json {
            let document = serde_json::json!({
                "error": failure.message, "code": failure.code, "hint": failure.hint, "exit": failure.exit.code(),
            });
            let _ = writeln!(io::stderr().lock(), "{document}");
            return;
        }
        self.say(&format!("{} {}", paint(Paint::Bad, "error:"), failure.message));
        if let Some(hint) = &failure.hint {
            self.say(&format!("{} {hint}", paint(Paint::Quiet, " hint:")));
        }
    }
}

/// Writes data to stdout, at once.
pub(crate) fn data(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(Exit::ReaderGone, "write the result: nobody reads it"),
        _ => Failure::of(Exit::Bug, &error).hint("Is the disk full?"),
    })
}

/// Text of others, so that it cannot steer the terminal. What is escaped already stays as it is.
pub(crate) fn plain(text: &str) -> String {
    text.split('\\').map(visible).collect::<Vec<_>>().join("\\")
}

/// Whole lines, in which others' texts may stand: line breaks, tabs and colours are kept, everything else that steers a
/// terminal is shown. Texts that are one line go through [`plain`] first, so that they stay one.
fn unsteered(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\n', '\t', '\u{1b}']) {
        let (before, from) = rest.split_at(at);
        shown.push_str(&plain(before));
        let kept = if from.starts_with('\u{1b}') { colour(from) } else { 1 };
        match from.split_at_checked(kept).filter(|(kept, _)| !kept.is_empty()) {
            Some((kept, after)) => {
                shown.push_str(kept);
                rest = after;
            }
            None => {
                shown.push_str("\\u{1b}");
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    shown.push_str(&plain(rest));
    shown
}

/// How long the sequence is that begins this text and does nothing but choose a colour; 0 if it is another.
fn colour(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\u{1b}[") else { return 0 };
    let length = parameters.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if parameters.as_bytes().get(length) == Some(&b'm') { "\u{1b}[".len() + length + 1 } else { 0 }
}

/// What a colour says. Words say it too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Paint {
    /// An error.
    Bad,
    /// Something to look at.
    Doubtful,
    /// All is well.
    Good,
    /// Less important.
    Quiet,
    /// A heading.
    Strong,
}

/// Colours a word for stderr, if that is a terminal and nobody minds.
pub(crate) fn paint(paint: Paint, word: &str) -> String {
    if !io::stderr().is_terminal() {
        return word.to_owned();
    }
    coloured(paint, word)
}

/// Colours a word for stdout, if that is a terminal and nobody minds.
pub(crate) fn paint_data(paint: Paint, word: &str) -> String {
    if !io::stdout().is_terminal() {
        return word.to_owned();
    }
    coloured(paint, word)
}

fn coloured(paint: Paint, word: &str) -> String {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if no_color || std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return word.to_owned();
    }
    let code = match paint {
        Paint::Bad => "31",
        Paint::Doubtful => "33",
        Paint::Good => "32",
        Paint::Quiet => "2",
        Paint::Strong => "1",
    };
    format!("\u{1b}[{code}m{word}\u{1b}[0m")
}

/// Columns under headings, each as wide as its widest cell.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| plain(cell))).collect();
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    let mut text = line(headings);
    for row in &rows {
        text.push_str(&line(row.each_ref().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let rows = [["a".to_owned(), "ü".to_owned()], ["long one".to_owned(), String::new()]];
        assert_eq!(table(["ID", "NAME"], &rows), "ID        NAME\na         ü\nlong one\n");
    }

    #[test]
    fn others_texts_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\u{202e}\\n"), "a\\u{1b}[2Jb\\u{202e}\\n");
        let forged = [["a\nb".to_owned()]];
        assert_eq!(table(["ID"], &forged), "ID\na\\nb\n", "a cell stays in its line");
    }

    #[test]
    fn whole_lines_keep_their_colours_and_nothing_else_that_steers() {
        for (text, shown) in [
            ("a\n\tb \u{1b}[31mred\u{1b}[0m \u{1b}[1;38;5;9mx\u{1b}[m", None),
            ("\u{1b}[2J\u{1b}]0;title\u{7}", Some("\\u{1b}[2J\\u{1b}]0;title\\u{7}")),
            ("\u{1b}[31", Some("\\u{1b}[31")),
            ("\u{1b}", Some("\\u{1b}")),
            ("\u{1b}\u{1b}[0m", Some("\\u{1b}\u{1b}[0m")),
            ("a\rb\u{9b}31mc\u{202e}", Some("a\\rb\\u{9b}31mc\\u{202e}")),
            ("\\n ü 日本", None),
        ] {
            assert_eq!(unsteered(text), shown.unwrap_or(text));
        }
    }
}
