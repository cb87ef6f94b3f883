//! The policies that histories play under: a few numbers, which the naive model reads as they are and Cedar as a bundle.

use std::collections::BTreeMap;
use std::path::PathBuf;

use placet_policy::BundleFiles;

/// A policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Law {
    /// Whether deployments to production are forbidden, whoever approves.
    pub(crate) frozen: bool,
    /// What it takes to deploy to production.
    pub(crate) production: Ask,
    /// What it takes to deploy to the vault, with votes of the last [`VAULT_AGE`].
    pub(crate) vault: Ask,
    /// Whether a sponsor may approve where nobody else could.
    pub(crate) sponsor_may_approve: bool,
    /// Whether a vote counts from a link that somebody in conflict minted.
    pub(crate) operator_vouches: bool,
    /// Whether an API token approves.
    pub(crate) token_may_approve: bool,
}

/// What a guard asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ask {
    /// So many reviewers.
    pub(crate) needed: u32,
    /// So many denials end it.
    pub(crate) veto: u32,
    /// So long the review lasts.
    pub(crate) minutes: i64,
}

/// How old a vote about the vault may be, in milliseconds.
pub(crate) const VAULT_AGE: i64 = 10 * 60_000;

/// What it takes to run a command, under every law.
pub(crate) const COMMAND: Ask = Ask { needed: 1, veto: 1, minutes: 60 };

/// The laws. The first is in force when a history begins.
pub(crate) const LAWS: [Law; 4] = [
    Law {
        frozen: false,
        production: Ask { needed: 1, veto: 1, minutes: 30 },
        vault: Ask { needed: 2, veto: 1, minutes: 60 },
        sponsor_may_approve: false,
        operator_vouches: true,
        token_may_approve: false,
    },
    Law {
        frozen: false,
        production: Ask { needed: 2, veto: 2, minutes: 30 },
        vault: Ask { needed: 2, veto: 1, minutes: 20 },
        sponsor_may_approve: false,
        operator_vouches: true,
        token_may_approve: true,
    },
    Law {
        frozen: true,
        production: Ask { needed: 1, veto: 1, minutes: 30 },
        vault: Ask { needed: 2, veto: 1, minutes: 60 },
        sponsor_may_approve: false,
        operator_vouches: false,
        token_may_approve: false,
    },
    Law {
        frozen: false,
        production: Ask { needed: 1, veto: 1, minutes: 10 },
        vault: Ask { needed: 1, veto: 2, minutes: 60 },
        sponsor_may_approve: true,
        operator_vouches: true,
        token_may_approve: false,
    },
];

/// The law as a bundle: the starter for a team in which the numbers say something else.
pub(crate) fn bundle(law: &Law) -> BTreeMap<String, Vec<u8>> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "placet", "starters", "team"].iter().collect();
    let files = BundleFiles::read_dir(&path).unwrap();
    let mut files: BTreeMap<String, Vec<u8>> =
        files.iter().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect();
    // The starter's own tests and proofs are about the starter.
    files.retain(|path, _| !path.starts_with("tests/"));
    let word = |yes: bool| if yes { "true" } else { "false" };
    let mut edit = |file: &str, from: &str, to: &str| {
        let text = String::from_utf8(files[file].clone()).unwrap();
        assert!(text.contains(from), "{file} does not say {from}");
        files.insert(file.to_owned(), text.replace(from, to).into_bytes());
    };
    edit("schema.cedarschema", r#"["staging", "production"]"#, r#"["staging", "production", "vault"]"#);
    edit(
        "entities.toml",
        "[Example.production]",
        "[Example.vault]\nenvironment = \"vault\"\n\n[Example.production]",
    );
    let conflict = if law.sponsor_may_approve { "sponsor-may-approve" } else { "never" };
    edit("bundle.toml", "conflict = \"never\"", &format!("conflict = \"{conflict}\""));
    let vouches = format!("operator_vouches = {}", word(law.operator_vouches));
    edit("bundle.toml", "operator_vouches = true", &vouches);
    let approves = format!("token_may_approve = {}", word(law.token_may_approve));
    edit("bundle.toml", "token_may_approve = false", &approves);
    let unless = |ask: &Ask| format!("context.approvals.reviewers >= {}", ask.needed);
    let ask = format!(
        r#"@id("deploy-production") @title("Production") @timeout("{}m") @veto("{}")
forbid (principal, action == Action::"example.deploy", resource)
when {{ resource.environment == Environment::"production" }}
unless {{ {} }};

@id("deploy-vault") @title("Vault") @timeout("{}m") @veto("{}")
forbid (principal, action == Action::"example.deploy", resource)
when {{ resource.environment == Environment::"vault" }}
unless {{ {} && context.approvals.age <= duration("10m") }};

@id("any-command") @title("A command") @timeout("{}m") @veto("{}")
forbid (principal, action == Action::"command.run", resource)
unless {{ {} }};

@id("any-tool") @title("A tool call")
forbid (principal, action == Action::"mcp.call", resource)
unless {{ context.approvals.reviewers >= 1 }};

@id("unrepresentable") @title("Not readable")
forbid (principal, action in Action::"privileged", resource)
when {{ !context.unrepresentable.isEmpty() }}
unless {{ context.approvals.reviewers >= 1 }};
"#,
        law.production.minutes,
        law.production.veto,
        unless(&law.production),
        law.vault.minutes,
        law.vault.veto,
        unless(&law.vault),
        COMMAND.minutes,
        COMMAND.veto,
        unless(&COMMAND),
    );
    files.insert("ask.cedar".to_owned(), ask.into_bytes());
    if law.frozen {
        let never = r#"@id("freeze") @title("Freeze")
forbid (principal, action == Action::"example.deploy", resource)
when { resource.environment == Environment::"production" };
"#;
        files.insert("never.cedar".to_owned(), never.as_bytes().to_vec());
    }
    files
}
