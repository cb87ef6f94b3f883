//! The arrow test: which of our crates may depend on which, and what is kept out of them altogether.
//!
//! ```text
//! core ◄─ policy ◄─┐        core ◄─ api ◄─┬─ gateway
//!   ▲               ├─ broker ◄─ server ───┘    core ◄─ identity ◄─ server
//!   └── store ◄─────┤             placet → all of them
//! ledger ◄──────────┘             testkit: in tests only, broker and above
//! ```
//!
//! A new edge is a decision about the design: it comes with a record in `docs/adr/` that says why.

use crate::exec::{Failure, Machine, Result, say};
use crate::metadata::{self, Kind, Package};

const CORE: &str = "placet-core";
const POLICY: &str = "placet-policy";
const LEDGER: &str = "placet-ledger";
const STORE: &str = "placet-store";
const BROKER: &str = "placet-broker";
const IDENTITY: &str = "placet-identity";
const GATEWAY: &str = "placet-gateway";
const API: &str = "placet-api";
const SERVER: &str = "placet-server";
const PLACET: &str = "placet";
const TESTKIT: &str = "placet-testkit";
const BENCH: &str = "placet-bench";
const FUZZ: &str = "placet-fuzz";
const XTASK: &str = "xtask";

/// Each crate with the crates of ours that it may depend on.
const ARROWS: [(&str, &[&str]); 14] = [
    (CORE, &[]),
    (LEDGER, &[]),
    (POLICY, &[CORE]),
    (API, &[CORE]),
    (STORE, &[CORE, LEDGER]),
    (BROKER, &[CORE, POLICY, LEDGER, STORE]),
    (IDENTITY, &[CORE]),
    (GATEWAY, &[CORE, API]),
    (SERVER, &[CORE, API, IDENTITY, BROKER, STORE]),
    (PLACET, &[CORE, POLICY, LEDGER, STORE, BROKER, IDENTITY, GATEWAY, API, SERVER]),
    (TESTKIT, &[CORE, POLICY, LEDGER, STORE, BROKER, GATEWAY, API]),
    (BENCH, &[CORE, POLICY, LEDGER, STORE, BROKER, GATEWAY, API, SERVER, TESTKIT]),
    (FUZZ, &[CORE, POLICY, LEDGER, IDENTITY, GATEWAY, API, SERVER]),
    (XTASK, &[]),
];

/// The testkit knows the broker, so only the broker and what stands above it may test with it.
const TESTED_WITH_TESTKIT: [&str; 5] = [BROKER, GATEWAY, SERVER, PLACET, BENCH];

/// What a crate of ours is not: named packages stay out of the product code of all crates but these.
struct Absence {
    packages: &'static [&'static str],
    only_in: &'static [&'static str],
    why: &'static str,
}

const ABSENCES: [Absence; 8] = [
    Absence {
        packages: &["rusqlite", "tokio-postgres", "deadpool-postgres"],
        // Bench inserts bare rows: the floor that the store is measured against.
        only_in: &[STORE, BENCH],
        why: "no SQL outside store",
    },
    Absence {
        packages: &["cedar-policy", "cedar-policy-core", "cedar-policy-formatter", "cel"],
        only_in: &[POLICY],
        why: "no Cedar or CEL type outside policy",
    },
    Absence {
        packages: &[
            "axum",
            "axum-core",
            "hyper",
            "hyper-util",
            "http",
            "http-body-util",
            "tower",
            "tower-http",
        ],
        only_in: &[GATEWAY, API, SERVER, PLACET, TESTKIT, BENCH],
        why: "no HTTP type below the doors",
    },
    Absence {
        packages: &["reqwest"],
        only_in: &[API, IDENTITY, GATEWAY, PLACET, TESTKIT, BENCH],
        why: "calls go out through api's client, an enforcement point, or to issuers",
    },
    Absence {
        packages: &["jsonwebtoken"],
        only_in: &[IDENTITY],
        why: "tokens that others signed are verified in identity only",
    },
    Absence { packages: &["askama"], only_in: &[SERVER], why: "pages are rendered in server only" },
    Absence {
        packages: &["tokio", "futures", "async-trait"],
        only_in: &[STORE, BROKER, IDENTITY, GATEWAY, API, SERVER, PLACET, TESTKIT, BENCH],
        why: "core, policy and ledger know no IO and no async",
    },
    Absence {
        packages: &["getrandom", "rand", "rand_core", "fastrand"],
        only_in: &[PLACET, TESTKIT, BENCH],
        why: "chance is a parameter; only placet and testkit ask the machine",
    },
];

pub(crate) fn check(machine: &Machine) -> Result<()> {
    let packages = metadata::ours(machine)?;
    let findings = findings(&packages);
    if findings.is_empty() {
        say(&format!("{} crates, every arrow as designed", packages.len()));
        return Ok(());
    }
    Err(Failure::findings("these dependencies are against the design:", &findings))
}

fn findings(packages: &[Package]) -> Vec<String> {
    packages.iter().flat_map(|package| unknown_edges(package).into_iter().chain(present(package))).collect()
}

fn unknown_edges(package: &Package) -> Vec<String> {
    let from = &package.name;
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| name == from) else {
        return vec![format!(
            "{from} is not in the table of arrows: say in xtask/src/arrows.rs what it may know"
        )];
    };
    let mut found = Vec::new();
    for dependency in &package.dependencies {
        let to = dependency.name.as_str();
        let is_ours = ARROWS.iter().any(|(name, _)| *name == to);
        let in_tests = dependency.kind == Kind::Dev && to == TESTKIT;
        let tested_with_testkit = in_tests && TESTED_WITH_TESTKIT.contains(&from.as_str());
        // A crate may name itself in its tests to switch on a feature for them.
        let itself = dependency.kind == Kind::Dev && to == from;
        if is_ours && !allowed.contains(&to) && !tested_with_testkit && !itself {
            let kind = if dependency.kind == Kind::Dev { " (in tests)" } else { "" };
            found.push(format!("{from} → {to}{kind}"));
        }
    }
    found
}

fn present(package: &Package) -> Vec<String> {
    let mut found = Vec::new();
    for dependency in package.dependencies.iter().filter(|dependency| dependency.kind == Kind::Product) {
        for absence in &ABSENCES {
            let named = absence.packages.contains(&dependency.name.as_str());
            if named && !absence.only_in.contains(&package.name.as_str()) {
                found.push(format!("{} → {}: {}", package.name, dependency.name, absence.why));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Dependency;

    #[track_caller]
    fn check(from: &str, to: &str, kind: Kind, expected: &[&str]) {
        let package = Package {
            name: from.to_owned(),
            version: "0.1.0".to_owned(),
            licence: None,
            source: None,
            dependencies: vec![Dependency { name: to.to_owned(), kind }],
        };
        assert_eq!(findings(&[package]), expected, "{from} → {to} {kind:?}");
    }

    #[test]
    fn the_arrows_of_the_design() {
        for (from, to) in [
            (POLICY, CORE),
            (STORE, LEDGER),
            (BROKER, STORE),
            (GATEWAY, API),
            (SERVER, BROKER),
            (PLACET, SERVER),
            (STORE, "rusqlite"),
            (POLICY, "cedar-policy"),
            (SERVER, "askama"),
            (CORE, "serde"),
        ] {
            check(from, to, Kind::Product, &[]);
            check(from, to, Kind::Dev, &[]);
        }
    }

    #[test]
    fn any_other_arrow_is_refused_also_in_tests() {
        check(CORE, LEDGER, Kind::Product, &["placet-core → placet-ledger"]);
        check(LEDGER, CORE, Kind::Product, &["placet-ledger → placet-core"]);
        check(GATEWAY, BROKER, Kind::Product, &["placet-gateway → placet-broker"]);
        check(SERVER, POLICY, Kind::Product, &["placet-server → placet-policy"]);
        check(BROKER, SERVER, Kind::Dev, &["placet-broker → placet-server (in tests)"]);
        check(XTASK, CORE, Kind::Product, &["xtask → placet-core"]);
        check(SERVER, PLACET, Kind::Product, &["placet-server → placet"]);
    }

    #[test]
    fn the_testkit_is_for_tests_of_the_broker_and_above() {
        for from in TESTED_WITH_TESTKIT.into_iter().filter(|from| *from != BENCH) {
            check(from, TESTKIT, Kind::Dev, &[]);
            check(from, TESTKIT, Kind::Product, &[&format!("{from} → placet-testkit")]);
        }
        check(CORE, TESTKIT, Kind::Dev, &["placet-core → placet-testkit (in tests)"]);
        check(STORE, TESTKIT, Kind::Dev, &["placet-store → placet-testkit (in tests)"]);
    }

    #[test]
    fn a_crate_may_name_itself_in_its_tests_only() {
        check(STORE, STORE, Kind::Dev, &[]);
        check(STORE, STORE, Kind::Product, &["placet-store → placet-store"]);
    }

    #[test]
    fn a_crate_that_the_table_does_not_know_is_refused() {
        let findings = findings(&[Package {
            name: "placet-surprise".to_owned(),
            version: "0.1.0".to_owned(),
            licence: None,
            source: None,
            dependencies: Vec::new(),
        }]);
        assert!(
            matches!(findings.as_slice(), [one] if one.starts_with("placet-surprise is not in the table"))
        );
    }

    #[test]
    fn what_is_kept_by_absence() {
        for (from, to, why) in [
            (BROKER, "rusqlite", "no SQL outside store"),
            (PLACET, "tokio-postgres", "no SQL outside store"),
            (BROKER, "cedar-policy", "no Cedar or CEL type outside policy"),
            (STORE, "hyper", "no HTTP type below the doors"),
            (BROKER, "axum", "no HTTP type below the doors"),
            (PLACET, "askama", "pages are rendered in server only"),
            (CORE, "tokio", "core, policy and ledger know no IO and no async"),
            (SERVER, "getrandom", "chance is a parameter; only placet and testkit ask the machine"),
        ] {
            check(from, to, Kind::Product, &[&format!("{from} → {to}: {why}")]);
            check(from, to, Kind::Dev, &[]);
        }
    }
}
