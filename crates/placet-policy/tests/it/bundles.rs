//! The bundles that ship, and the golden one: each loads without a warning and passes its own cases.

use std::path::{Path, PathBuf};

use placet_policy::{Bundle, BundleFiles, Loaded};

fn load(directory: &Path) -> Loaded {
    let files = BundleFiles::read_dir(directory).unwrap();
    Bundle::load(&files).unwrap_or_else(|findings| {
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        panic!("{}:\n{}", directory.display(), findings.join("\n"))
    })
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

#[test]
fn every_bundle_that_ships_loads_without_warnings_and_passes_its_cases() {
    for path in [
        "crates/placet/starters/solo",
        "crates/placet/starters/team",
        "examples/export-postgres/policy",
        "crates/placet-policy/tests/golden",
    ] {
        let Loaded { bundle, warnings } = load(&root(path));
        assert_eq!(warnings, [], "{path}");
        let results = bundle.run_tests();
        assert!(results.len() > 5, "{path} has cases");
        let failed: Vec<_> = results.iter().filter(|result| !result.passed()).collect();
        assert!(failed.is_empty(), "{path}: {failed:#?}");
    }
}
