//! Bundles with something wrong in them, guards in one style, and what commands are mapped to.

use std::sync::LazyLock;

use placet_core::action::PepKind;
use placet_core::c14n::Value;
use placet_policy::{ARGV, Bundle, BundleFiles, Finding, format_cedar};

use super::{first, lossy};
use crate::seeds;

/// A bundle loads or says why, at places that there are; what loads, loads the same again.
pub(super) fn bundle(data: &[u8]) {
    let (choice, contents) = first(data);
    let paths: Vec<&str> = seeds::BUNDLE.iter().map(|(path, _)| *path).collect();
    let changed = paths[usize::from(choice) % paths.len()];
    let files = seeds::BUNDLE
        .iter()
        .map(|(path, text)| (*path, if *path == changed { contents } else { text.as_bytes() }));
    let files = BundleFiles::new(files);
    match Bundle::load(&files) {
        Ok(loaded) => {
            assert_eq!(loaded.bundle.digest(), files.digest());
            loaded.warnings.iter().for_each(|finding| has_a_place(&files, finding));
            let again = Bundle::load(&files).expect("it loaded before");
            assert_eq!(again.warnings, loaded.warnings);
        }
        Err(findings) => {
            assert!(!findings.is_empty(), "nothing is refused without a reason");
            findings.iter().for_each(|finding| has_a_place(&files, finding));
        }
    }
}

fn has_a_place(files: &BundleFiles, finding: &Finding) {
    assert!(!finding.message.contains("reading this bundle failed"), "a panic while it was read: {finding}");
    let Some(bytes) = files.get(&finding.file) else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let end = finding.span.offset + finding.span.length;
    assert!(text.get(finding.span.offset..end).is_some(), "{finding}: {:?} is not in it", finding.span);
    assert!(finding.line >= 1 && finding.line <= text.lines().count().max(1) + 1, "{finding}");
}

/// Formatting is done once, keeps what the policies say, and never fails on what parses.
pub(super) fn format(data: &[u8]) {
    let text = lossy(data);
    match format_cedar("ask.cedar", &text) {
        Ok(once) => assert_eq!(format_cedar("ask.cedar", &once).as_ref(), Ok(&once), "{once}"),
        Err(findings) => assert!(!findings.is_empty()),
    }
}

static EXPORTS: LazyLock<Bundle> = LazyLock::new(|| {
    Bundle::load(&BundleFiles::new(seeds::EXPORTS.iter().copied())).expect("the example loads").bundle
});

/// The words that the example's template takes, apart from the program.
const WORDS: [&str; 8] =
    ["-h", "-U", "-t", "127.0.0.1", "exporter", "pgbench_accounts", "pgbench_branches", "shop"];

/// A command is an export only if the template accounts for every word of it; intercepted, it is what it is by itself.
pub(super) fn mapping(data: &[u8]) {
    let argv: Vec<String> = data.split(|byte| *byte == 0).map(lossy).collect();
    let words = argv.iter().map(|word| Value::string(word.clone())).collect();
    let arguments = Value::object([(ARGV, Value::Array(words))]);
    let mapped = EXPORTS.map_command(&argv);
    assert_eq!(EXPORTS.map_intercepted(PepKind::Command, &arguments), mapped);
    let Ok(mapped) = mapped else { return };
    if mapped.action.as_str() == "command.run" {
        return;
    }
    assert_eq!((mapped.action.as_str(), argv[0].as_str()), ("data.export", "pg_dump"));
    for word in &argv[1..] {
        let joined = WORDS[..3].iter().find_map(|option| word.strip_prefix(option));
        let known = |word: &str| WORDS.contains(&word);
        assert!(known(word) || joined.is_some_and(known), "{word:?} in {argv:?}");
    }
    for place in 0..=argv.len() {
        let mut more = argv.clone();
        more.insert(place, "--no-such-option".to_owned());
        let other = EXPORTS.map_command(&more).expect("a command");
        assert_eq!(other.action.as_str(), "command.run", "{more:?}");
    }
}
