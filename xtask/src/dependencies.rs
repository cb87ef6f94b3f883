//! What we build on: licences, where packages come from, whether their authors took them back, and doubles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::exec::{Failure, Machine, Result, say};
use crate::mcp;
use crate::metadata::{self, Package};
use crate::spdx::{self, Verdict};

/// Two versions of one of these are two implementations to watch for advisories; reported, because a test's
/// cross-check may need the older one.
const WATCHED_FOR_DOUBLES: [&str; 12] = [
    "aes-gcm",
    "aws-lc-rs",
    "cedar-policy",
    "curve25519-dalek",
    "ed25519-dalek",
    "getrandom",
    "hmac",
    "rustls",
    "sha2",
    "signature",
    "subtle",
    "zeroize",
];

/// The one registry of packages for Rust, as cargo names it.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(crate) fn check(machine: &Machine) -> Result<()> {
    let mut packages = metadata::everything(machine)?;
    for double in doubles(&packages) {
        say(&format!("note: {double}"));
    }
    // What only tests run is held against the same list.
    packages.extend(metadata::beside(machine, mcp::RUST)?);
    let mut findings: Vec<String> =
        packages.iter().filter_map(unfit_licence).chain(packages.iter().filter_map(foreign_source)).collect();
    let yanked = Yanked::read(&packages, &index_caches());
    findings.extend(yanked.taken_back.iter().map(|id| format!("{id}: yanked by its authors; cargo update")));
    findings.extend(browser_licences(machine)?);

    if yanked.unknown > 0 {
        say(&format!("note: {} packages without a cached index entry: not known if yanked", yanked.unknown));
    }
    if !findings.is_empty() {
        return Err(Failure::findings("these dependencies are not acceptable:", &findings));
    }
    say(&format!("{} packages: licences, sources and versions are fine", packages.len()));
    Ok(())
}

fn unfit_licence(package: &Package) -> Option<String> {
    let id = id(package);
    let Some(licence) = &package.licence else { return Some(format!("{id}: states no licence expression")) };
    match spdx::judge(licence) {
        Verdict::Acceptable => None,
        Verdict::Refused => Some(format!("{id}: {licence} is not on our list")),
        Verdict::Unreadable => Some(format!("{id}: {licence:?} is no licence expression")),
    }
}

fn foreign_source(package: &Package) -> Option<String> {
    let source = package.source.as_deref()?;
    (source != REGISTRY).then(|| format!("{}: comes from {source}", id(package)))
}

fn doubles(packages: &[Package]) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages.iter().filter(|package| WATCHED_FOR_DOUBLES.contains(&package.name.as_str())) {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    versions
        .into_iter()
        .filter(|(_, versions)| versions.len() > 1)
        .map(|(name, versions)| {
            format!("{name} is here more than once: {}", Vec::from_iter(versions).join(", "))
        })
        .collect()
}

fn id(package: &Package) -> String {
    format!("{} {}", package.name, package.version)
}

/// What the index said about our versions when cargo last looked. Cargo fills the cache while it resolves and asks
/// nobody about a version that is locked, so this costs no network and may be behind.
#[derive(Debug, Default, PartialEq, Eq)]
struct Yanked {
    taken_back: Vec<String>,
    unknown: usize,
}

impl Yanked {
    fn read(packages: &[Package], caches: &[PathBuf]) -> Self {
        let mut answer = Self::default();
        for package in packages.iter().filter(|package| package.source.as_deref() == Some(REGISTRY)) {
            match caches.iter().find_map(|cache| is_yanked(cache, package)) {
                Some(true) => answer.taken_back.push(id(package)),
                Some(false) => {}
                None => answer.unknown += 1,
            }
        }
        answer
    }
}

fn index_caches() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let Some(Ok(indexes)) = home.map(|home| fs::read_dir(home.join("registry/index"))) else {
        return Vec::new();
    };
    indexes.filter_map(|entry| Some(entry.ok()?.path().join(".cache"))).collect()
}

/// A cache file is a binary header and then, between zero bytes, versions and their JSON lines as the index has them.
fn is_yanked(cache: &Path, package: &Package) -> Option<bool> {
    let bytes = fs::read(cache.join(index_path(&package.name))).ok()?;
    bytes
        .split(|byte| *byte == 0)
        .filter_map(|piece| serde_json::from_slice::<Value>(piece).ok())
        .find(|line| line.get("vers").and_then(Value::as_str) == Some(package.version.as_str()))?
        .get("yanked")?
        .as_bool()
}

/// `1/a`, `2/ab`, `3/a/abc`, `ab/cd/abcdef`: how the index spreads its files.
fn index_path(name: &str) -> String {
    let name = name.to_lowercase();
    match (name.len(), name.get(..1), name.get(..2), name.get(2..4)) {
        (length @ 1..=2, ..) => format!("{length}/{name}"),
        (3, Some(first), ..) => format!("3/{first}/{name}"),
        (_, _, Some(first), Some(second)) => format!("{first}/{second}/{name}"),
        _ => name,
    }
}

/// The browser tests' packages: the same list of licences, every package with its hash, none with an address.
fn browser_licences(machine: &Machine) -> Result<Vec<String>> {
    let path = machine.path("tests/browser/package-lock.json");
    let bytes = fs::read(&path)
        .map_err(|error| Failure::new(format!("failed to read {}: {error}", path.display())))?;
    let document: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::new(format!("failed to read {}: {error}", path.display())))?;
    Ok(browser_findings(&document))
}

fn browser_findings(document: &Value) -> Vec<String> {
    let Some(packages) = document.get("packages").and_then(Value::as_object) else {
        return vec!["tests/browser/package-lock.json: lists no packages".to_owned()];
    };
    let mut findings = Vec::new();
    for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
        let field = |key: &str| package.get(key).and_then(Value::as_str);
        if field("license").is_none_or(|licence| spdx::judge(licence) != Verdict::Acceptable) {
            findings.push(format!("{name}: its licence is not on our list"));
        }
        if field("integrity").is_none() {
            findings.push(format!("{name}: locked without a hash"));
        }
        if field("resolved").is_some() {
            findings
                .push(format!("{name}: locked with an address; run npm install with tests/browser/.npmrc"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, licence: Option<&str>, source: Option<&str>) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            licence: licence.map(str::to_owned),
            source: source.map(str::to_owned),
            dependencies: Vec::new(),
        }
    }

    #[test]
    fn a_licence_must_be_stated_and_on_the_list() {
        let finding = |licence| unfit_licence(&package("a", "1.0.0", licence, None));
        assert_eq!(finding(Some("MIT OR GPL-3.0-only")), None);
        assert_eq!(finding(Some("AGPL-3.0-only")).unwrap(), "a 1.0.0: AGPL-3.0-only is not on our list");
        assert_eq!(finding(Some("my own")).unwrap(), "a 1.0.0: \"my own\" is no licence expression");
        assert_eq!(finding(None).unwrap(), "a 1.0.0: states no licence expression");
    }

    #[test]
    fn packages_come_from_the_registry_or_from_here() {
        let finding = |source| foreign_source(&package("a", "1.0.0", None, source));
        assert_eq!(finding(None), None);
        assert_eq!(finding(Some(REGISTRY)), None);
        let git = "git+https://example.org/a#0123";
        assert_eq!(finding(Some(git)).unwrap(), format!("a 1.0.0: comes from {git}"));
    }

    #[test]
    fn doubles_are_reported_for_what_we_watch() {
        let packages = ["0.10.9", "0.11.1"].map(|version| package("sha2", version, None, None));
        assert_eq!(doubles(&packages), ["sha2 is here more than once: 0.10.9, 0.11.1"]);
        assert!(doubles(&["1.0.0", "2.0.0"].map(|version| package("syn", version, None, None))).is_empty());
    }

    #[test]
    fn the_index_cache_tells_what_was_taken_back() {
        let cache = tempfile::tempdir().unwrap();
        let file = cache.path().join("se/rd/serde");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let mut bytes = b"\x03\x02\0\0\0etag: x\0".to_vec();
        for (version, yanked) in [("1.0.0", false), ("1.0.1", true)] {
            let line = format!("{{\"name\":\"serde\",\"vers\":\"{version}\",\"yanked\":{yanked}}}");
            bytes.extend_from_slice(format!("{version}\0{line}\0").as_bytes());
        }
        fs::write(file, bytes).unwrap();
        let packages: Vec<Package> =
            [("serde", "1.0.0"), ("serde", "1.0.1"), ("serde", "1.0.2"), ("a", "1.0.0")]
                .map(|(name, version)| package(name, version, None, Some(REGISTRY)))
                .into();
        let expected = Yanked { taken_back: vec!["serde 1.0.1".to_owned()], unknown: 2 };
        assert_eq!(Yanked::read(&packages, &[cache.path().to_owned()]), expected);
    }

    #[test]
    fn index_paths_as_the_registry_spreads_them() {
        for (name, path) in [
            ("a", "1/a"),
            ("Cc", "2/cc"),
            ("cel", "3/c/cel"),
            ("time", "ti/me/time"),
            ("serde_json", "se/rd/serde_json"),
        ] {
            assert_eq!(index_path(name), path);
        }
    }

    #[test]
    fn browser_packages_are_locked_by_hash_and_not_by_address() {
        let findings = |package: &str| {
            let document = format!(r#"{{"packages":{{"":{{}},"node_modules/a":{package}}}}}"#);
            browser_findings(&serde_json::from_str(&document).unwrap())
        };
        assert!(findings(r#"{"license":"MIT","integrity":"sha512-x"}"#).is_empty());
        assert_eq!(findings(r#"{"license":"GPL-3.0-only","integrity":"sha512-x"}"#).len(), 1);
        assert_eq!(findings(r#"{"license":"MIT"}"#), ["node_modules/a: locked without a hash"]);
        assert_eq!(findings(r#"{"license":"MIT","integrity":"sha512-x","resolved":"https://x"}"#).len(), 1);
        assert_eq!(browser_findings(&Value::Null).len(), 1);
    }
}
