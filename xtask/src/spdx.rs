//! Licence expressions: may we use a package under terms from our list alone?
//!
//! `OR` is our choice, `AND` binds us to both. What we cannot read is refused.

/// What a program that we publish may contain.
const ACCEPTED: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    // MIT without its one condition.
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Exceptions only ever add permissions, yet an unknown name stays unknown.
const ACCEPTED_EXCEPTIONS: [&str; 1] = ["LLVM-exception"];

/// A licence expression nests two or three deep in the wild.
const DEPTH_MAX: usize = 16;

/// Whether the terms can be satisfied from the list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Acceptable,
    /// No way through the expression uses accepted licences only.
    Refused,
    Unreadable,
}

pub(crate) fn judge(expression: &str) -> Verdict {
    // The old way of writing OR, still found in packages from before 2018.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    match either(&mut rest, 0) {
        Some(true) if rest.is_empty() => Verdict::Acceptable,
        Some(false) if rest.is_empty() => Verdict::Refused,
        _ => Verdict::Unreadable,
    }
}

fn either(rest: &mut &[&str], depth: usize) -> Option<bool> {
    let mut acceptable = both(rest, depth)?;
    while let ["OR", tail @ ..] = *rest {
        *rest = tail;
        acceptable |= both(rest, depth)?;
    }
    Some(acceptable)
}

fn both(rest: &mut &[&str], depth: usize) -> Option<bool> {
    let mut acceptable = term(rest, depth)?;
    while let ["AND", tail @ ..] = *rest {
        *rest = tail;
        acceptable &= term(rest, depth)?;
    }
    Some(acceptable)
}

fn term(rest: &mut &[&str], depth: usize) -> Option<bool> {
    let (&word, tail) = rest.split_first()?;
    *rest = tail;
    if word == "(" {
        if depth == DEPTH_MAX {
            return None;
        }
        let acceptable = either(rest, depth + 1)?;
        let [")", tail @ ..] = *rest else { return None };
        *rest = tail;
        return Some(acceptable);
    }
    if !is_identifier(word) {
        return None;
    }
    let mut acceptable = ACCEPTED.contains(&word);
    if let ["WITH", tail @ ..] = *rest {
        let (&exception, tail) = tail.split_first()?;
        if !is_identifier(exception) {
            return None;
        }
        acceptable &= ACCEPTED_EXCEPTIONS.contains(&exception);
        *rest = tail;
    }
    Some(acceptable)
}

fn is_identifier(word: &str) -> bool {
    !matches!(word, "AND" | "OR" | "WITH")
        && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | ':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, expected: Verdict) {
        assert_eq!(judge(expression), expected, "{expression}");
    }

    #[test]
    fn terms_that_can_be_satisfied() {
        for expression in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "GPL-3.0-only OR MIT",
            "MIT OR GPL-3.0-only",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "ISC AND (Apache-2.0 OR ISC) AND Apache-2.0 AND MIT AND BSD-3-Clause",
            "((MIT))",
            "Apache-2.0 AND (GPL-2.0-only OR (ISC AND MIT))",
        ] {
            check(expression, Verdict::Acceptable);
        }
    }

    #[test]
    fn terms_that_bind_us_to_more() {
        for expression in [
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "GPL-3.0-only AND MIT",
            "(MIT OR Apache-2.0) AND OpenSSL",
            "GPL-2.0-only WITH Classpath-exception-2.0",
            "MIT WITH Classpath-exception-2.0",
            "Apache-2.0+",
            "LicenseRef-ours",
            "mit",
        ] {
            check(expression, Verdict::Refused);
        }
    }

    #[test]
    fn and_binds_tighter_than_or() {
        check("MIT OR GPL-3.0-only AND GPL-2.0-only", Verdict::Acceptable);
        check("GPL-3.0-only AND GPL-2.0-only OR MIT", Verdict::Acceptable);
        check("(MIT OR GPL-3.0-only) AND GPL-2.0-only", Verdict::Refused);
    }

    #[test]
    fn what_cannot_be_read_is_not_accepted() {
        let deep = format!("{}MIT{}", "(".repeat(DEPTH_MAX + 1), ")".repeat(DEPTH_MAX + 1));
        for expression in [
            "",
            "()",
            "(MIT",
            "MIT)",
            "MIT MIT",
            "MIT OR",
            "OR MIT",
            "MIT AND OR MIT",
            "MIT WITH",
            "MIT WITH OR",
            "MIT, Apache-2.0",
            "see LICENSE",
            &deep,
        ] {
            check(expression, Verdict::Unreadable);
        }
    }
}
