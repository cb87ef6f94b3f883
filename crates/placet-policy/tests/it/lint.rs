//! Every lint rule refuses what it is for, at the place where it stands.

use crate::common::{MANIFEST, SCHEMA, bundle, files, refused};
use placet_policy::{Bundle, BundleFiles, FILE_BYTES_MAX, Finding, POLICIES_BYTES_MAX, Severity};

/// The findings of a bundle with these changes, as `code file:line:column`.
fn places(found: &[Finding]) -> Vec<String> {
    found.iter().map(|f| format!("{} {}:{}:{}", f.code, f.file, f.line, f.column)).collect()
}

/// A change to one file, and the one finding that it makes.
#[track_caller]
fn check(file: &str, text: &str, place: &str, says: &str) {
    let found = refused(&[(file, text)]);
    assert_eq!(places(&found), [place], "{text}\n{found:#?}");
    assert!(found[0].message.contains(says), "{:?} does not say {says:?}", found[0].message);
}

const PERMIT: &str = "permit (principal, action == Action::\"data.export\", resource);";
const FORBID: &str = "forbid (principal, action == Action::\"data.export\", resource)";

#[test]
fn the_small_bundle_loads_without_warnings() {
    let loaded = Bundle::load(&files(&[])).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.bundle.digest(), files(&[]).digest());
}

#[test]
fn l1_every_policy_has_its_own_id() {
    check("allow.cedar", PERMIT, "L1 allow.cedar:1:1", "@id");
    check("allow.cedar", &format!("\n@id(\"No Kebab\")\n{PERMIT}"), "L1 allow.cedar:2:1", "not a name");
    let twice = format!("@id(\"export\")\n{PERMIT}\n@id(\"export\") {PERMIT}");
    check("allow.cedar", &twice, "L1 allow.cedar:3:1", "already");
    let elsewhere = format!("@id(\"pii\") {PERMIT}");
    check("allow.cedar", &elsewhere, "L1 ask.cedar:2:1", "allow.cedar already");
    // placet's own rules have names too.
    let own = format!("@id(\"role-reviewers\") {PERMIT}");
    assert_eq!(refused(&[("allow.cedar", &own)])[0].code, "L1");
}

#[test]
fn l2_each_file_holds_its_own_kind() {
    check("allow.cedar", &format!("@id(\"a\") {FORBID};"), "L2 allow.cedar:1:1", "permits only");
    check("never.cedar", &format!("@id(\"a\") {PERMIT}"), "L2 never.cedar:1:1", "forbids only");
    let votes = "@id(\"a\") permit (principal, action == Action::\"review.approve\", resource);";
    check("allow.cedar", votes, "L2 allow.cedar:1:1", "review.cedar");
    check("review.cedar", &format!("@id(\"a\") {PERMIT}"), "L2 review.cedar:1:1", "votes only");
    let everything = "@id(\"a\") permit (principal, action, resource);";
    check("review.cedar", everything, "L2 review.cedar:1:1", "votes only");
    check("invariants.cedar", &format!("@id(\"a\") {PERMIT}"), "L2 invariants.cedar:1:1", "proved");
    check(
        "invariants.cedar",
        &format!("@id(\"a\") @prove(\"never\") {FORBID};"),
        "L2 invariants.cedar:1:1",
        "permit",
    );
    let found = refused(&[("ask.cedar", &format!("@id(\"a\") {PERMIT}"))]);
    assert_eq!(places(&found)[0], "L2 ask.cedar:1:1");
}

#[test]
fn l3_guards_have_one_grammar() {
    let guard = |clauses: &str| format!("@id(\"a\")\n{FORBID}\n{clauses};");
    for (clauses, says) in [
        ("", "has an unless"),
        (
            "unless { context.approvals.reviewers >= 1 } unless { context.approvals.security >= 1 }",
            "one unless",
        ),
        ("when { true } when { true } unless { context.approvals.reviewers >= 1 }", "one when"),
        ("when { context.approvals.reviewers < 1 } unless { context.approvals.reviewers >= 1 }", "situation"),
        ("unless { context.approvals.reviewers >= 0 }", "a count is"),
        ("unless { context.approvals.reviewers >= -1 }", "a count is"),
        ("unless { context.approvals.reviewers >= 101 }", "a count is"),
        ("unless { context.approvals.reviewers > 1 }", "not a way"),
        ("unless { 1 <= context.approvals.reviewers }", "not a way"),
        ("unless { context.approvals.reviewers == 1 }", "not a way"),
        ("unless { !(context.approvals.reviewers >= 1) }", "not a way"),
        ("unless { if true then context.approvals.reviewers >= 1 else true }", "not a way"),
        ("unless { context.approvals.people.contains(principal.sponsor) }", "not a way"),
        ("unless { context.approvals.age <= duration(\"30m\") }", "no votes"),
        (
            "unless { context.approvals.age <= duration(\"30m\") || context.approvals.reviewers >= 1 }",
            "nobody",
        ),
        (
            "unless { context.approvals.age <= duration(\"0s\") && context.approvals.reviewers >= 1 }",
            "not a way",
        ),
        (
            "unless { context.approvals.age <= duration(\"-30m\") && context.approvals.reviewers >= 1 }",
            "not a way",
        ),
        (
            "unless { context.approvals.age <= duration(\"30m\") && (context.approvals.reviewers >= 1 || context has rows) }",
            "nobody",
        ),
        ("unless { context has rows }", "no votes"),
        ("unless { {\"a\": context}.a.approvals.reviewers >= 1 }", "not a way"),
        ("unless { context == context }", "not a way"),
        ("unless { context has approvals }", "not a way"),
    ] {
        check("ask.cedar", &guard(clauses), "L3 ask.cedar:1:1", says);
    }
    check(
        "ask.cedar",
        "@id(\"a\") forbid (principal, action, resource) unless { context.approvals.reviewers >= 1 };",
        "L3 ask.cedar:1:1",
        "names its action",
    );
    let elsewhere = format!("@id(\"a\") {FORBID} when {{ context.approvals.reviewers >= 1 }};");
    check("never.cedar", &elsewhere, "L3 never.cedar:1:1", "only guards");
}

#[test]
fn l3_what_a_tool_says_against_itself_only_adds() {
    const WARNED: &str = "context has warns && context.warns.contains(\"destructive\")";
    const VOTES: &str = "unless { context.approvals.reviewers >= 1 }";
    let forbid = "@id(\"a\")\nforbid (principal, action == Action::\"mcp.call\", resource)\n";
    let permit = "@id(\"a\")\npermit (principal, action == Action::\"mcp.call\", resource)\n";
    for (file, text) in [
        ("ask.cedar", format!("{forbid}when {{ {WARNED} }} {VOTES};")),
        ("ask.cedar", format!("{forbid}when {{ {WARNED} || context.server == \"x\" }} {VOTES};")),
        ("never.cedar", format!("{forbid}when {{ {WARNED} }};")),
    ] {
        assert_eq!(places(&refused(&[(file, &text)])), Vec::<String>::new(), "{text}");
    }
    let at = |file: &str| format!("L3 {file}:1:1");
    for (file, text) in [
        ("allow.cedar", format!("{permit}when {{ {WARNED} }};")),
        ("allow.cedar", format!("{permit}unless {{ {WARNED} }};")),
        ("never.cedar", format!("{forbid}unless {{ {WARNED} }};")),
        ("never.cedar", format!("{forbid}when {{ !({WARNED}) }};")),
        ("ask.cedar", format!("{forbid}when {{ context has warns && context.warns.isEmpty() }} {VOTES};")),
        ("ask.cedar", format!("{forbid}when {{ !(context has warns) }} {VOTES};")),
        ("ask.cedar", format!("{forbid}unless {{ context.approvals.reviewers >= 1 || ({WARNED}) }};")),
    ] {
        check(file, &text, &at(file), "against itself");
    }
}

#[test]
fn l3_accepts_the_whole_grammar() {
    for clauses in [
        "unless { context.approvals[\"reviewers\"] >= 2 && context.approvals.age <= duration(\"1h30m\") }",
        "unless { context.approvals[\"reviewers@L2\"] >= 1 }",
        "unless { context.approvals.distinct >= 2 }",
        "unless { (context.approvals.reviewers >= 1 && context.approvals.age <= duration(\"1h\")) || context.approvals.security >= 1 }",
        "when { resource.class == Classification::\"pii\" || !(context has rows && context.rows <= 10) } unless { resource.class == Classification::\"public\" || context.approvals.owner >= 1 }",
    ] {
        let text = format!("@id(\"a\") {FORBID} {clauses};");
        assert_eq!(places(&refused(&[("ask.cedar", &text)])), Vec::<String>::new(), "{clauses}");
    }
}

#[test]
fn l4_annotations_are_a_closed_vocabulary() {
    let guard = |annotation: &str| {
        format!("@id(\"a\") {annotation}\n{FORBID} unless {{ context.approvals.reviewers >= 1 }};")
    };
    for annotation in [
        "@timeout(\"10s\")",
        "@timeout(\"31d\")",
        "@timeout(\"soon\")",
        "@timeout(\"1.5h\")",
        "@veto(\"0\")",
        "@veto(\"some\")",
        "@channel(\"#data\")",
        "@channel(\"slack:\")",
        "@escalate(\"security\")",
        "@escalate(\"security after later\")",
        "@title(\"\")",
        "@because(\"line\\nbreak\")",
        "@timeuot(\"30m\")",
        "@reuse(\"15m\")",
        "@prove(\"never\")",
    ] {
        let found = refused(&[("ask.cedar", &guard(annotation))]);
        assert_eq!(places(&found), ["L4 ask.cedar:1:1"], "{annotation} {found:#?}");
    }
    check("allow.cedar", &format!("@id(\"a\") @timeout(\"30m\") {PERMIT}"), "L4 allow.cedar:1:1", "@timeout");
    // An obligation that nobody fulfils is refused too.
    check("allow.cedar", &format!("@id(\"a\") @max_rows(\"5\") {PERMIT}"), "L4 allow.cedar:1:1", "@max_rows");
    let invariant = format!("@id(\"a\") @prove(\"sometimes\") {PERMIT}");
    check("invariants.cedar", &invariant, "L4 invariants.cedar:1:1", "never");
    let all = "@title(\"T\") @because(\"B\") @timeout(\"30m\") @veto(\"2\") @channel(\"slack:#a, mail:b@c.example\") @escalate(\"security after 10m\")";
    assert_eq!(refused(&[("ask.cedar", &guard(all))]), []);
}

#[test]
fn l5_roles_are_declared() {
    let guard = |role: &str| format!("@id(\"a\") {FORBID} unless {{ context.approvals[\"{role}\"] >= 1 }};");
    for role in ["reviwers", "reviewers@L3", "reviewers@L1", "reviewers@", "nobody@L2", "Reviewers"] {
        let found = refused(&[("ask.cedar", &guard(role))]);
        assert_eq!(places(&found), ["L5 ask.cedar:1:1"], "{role}: {found:#?}");
    }
    let escalate = format!(
        "@id(\"a\") @escalate(\"nobody after 10m\") {FORBID} unless {{ context.approvals.reviewers >= 1 }};"
    );
    check("ask.cedar", &escalate, "L5 ask.cedar:1:1", "nobody");
    for (role, line) in [
        ("[role.distinct]\ngroup = \"a\"", 12),
        ("[role.people]\ngroup = \"a\"", 12),
        ("[role.age]\ngroup = \"a\"", 12),
        ("[role.Big]\ngroup = \"a\"", 12),
        ("[role.two]\ngroup = \"a\"\nresource_attr = \"owner\"", 12),
        ("[role.none]", 12),
        ("[role.bad]\ngroup = \"No Group\"", 12),
        ("[role.bad]\nresource_attr = \"a b\"", 12),
        ("[role.bad]\nreview_cedar = false", 12),
    ] {
        let found = refused(&[("bundle.toml", &format!("{MANIFEST}{role}\n"))]);
        assert_eq!(found.len(), 1, "{role}: {found:#?}");
        assert_eq!((found[0].code, found[0].line >= line), ("L5", true), "{role}: {found:#?}");
    }
}

#[test]
fn l7_one_person_for_two_roles_is_a_warning() {
    let warnings = |clauses: &str| {
        let text = format!("@id(\"a\") {FORBID} unless {{ {clauses} }};");
        let loaded = Bundle::load(&files(&[("ask.cedar", &text)])).unwrap();
        assert!(loaded.warnings.iter().all(|warning| warning.severity == Severity::Warning));
        places(&loaded.warnings)
    };
    assert_eq!(
        warnings("context.approvals.reviewers >= 1 && context.approvals.security >= 1"),
        ["L7 ask.cedar:1:1"]
    );
    let two = "context.approvals.reviewers >= 1 && context.approvals.security >= 1 && context.approvals.distinct >= 2";
    assert_eq!(warnings(two), Vec::<String>::new());
    assert_eq!(
        warnings("context.approvals.reviewers >= 1 || context.approvals.security >= 1"),
        Vec::<String>::new()
    );
}

#[test]
fn l8_what_cedar_finds_has_a_place() {
    check("allow.cedar", "@id(\"a\") permit (principal", "L8 allow.cedar:1:27", "unexpected end");
    let misspelt = "@id(\"a\")\npermit (principal, action == Action::\"data.exprt\", resource);";
    let found = refused(&[("allow.cedar", misspelt)]);
    assert_eq!(places(&found)[0], "L8 allow.cedar:2:30");
    assert!(found[0].help.as_ref().unwrap().contains("data.export"), "{found:#?}");
    let class = format!("@id(\"a\") {FORBID}\n  when {{ resource.class == Classification::\"pli\" }};");
    let found = refused(&[("never.cedar", &class)]);
    assert_eq!((found[0].code, found[0].line), ("L8", 2), "{found:#?}");
    let attribute = format!("@id(\"a\") {FORBID}\n  when {{ resource.clas == Classification::\"pii\" }};");
    check("never.cedar", &attribute, "L8 never.cedar:2:10", "clas");
    // Only a warning to Cedar: a policy that can never match.
    let impossible = format!("@id(\"a\") {FORBID} when {{ resource is Program }};");
    assert_eq!(refused(&[("never.cedar", &impossible)])[0].code, "L8");
    let optional = format!("@id(\"a\") {FORBID} when {{ context.rows > 10 }};");
    let found = refused(&[("never.cedar", &optional)]);
    assert!(found[0].help.as_ref().unwrap().contains("context has rows"), "{found:#?}");
}

#[test]
fn l9_policies_stay_on_level_one() {
    let deep = "@id(\"a\") permit (principal is Agent, action == Action::\"data.export\", resource)\nwhen { principal.sponsor in Group::\"x\" };";
    let found = refused(&[("allow.cedar", deep)]);
    assert_eq!((found[0].code, found[0].line), ("L9", 2), "{found:#?}");
}

#[test]
fn l10_templates_are_refused() {
    let template =
        "@id(\"a\")\npermit (principal == ?principal, action == Action::\"data.export\", resource);";
    check("allow.cedar", template, "L10 allow.cedar:1:1", "templates");
}

#[test]
fn l11_permits_name_their_action() {
    check("allow.cedar", "@id(\"a\") permit (principal, action, resource);", "L11 allow.cedar:1:1", "action");
}

#[test]
fn l14_files_are_bounded() {
    let large = format!("// {}\n", "x".repeat(POLICIES_BYTES_MAX));
    check("never.cedar", &large, "L14 never.cedar:1:1", "256 KiB");
    let large = format!("# {}\n", "x".repeat(FILE_BYTES_MAX));
    check("mapping.toml", &large, "L14 mapping.toml:1:1", "64 KiB");
    let many: String =
        (0..1001).map(|n| format!("@id(\"a{n}\") forbid(principal,action,resource);\n")).collect();
    check("never.cedar", &many, "L14 never.cedar:1:1", "1000");
}

#[test]
fn l16_an_action_that_nothing_permits_is_a_warning() {
    let schema =
        format!("{SCHEMA}action \"data.delete\" appliesTo {{ principal: [Agent], resource: [Dataset] }};");
    let loaded = Bundle::load(&files(&[("schema.cedarschema", &schema)])).unwrap();
    assert_eq!(places(&loaded.warnings), ["L16 schema.cedarschema:8:9"]);
}

#[test]
fn a_schema_leaves_out_what_placet_fills() {
    for name in ["now", "risk", "approvals", "usage", "pep", "grade", "unrepresentable"] {
        let schema = SCHEMA.replace("\"rows\"?: Long", &format!("\"{name}\"?: Long"));
        let found = refused(&[("schema.cedarschema", &schema)]);
        assert!(
            found.iter().any(|f| f.message.contains("filled by placet") && f.line == 6),
            "{name}: {found:#?}"
        );
    }
    for (added, says) in [
        ("entity Person;", "declared by placet"),
        ("entity Group;", "declared by placet"),
        (
            "action \"command.run\" appliesTo { principal: [Agent], resource: [Dataset] };",
            "declared by placet",
        ),
        ("action \"privileged\";", "declared by placet"),
        ("type Approvals = Long;", "declared by placet"),
        ("type String = Long;", "String"),
        ("type datetime = Long;", "Cedar"),
        ("namespace X { entity Y; }", "namespaces"),
        ("action \"review.other\" appliesTo { principal: [Person], resource: [Dataset] };", "placet's own"),
        ("action \"9x\" appliesTo { principal: [Agent], resource: [Dataset] };", "an action's name"),
        ("action \"x\" appliesTo { principal: [Dataset], resource: [Dataset] };", "cannot ask"),
        (
            "action \"x\" appliesTo { principal: [Agent], resource: [Dataset], context: { \"a\": datetime } };",
            "Set<String>",
        ),
        (
            "action \"x\" appliesTo { principal: [Agent], resource: [Dataset], context: { \"a\": Set<Long> } };",
            "Set<String>",
        ),
        (
            "action \"x\" appliesTo { principal: [Agent], resource: [Dataset], context: { \"a\": { \"b\": Long } } };",
            "Set<String>",
        ),
        (
            "action \"x\" appliesTo { principal: [Agent], resource: [Dataset], context: { \"a\": Person } };",
            "Set<String>",
        ),
        ("entity Odd = { \"a\": decimal };", "Odd.a"),
        ("entity Odd tags String;", "tags"),
    ] {
        let found = refused(&[("schema.cedarschema", &format!("{SCHEMA}{added}"))]);
        assert!(found.iter().any(|f| f.code == "L8" && f.message.contains(says)), "{added}: {found:#?}");
    }
    assert_eq!(refused(&[("schema.cedarschema", "entity A = {")])[0].code, "L8");
}

#[test]
fn a_context_may_be_a_named_record() {
    let schema = format!(
        "{SCHEMA}type Base = {{ \"a\"?: Long }};\naction \"x\" appliesTo {{ principal: [Agent], resource: [Dataset], context: Base }};"
    );
    let never = "@id(\"a\") forbid (principal, action == Action::\"x\", resource) when { context has a && context.pep == Pep::\"external\" };";
    assert_eq!(refused(&[("schema.cedarschema", &schema), ("never.cedar", never)]), []);
}

#[test]
fn roles_that_resolve_through_an_attribute_need_one() {
    let manifest = MANIFEST.replace("\"owner\"", "\"keeper\"");
    let found = refused(&[("bundle.toml", &manifest)]);
    assert!(found[0].message.contains("keeper: Group"), "{found:#?}");
}

#[test]
fn entities_fit_the_schema() {
    for (text, place, says) in [
        ("[Dataset.a]\nowner = \"x\"\nclass = \"pli\"", "entities entities.toml:3:9", "pli"),
        ("[Dataset.a]\nowner = \"x\"", "entities entities.toml:1:10", "lacks class"),
        ("[Dataset.a]\nowner = \"x\"\nclass = \"pii\"\nsize = \"9\"", "entities entities.toml:4:8", "whole"),
        ("[Dataset.a]\nowner = \"x\"\nclass = \"pii\"\nsize = 1.5", "entities entities.toml:4:8", "whole"),
        ("[Dataset.a]\nowner = \"x\"\nclass = \"pii\"\nsize = 0x10", "entities entities.toml:4:8", "whole"),
        ("[Dataset.a]\nowner = \"Not A Group\"\nclass = \"pii\"", "entities entities.toml:2:9", "Group"),
        ("[Dataset.a]\nowner = \"x\"\nclass = \"pii\"\nclas = \"pii\"", "entities entities.toml:4:1", "clas"),
        (
            "[Dataset.a]\nowner = \"x\"\nclass = \"pii\"\nin = [\"Dataset::b\"]",
            "entities entities.toml:4:7",
            "schema",
        ),
        ("[Datset.a]\nowner = \"x\"", "entities entities.toml:1:2", "Datset"),
        ("[Person.a]", "entities entities.toml:1:2", "placet"),
        ("[Program.a]", "entities entities.toml:1:2", "placet"),
        ("[Classification.pii]", "entities entities.toml:1:2", "enumeration"),
        ("Dataset = 3", "entities entities.toml:1:11", "write"),
        ("[Dataset.a]\n[Dataset.a]", "toml entities.toml:2:10", "duplicate"),
        ("[Dataset.\"\"]", "entities entities.toml:1:10", "1 to 1024"),
    ] {
        check("entities.toml", text, place, says);
    }
}

#[test]
fn manifests_say_what_they_mean() {
    for (from, to, says) in [
        ("format = 1", "format = 2", "format 1"),
        ("name = \"test\"", "name = \"\"", "name"),
        ("name = \"test\"", "name = \"test\"\nconflict = \"sometimes\"", "conflict"),
        ("name = \"test\"", "name = \"test\"\nmin_assurance = \"L3\"", "not built"),
        ("name = \"test\"", "name = \"test\"\nmin_assurance = \"high\"", "L1"),
        ("name = \"test\"", "name = \"test\"\n[defaults]\ntimeout = \"1s\"", "30s"),
        ("name = \"test\"", "name = \"test\"\n[defaults]\nveto = 0", "denials"),
        ("name = \"test\"", "name = \"test\"\noperator_vouchs = true", "unknown field"),
        ("\"data.export\"", "\"data.exprt\"", "no action"),
        ("\"data.export\"", "\"command.run\"", "executed by placet"),
        ("\"data.export\"", "\"9\"", "action's name"),
    ] {
        let found = refused(&[("bundle.toml", &MANIFEST.replace(from, to))]);
        assert_eq!(found.len(), 1, "{to}: {found:#?}");
        assert!(found[0].message.contains(says), "{to}: {found:#?}");
        assert!(found[0].line > 1 && found[0].file == "bundle.toml", "{to}: {found:#?}");
    }
}

#[test]
fn unknown_missing_and_unreadable_files_are_refused() {
    check("extra.cedar", "permit(principal, action, resource);", "file extra.cedar:1:1", "no meaning");
    check("tests/deep/a.toml", "a = 1", "file tests/deep/a.toml:1:1", "no meaning");
    let found = refused(&[("bundle.toml", "")]);
    assert_eq!(places(&found), ["file bundle.toml:1:1"]);
    let bytes = BundleFiles::new([("bundle.toml", vec![0xff, 0xfe])]);
    assert_eq!(places(&Bundle::load(&bytes).unwrap_err()), ["file bundle.toml:1:1"]);
    check("runner.toml", "[runner\n", "toml runner.toml:1:8", "");
    check("tests/a.toml", "[[case]]\nname = 1\n", "toml tests/a.toml:2:8", "");
    check("tests/a.toml", "[agents]\na = { sponsor = \"nobody\" }", "tests tests/a.toml:1:1", "nobody");
}

#[test]
fn deep_nesting_is_read_or_refused() {
    for depth in [10_000, 250, 200, 80, 31] {
        deep_nesting(depth);
    }
}

fn deep_nesting(depth: usize) {
    for text in [
        format!("@id(\"a\") {FORBID} when {{ {}true{} }};", "(".repeat(depth), ")".repeat(depth)),
        format!("@id(\"a\") {FORBID} when {{ true{} }};", " && true".repeat(depth / 2)),
        format!("@id(\"a\") {FORBID} when {{ {}1{} == 1 }};", "[".repeat(depth), "]".repeat(depth)),
        format!("@id(\"a\") {FORBID} when {{ {}true }};", "!".repeat(depth)),
        format!(
            "@id(\"a\") {FORBID} when {{ {}true{} }};",
            "if true then ".repeat(1_500),
            " else true".repeat(1_500)
        ),
        format!("@id(\"a\") {FORBID} when {{ context{} }};", ".a".repeat(depth)),
        format!("@id(\"a\") {FORBID} when {{ 1{} == 1 }};", " + 1".repeat(depth)),
        format!("@id(\"a\") {FORBID} when {{ [1{}].contains(1) }};", ",1".repeat(depth)),
    ] {
        let found = refused(&[("never.cedar", &text)]);
        assert!(found.iter().all(|finding| finding.file == "never.cedar"), "{found:#?}");
    }
    let record = format!("{SCHEMA}entity Odd = {}{};", "{ \"a\": ".repeat(depth / 2), "}".repeat(depth / 2));
    refused(&[("schema.cedarschema", &record)]);
    let set = format!("{SCHEMA}type Odd = {}Long{};", "Set<".repeat(depth / 2), ">".repeat(depth / 2));
    refused(&[("schema.cedarschema", &set)]);
    let array = format!("a = {}{}", "[".repeat(depth), "]".repeat(depth));
    for file in ["bundle.toml", "entities.toml", "mapping.toml", "runner.toml", "tests/a.toml"] {
        let found = refused(&[(file, &array)]);
        assert!(!found.is_empty() || file == "runner.toml" && depth < 100, "{file}");
    }
}

#[test]
fn findings_print_with_their_source() {
    let files = files(&[("allow.cedar", "@id(\"a\") permit (principal, action, resource);")]);
    let found = Bundle::load(&files).unwrap_err();
    assert!(found[0].to_string().starts_with("allow.cedar:1:1: L11: "));
    let report = format!("{:?}", miette::Report::new(found[0].report(&files)));
    for part in ["L11", "allow.cedar", "permit (principal, action, resource)", "write action =="] {
        assert!(report.contains(part), "{part} in {report}");
    }
}

#[test]
fn the_order_of_files_does_not_matter_and_bundles_can_be_shared() {
    fn is_shared<T: Send + Sync>(_: &T) {}
    is_shared(&bundle(&[]));
}
