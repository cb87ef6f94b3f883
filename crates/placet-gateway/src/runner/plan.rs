//! What exactly would be executed, computed from what the bundle says and from nothing else. Pure: no file is opened.

use std::collections::BTreeMap;

use placet_core::action::{ActionName, FilePin, Recorded, ResourceRef};

use super::config::Config;

/// What the mapping made of an argument list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What would be done.
    pub action: ActionName,
    /// On what.
    pub resource: ResourceRef,
}

/// One command, ready to be reviewed: which program, with which arguments, in which environment, with which secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The files that would be executed: the program, then its interpreter if it is a script.
    pub program: Vec<FilePin>,
    /// All tokens; the first is the name under which the program was called.
    pub argv: Vec<String>,
    /// The whole environment but the secrets (and placet's own mark).
    pub environment: BTreeMap<String, String>,
    /// The names of the secrets, by the variable that carries them.
    pub secrets: BTreeMap<String, String>,
    /// What would be kept of what it writes.
    pub record: Recorded,
}

/// No plan can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No program is named.
    #[error("plan a command: argv is empty")]
    Empty,
    /// A token that no program can receive.
    #[error("plan a command: argument {0} contains a NUL")]
    Nul(usize),
    /// Two rules want to put different secrets into one variable.
    #[error("plan a command: runner.toml has two secrets for {0}, leave one")]
    Ambiguous(String),
}

/// Plans the command `argv`, which the mapping says is `target`, for a program that was found to be `program`.
///
/// A secret is released only to a declared program, only for the target that its rule names, and, where the rule states
/// a hash, only to that content. A program that is not declared gets the global environment and no secret.
pub fn plan(
    argv: &[String],
    target: &Target,
    config: &Config,
    program: &[FilePin],
) -> Result<Plan, PlanError> {
    let name = argv.first().ok_or(PlanError::Empty)?;
    if let Some(place) = argv.iter().position(|token| token.contains('\0')) {
        return Err(PlanError::Nul(place));
    }
    let declared = config.program_named(name);
    let mut environment = config.environment.clone();
    let mut secrets = BTreeMap::new();
    if let Some(declared) = declared {
        environment.extend(declared.environment.clone());
        let hash = program.first().map(|file| file.sha256);
        for rule in config.secrets() {
            let fits = rule.program == declared.name
                && (rule.sha256.is_none() || rule.sha256 == hash)
                && rule.action == target.action
                && rule.resource == target.resource;
            if !fits {
                continue;
            }
            let before = secrets.insert(rule.env.clone(), rule.secret.clone());
            if before.is_some_and(|before| before != rule.secret) {
                return Err(PlanError::Ambiguous(rule.env.clone()));
            }
        }
    }
    let record = declared.and_then(|rule| rule.record).unwrap_or(config.record);
    Ok(Plan { program: program.to_vec(), argv: argv.to_vec(), environment, secrets, record })
}

#[cfg(test)]
mod tests {
    use placet_core::digest::Sha256Digest;

    use super::*;

    fn config(sha256: &str) -> Config {
        Config::parse(&format!(
            r#"
            [environment]
            LANG = "C"
            PGAPPNAME = "placet"
            [[program]]
            name = "pg_dump"
            path = "/opt/pg_dump"
            environment = {{ LANG = "C.UTF-8" }}
            [[program]]
            name = "psql"
            path = "/opt/psql"
            record = "all"
            [[secret]]
            env = "PGPASSWORD"
            secret = "shop"
            program = "pg_dump"
            {sha256}
            target = {{ action = "data.export", resource = 'Dataset::"shop.accounts"' }}
            "#
        ))
        .unwrap()
    }

    fn target(action: &str, id: &str) -> Target {
        Target {
            action: ActionName::parse(action).unwrap(),
            resource: ResourceRef::new("Dataset", id).unwrap(),
        }
    }

    fn program(content: &str) -> Vec<FilePin> {
        vec![FilePin { path: "/opt/pg_dump".into(), sha256: Sha256Digest::of(content.as_bytes()) }]
    }

    fn secrets(argv0: &str, target: &Target, sha256: &str) -> Vec<(String, String)> {
        let argv = [argv0.to_owned(), "shop".to_owned()];
        plan(&argv, target, &config(sha256), &program("real")).unwrap().secrets.into_iter().collect()
    }

    #[test]
    fn releases_a_secret_only_where_program_hash_and_target_match() {
        let accounts = target("data.export", "shop.accounts");
        let released = vec![("PGPASSWORD".to_owned(), "shop".to_owned())];
        let pinned = |content: &str| format!("sha256 = \"{}\"", Sha256Digest::of(content.as_bytes()));
        for (name, argv0, target, sha256, expected) in [
            ("by name", "pg_dump", accounts.clone(), String::new(), &released),
            ("by path", "/opt/pg_dump", accounts.clone(), String::new(), &released),
            ("the pinned content", "pg_dump", accounts.clone(), pinned("real"), &released),
            ("other content", "pg_dump", accounts.clone(), pinned("swapped"), &vec![]),
            ("another program", "psql", accounts.clone(), String::new(), &vec![]),
            ("an undeclared program", "env", accounts.clone(), String::new(), &vec![]),
            ("another file of that name", "/usr/bin/pg_dump", accounts, String::new(), &vec![]),
            ("another action", "pg_dump", target("data.delete", "shop.accounts"), String::new(), &vec![]),
            ("another resource", "pg_dump", target("data.export", "shop.cards"), String::new(), &vec![]),
        ] {
            assert_eq!(&secrets(argv0, &target, &sha256), expected, "{name}");
        }
    }

    #[test]
    fn the_environment_is_what_the_bundle_says() {
        let accounts = target("data.export", "shop.accounts");
        let plan_of =
            |argv0: &str| plan(&[argv0.to_owned()], &accounts, &config(""), &program("real")).unwrap();
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let declared: BTreeMap<String, String> = pairs(&[("LANG", "C.UTF-8"), ("PGAPPNAME", "placet")]);
        let undeclared: BTreeMap<String, String> = pairs(&[("LANG", "C"), ("PGAPPNAME", "placet")]);
        assert_eq!(plan_of("pg_dump").environment, declared);
        assert_eq!(plan_of("env").environment, undeclared);
    }

    #[test]
    fn a_program_is_recorded_as_it_says_or_as_all_are() {
        let accounts = target("data.export", "shop.accounts");
        for (argv0, expected) in
            [("psql", Recorded::All), ("pg_dump", Recorded::Stderr), ("env", Recorded::Stderr)]
        {
            let planned = plan(&[argv0.to_owned()], &accounts, &config(""), &program("real")).unwrap();
            assert_eq!(planned.record, expected, "{argv0}");
        }
    }

    #[test]
    fn refuses_what_cannot_be_run_or_decided() {
        let accounts = target("data.export", "shop.accounts");
        let config_twice = format!(
            "{}\n[[secret]]\nenv = \"PGPASSWORD\"\nsecret = \"other\"\nprogram = \"pg_dump\"\nsha256 = \"{}\"\n{}",
            "[[program]]\nname = \"pg_dump\"\npath = \"/opt/pg_dump\"\n[[secret]]\nenv = \"PGPASSWORD\"\n\
             secret = \"shop\"\nprogram = \"pg_dump\"\n\
             target = { action = \"data.export\", resource = 'Dataset::\"shop.accounts\"' }",
            Sha256Digest::of(b"real"),
            "target = { action = \"data.export\", resource = 'Dataset::\"shop.accounts\"' }",
        );
        let ambiguous = Config::parse(&config_twice).unwrap();
        let refused = |argv: &[&str], config: &Config| {
            let argv: Vec<String> = argv.iter().map(|token| (*token).to_owned()).collect();
            plan(&argv, &accounts, config, &program("real")).unwrap_err()
        };
        assert_eq!(refused(&[], &config("")), PlanError::Empty);
        assert_eq!(refused(&["pg_dump", "a\0b"], &config("")), PlanError::Nul(1));
        assert_eq!(refused(&["pg_dump"], &ambiguous), PlanError::Ambiguous("PGPASSWORD".into()));
    }
}
