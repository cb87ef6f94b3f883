//! Texts with placeholders, and what a placeholder's value may be.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// `{database}.{table}`: literal text and placeholders.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Literal(String),
    Placeholder(String),
}

/// What was found for each placeholder, in policy's words.
pub(super) type Bindings = BTreeMap<String, String>;

impl Template {
    /// Reads `text {name} text`. A brace stands for itself nowhere: there is no escape, and no need for one so far.
    pub(super) fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let literal = rest.find(['{', '}']).unwrap_or(rest.len());
            let (before, after) = rest.split_at(literal);
            if !before.is_empty() {
                parts.push(Part::Literal(before.to_owned()));
            }
            if after.is_empty() {
                break;
            }
            let name = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            match name {
                Some((name, behind)) if crate::settings::is_identifier(name) => {
                    parts.push(Part::Placeholder(name.to_owned()));
                    rest = behind;
                }
                _ => return Err(format!("{text:?}: write placeholders like {{name}}")),
            }
        }
        Ok(Template(parts))
    }

    /// The placeholder's name, if this is one placeholder and nothing else.
    pub(super) fn single(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Placeholder(name)] => Some(name),
            _ => None,
        }
    }

    pub(super) fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Placeholder(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// The literal text, if there are no placeholders.
    pub(super) fn literal(&self) -> Option<String> {
        self.placeholders().next().is_none().then(|| self.fill(&Bindings::new())).flatten()
    }

    /// The text with every placeholder filled; none if one is not bound.
    pub(super) fn fill(&self, bindings: &Bindings) -> Option<String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Placeholder(name) => text.push_str(bindings.get(name)?),
            }
        }
        Some(text)
    }

    /// Whether two different sets of values could fill it to the same text: then a name would stand for two things.
    pub(super) fn is_ambiguous(&self, values: &BTreeMap<String, ValueRule>) -> bool {
        let mut last: Option<&str> = None;
        let mut separators = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => separators.push_str(literal),
                Part::Placeholder(name) => {
                    if let Some(before) = last.and_then(|before| values.get(before)) {
                        // The first value ends where a character stands that it cannot contain.
                        let ends = separators.chars().next().is_some_and(|first| !before.may_contain(first));
                        if !ends {
                            return true;
                        }
                    }
                    separators.clear();
                    last = Some(name);
                }
            }
        }
        false
    }
}

/// What a placeholder's value may be. Everything else is no match.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ValueRule {
    /// One of these.
    OneOf(BTreeSet<String>),
    /// One of these, and what policy calls it.
    Names(BTreeMap<String, String>),
    /// Only these characters, not starting with a dash.
    Chars { allowed: BTreeSet<char>, length_max: usize },
    /// A whole number of 64 bits, written as policy writes it.
    Long,
}

/// A value rule as it stands in the file.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenValue {
    one_of: Option<Vec<String>>,
    names: Option<BTreeMap<String, String>>,
    chars: Option<String>,
    max: Option<usize>,
    long: Option<bool>,
}

const LENGTH_MAX: usize = 128;

impl ValueRule {
    pub(super) fn read(written: &WrittenValue) -> Result<ValueRule, String> {
        let WrittenValue { one_of, names, chars, max, long } = written;
        match (one_of, names, chars, long, max) {
            (Some(values), None, None, None, None) if !values.is_empty() => {
                Ok(ValueRule::OneOf(values.iter().cloned().collect()))
            }
            (None, Some(names), None, None, None) if !names.is_empty() => Ok(ValueRule::Names(names.clone())),
            (None, None, Some(chars), None, max) => {
                let length_max = max.unwrap_or(LENGTH_MAX);
                if !(1..=1024).contains(&length_max) {
                    return Err("max is 1 to 1024 characters".to_owned());
                }
                Ok(ValueRule::Chars { allowed: read_chars(chars)?, length_max })
            }
            (None, None, None, Some(true), None) => Ok(ValueRule::Long),
            _ => Err(
                "a value has one of: one_of = [\"…\"], names = { written = \"meant\" }, chars = \"a-z 0-9 _\" (with max), long = true"
                    .to_owned(),
            ),
        }
    }

    /// What policy calls this value; none if the rule does not allow it.
    pub(super) fn accept(&self, value: &str) -> Option<String> {
        let accepted = match self {
            ValueRule::OneOf(values) => values.contains(value),
            ValueRule::Names(names) => return names.get(value).cloned(),
            ValueRule::Chars { allowed, length_max } => {
                !value.is_empty()
                    && !value.starts_with('-')
                    && value.chars().count() <= *length_max
                    && value.chars().all(|character| allowed.contains(&character))
            }
            ValueRule::Long => value.parse::<i64>().is_ok_and(|number| number.to_string() == value),
        };
        accepted.then(|| value.to_owned())
    }

    /// Whether what policy calls it may contain this character.
    fn may_contain(&self, character: char) -> bool {
        match self {
            ValueRule::OneOf(values) => values.iter().any(|value| value.contains(character)),
            ValueRule::Names(names) => names.values().any(|name| name.contains(character)),
            ValueRule::Chars { allowed, .. } => allowed.contains(&character),
            ValueRule::Long => character.is_ascii_digit() || character == '-',
        }
    }
}

/// Reads `a-z 0-9 _ .`: ranges and single characters, with spaces between them. No space, control or wildcard gets in by
/// a range, as ranges are of letters or digits.
fn read_chars(text: &str) -> Result<BTreeSet<char>, String> {
    let refused = |part: &str| {
        format!("{part:?}: write ranges of letters or digits and single characters, like \"a-z 0-9 _\"")
    };
    let mut allowed = BTreeSet::new();
    for part in text.split(' ').filter(|part| !part.is_empty()) {
        let characters: Vec<char> = part.chars().collect();
        match characters.as_slice() {
            [single] if single.is_ascii_graphic() => {
                allowed.insert(*single);
            }
            [first, '-', last]
                if first <= last
                    && [char::is_ascii_lowercase, char::is_ascii_uppercase, char::is_ascii_digit]
                        .iter()
                        .any(|class| class(first) && class(last)) =>
            {
                allowed.extend(*first..=*last);
            }
            _ => return Err(refused(part)),
        }
    }
    if allowed.is_empty() { Err(refused(text)) } else { Ok(allowed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_or_not_at_all() {
        let template = Template::parse("{database}.{table}").unwrap();
        let mut bindings = Bindings::from([("database".to_owned(), "shop".to_owned())]);
        assert_eq!(template.fill(&bindings), None);
        bindings.insert("table".to_owned(), "accounts".to_owned());
        assert_eq!(template.fill(&bindings).as_deref(), Some("shop.accounts"));
        for text in ["{", "}", "{}", "{a b}", "{a", "a}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_match_their_rule_exactly() {
        let rule = |text: &str| ValueRule::read(&toml::from_str(text).unwrap()).unwrap();
        let chars = rule("chars = 'a-z 0-9 _ -'\nmax = 5");
        for (value, accepted) in [
            ("ab_1-", true),
            ("-ab", false),
            ("abcdef", false),
            ("", false),
            ("a*", false),
            ("A", false),
            ("é", false),
        ] {
            assert_eq!(chars.accept(value).is_some(), accepted, "{value}");
        }
        assert_eq!(
            rule("names = { pgbench_accounts = 'accounts' }").accept("pgbench_accounts").unwrap(),
            "accounts"
        );
        assert_eq!(rule("names = { pgbench_accounts = 'accounts' }").accept("accounts"), None);
        for (value, accepted) in [
            ("0", true),
            ("-7", true),
            ("07", false),
            ("+7", false),
            ("1.0", false),
            ("9223372036854775808", false),
        ] {
            assert_eq!(rule("long = true").accept(value).is_some(), accepted, "{value}");
        }
    }

    #[test]
    fn value_rules_that_say_nothing_or_two_things_are_refused() {
        for text in [
            "",
            "one_of = []",
            "long = false",
            "chars = ''",
            "chars = 'z-a'",
            "chars = 'a-9'",
            "chars = ' -~'",
            "chars = 'a-z'\nmax = 0",
            "one_of = ['a']\nlong = true",
            "one_of = ['a']\nmax = 3",
        ] {
            assert!(ValueRule::read(&toml::from_str(text).unwrap()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_for_two_things_is_ambiguous() {
        let rule = |text: &str| ValueRule::read(&toml::from_str(text).unwrap()).unwrap();
        let values = BTreeMap::from([
            ("plain".to_owned(), rule("chars = 'a-z'")),
            ("dotted".to_owned(), rule("chars = 'a-z .'")),
        ]);
        for (text, ambiguous) in [
            ("{plain}.{plain}", false),
            ("{plain}.{dotted}", false),
            ("{dotted}.{plain}", true),
            ("{plain}{plain}", true),
            ("x{dotted}", false),
        ] {
            assert_eq!(Template::parse(text).unwrap().is_ambiguous(&values), ambiguous, "{text}");
        }
    }
}
