//! The bundles that placet brings along.

use placet_policy::BundleFiles;

use crate::cli::Starter;

/// The files of a starter bundle.
pub(crate) fn files(starter: Starter) -> BundleFiles {
    BundleFiles::new(
        match starter {
            Starter::Solo => SOLO,
            Starter::Team => TEAM,
        }
        .iter()
        .copied(),
    )
}

const SOLO: &[(&str, &str)] = &[
    ("allow.cedar", include_str!("../starters/solo/allow.cedar")),
    ("ask.cedar", include_str!("../starters/solo/ask.cedar")),
    ("bundle.toml", include_str!("../starters/solo/bundle.toml")),
    ("entities.toml", include_str!("../starters/solo/entities.toml")),
    ("invariants.cedar", include_str!("../starters/solo/invariants.cedar")),
    ("mapping.toml", include_str!("../starters/solo/mapping.toml")),
    ("never.cedar", include_str!("../starters/solo/never.cedar")),
    ("review.cedar", include_str!("../starters/solo/review.cedar")),
    ("runner.toml", include_str!("../starters/solo/runner.toml")),
    ("schema.cedarschema", include_str!("../starters/solo/schema.cedarschema")),
    ("tests/deploy.toml", include_str!("../starters/solo/tests/deploy.toml")),
    ("tests/second-reviewer.toml", include_str!("../starters/solo/tests/second-reviewer.toml")),
];

const TEAM: &[(&str, &str)] = &[
    ("allow.cedar", include_str!("../starters/team/allow.cedar")),
    ("ask.cedar", include_str!("../starters/team/ask.cedar")),
    ("bundle.toml", include_str!("../starters/team/bundle.toml")),
    ("entities.toml", include_str!("../starters/team/entities.toml")),
    ("invariants.cedar", include_str!("../starters/team/invariants.cedar")),
    ("mapping.toml", include_str!("../starters/team/mapping.toml")),
    ("never.cedar", include_str!("../starters/team/never.cedar")),
    ("review.cedar", include_str!("../starters/team/review.cedar")),
    ("runner.toml", include_str!("../starters/team/runner.toml")),
    ("schema.cedarschema", include_str!("../starters/team/schema.cedarschema")),
    ("tests/deploy.toml", include_str!("../starters/team/tests/deploy.toml")),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_a_starter_is_brought_along() {
        for (starter, name) in [(Starter::Solo, "solo"), (Starter::Team, "team")] {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("starters").join(name);
            assert_eq!(files(starter), BundleFiles::read_dir(&directory).unwrap());
        }
    }
}
