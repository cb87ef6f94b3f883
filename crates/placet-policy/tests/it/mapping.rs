//! Calls in, policy's words out; or no words at all.

use placet_core::action::{ActionName, ActionRequest, Fact, PepKind};
use placet_core::c14n::Value;
use placet_policy::{Bundle, MapRefusal, Mapped};

use crate::common::{bundle, export, refused};

const COMMAND: &str = r#"
[[command]]
program = "dump"
words = ["table"]
action = "data.export"
resource = 'Dataset::"{table}"'
positionals = ["{table}", "now"]
double_dash = true
[command.options]
"-h" = "{host}"
"--limit" = "{limit}"
[command.optional]
"--force" = true
"--columns" = "{column}"
[command.values]
host = { one_of = ["localhost"] }
limit = { long = true }
column = { chars = "a-z _" }
table = { names = { t_customers = "customers" } }
[command.facts]
rows = "{limit}"
destination = "https://{host}/{table}"
columns = ["{column}", "id"]
forced = { flag = "--force" }
"#;

fn map(bundle: &Bundle, words: &str) -> Mapped {
    let argv: Vec<String> = words.split(' ').map(str::to_owned).collect();
    bundle.map_command(&argv).unwrap()
}

#[test]
fn a_template_accounts_for_every_word() {
    let bundle = bundle(&[("mapping.toml", COMMAND)]);
    let mapped = map(&bundle, "dump table --force --limit 10 -h localhost --columns=name t_customers now");
    assert_eq!(mapped.action.as_str(), "data.export");
    assert_eq!(mapped.resource.visible(), "Dataset::\"customers\"");
    let known = &mapped.facts.known;
    assert_eq!(known["rows"], Fact::Long(10));
    assert_eq!(known["destination"], Fact::Text("https://localhost/customers".to_owned()));
    assert_eq!(known["columns"], Fact::Texts(["id".to_owned(), "name".to_owned()].into()));
    assert_eq!(known["forced"], Fact::Bool(true));
    // What was not said is absent, or false for an option without a value.
    let bare = map(&bundle, "dump table --limit=-3 -h localhost -- t_customers now");
    assert_eq!(bare.facts.known["rows"], Fact::Long(-3));
    assert_eq!(bare.facts.known["forced"], Fact::Bool(false));
    assert!(!bare.facts.known.contains_key("columns"));
}

#[test]
fn what_is_not_accounted_for_is_a_command_without_a_rule() {
    let bundle = bundle(&[("mapping.toml", COMMAND)]);
    for words in [
        "dump",
        "dump table",
        "dump tables --limit 1 -h localhost t_customers now",
        "dump --limit 1 table -h localhost t_customers now",
        "dump table --limit 1 t_customers now",
        "dump table --limit 1 -h localhost t_customers",
        "dump table --limit 1 -h localhost t_customers now now",
        "dump table --limit 1 -h localhost t_customers later",
        "dump table --limit 1 -h localhost customers now",
        "dump table --limit 1 -h evil t_customers now",
        "dump table --limit 01 -h localhost t_customers now",
        "dump table --limit 1 --limit 1 -h localhost t_customers now",
        "dump table --limit 1 -hlocalhost t_customers now",
        "dump table --lim 1 -h localhost t_customers now",
        "dump table --limit -h localhost t_customers now",
        "dump table --limit 1 -h localhost t_customers now --force",
        "dump table --limit 1 -h localhost --force=yes t_customers now",
        "dump table --limit 1 -h localhost --columns * t_customers now",
        "dump table --limit 1 -h localhost --columns --force t_customers now",
        "dump table --limit 1 -h localhost -x t_customers now",
        "dump table --limit 1 -h localhost - t_customers now",
        "dump table -- --limit 1 -h localhost t_customers now",
        "dump table --limit 1 -h localhost -- -- t_customers now",
        "dump table --limit 1 -h=localhost t_customers now",
        "Dump table --limit 1 -h localhost t_customers now",
        "./dump table --limit 1 -h localhost t_customers now",
    ] {
        let mapped = map(&bundle, words);
        let program = words.split(' ').next().unwrap();
        assert_eq!(mapped.action.as_str(), "command.run", "{words}");
        assert_eq!(mapped.resource.id(), program, "{words}");
        assert_eq!(mapped.facts.known["program"], Fact::Text(program.to_owned()));
    }
    assert!(matches!(bundle.map_command(&[]), Err(MapRefusal::Shape(_))));
    assert!(matches!(bundle.map_command(&[String::new()]), Err(MapRefusal::Name(_))));
    assert!(matches!(bundle.map_command(&["x".repeat(1025)]), Err(MapRefusal::Name(_))));
}

#[test]
fn two_readings_are_no_reading() {
    let two = "[[command]]\nprogram = 'a'\naction = 'data.export'\nresource = 'Dataset::\"prices\"'\n[[command]]\nprogram = 'a'\naction = 'data.export'\nresource = 'Dataset::\"customers\"'\n";
    assert_eq!(map(&bundle(&[("mapping.toml", two)]), "a").action.as_str(), "command.run");
}

#[test]
fn templates_that_could_not_hold_are_refused() {
    for (from, to, says) in [
        ("\"dump\"", "\"/bin/dump\"", "plain name"),
        ("\"data.export\"", "\"data.delete\"", "no action"),
        ("'Dataset::\"{table}\"'", "'Program::\"{table}\"'", "does not apply"),
        ("'Dataset::\"{table}\"'", "'Dataset::{table}'", "Type::"),
        ("'Dataset::\"{table}\"'", "'Dataset::\"{column}\"'", "not every matching"),
        ("'Dataset::\"{table}\"'", "'Dataset::\"{nothing}\"'", "not every matching"),
        ("'Dataset::\"{table}\"'", "'Dataset::\"{host}{table}\"'", "same resource"),
        ("host = { one_of = [\"localhost\"] }", "", "no rule"),
        ("limit = { long = true }", "limit = { long = true }\nmore = { long = true }", "no word"),
        ("\"-h\" = \"{host}\"", "\"-host\" = \"{host}\"", "-x or --name"),
        ("\"-h\" = \"{host}\"", "\"-h\" = \"{host}:1\"", "one placeholder"),
        ("\"-h\" = \"{host}\"", "\"-h\" = \"{limit}\"", "two words"),
        ("\"-h\" = \"{host}\"", "\"-h\" = 3", "write a value"),
        ("\"--columns\" = \"{column}\"", "\"-h\" = \"{column}\"", "under optional"),
        ("rows = \"{limit}\"", "rows = \"{host}\"", "long = true"),
        ("rows = \"{limit}\"", "row = \"{limit}\"", "not a fact"),
        ("forced = { flag = \"--force\" }", "forced = { flag = \"--forse\" }", "flag"),
        ("forced = { flag = \"--force\" }", "forced = \"yes\"", "flag"),
        ("columns = [\"{column}\", \"id\"]", "columns = [\"{colum}\"]", "stands in no word"),
        ("words = [\"table\"]", "word = [\"table\"]", "unknown field"),
    ] {
        let found = refused(&[("mapping.toml", &COMMAND.replace(from, to))]);
        assert!(
            found.iter().any(|f| f.message.contains(says) && f.file == "mapping.toml"),
            "{to}: {found:#?}"
        );
    }
    let required = crate::common::SCHEMA.replace("\"columns\"?", "\"columns\"");
    let found = refused(&[("mapping.toml", COMMAND), ("schema.cedarschema", &required)]);
    assert!(found.iter().any(|f| f.message.contains("columns is required")), "{found:#?}");
    let missing = COMMAND.replace("columns = [\"{column}\", \"id\"]", "");
    let found = refused(&[("mapping.toml", &missing), ("schema.cedarschema", &required)]);
    assert!(found.iter().any(|f| f.message.contains("columns is required")), "{found:#?}");
}

fn external(bundle: &Bundle, arguments: &str) -> Result<placet_core::action::Facts, MapRefusal> {
    let action = ActionName::parse("data.export").unwrap();
    bundle.map_external(&action, &Value::parse(arguments.as_bytes()).unwrap())
}

#[test]
fn an_external_call_is_typed_by_its_actions_context() {
    let bundle = bundle(&[]);
    let facts = external(
        &bundle,
        r#"{"rows":9007199254740993,"destination":"s3://a","columns":["b","a","b"],"forced":false}"#,
    )
    .unwrap();
    assert_eq!(facts.known["rows"], Fact::Long(9_007_199_254_740_993));
    assert_eq!(facts.known["columns"], Fact::Texts(["a".to_owned(), "b".to_owned()].into()));
    assert!(facts.unrepresentable.is_empty());
    let unfit = |arguments: &str| {
        assert!(matches!(external(&bundle, arguments), Err(MapRefusal::Unfit { .. })), "{arguments}")
    };
    for arguments in [
        r#"{"rows":1.0}"#,
        r#"{"rows":1e3}"#,
        r#"{"rows":-0}"#,
        r#"{"rows":9223372036854775808}"#,
        r#"{"rows":"1"}"#,
        r#"{"rows":null}"#,
        r#"{"rows":[1]}"#,
        r#"{"columns":["a",1]}"#,
        r#"{"columns":{"a":1}}"#,
        r#"{"forced":1}"#,
    ] {
        unfit(arguments);
    }
    assert_eq!(external(&bundle, r#"{"row":1}"#), Err(MapRefusal::Undeclared("row".to_owned())));
    assert_eq!(external(&bundle, r#"{"a\u202eb":1}"#), Err(MapRefusal::Undeclared("a\\u{202e}b".to_owned())));
    for name in ["now", "risk", "approvals", "usage", "pep", "grade", "unrepresentable"] {
        assert_eq!(
            external(&bundle, &format!("{{\"{name}\":1}}")),
            Err(MapRefusal::Reserved(name.to_owned()))
        );
    }
    assert_eq!(external(&bundle, "[]"), Err(MapRefusal::Shape("a JSON object")));
    let many: String = (0..10_000).map(|n| format!("\"x{n}\":1,")).collect();
    assert!(matches!(external(&bundle, &format!("{{{many}\"rows\":1}}")), Err(MapRefusal::Undeclared(_))));
}

#[test]
fn an_external_call_is_listed_and_complete() {
    let schema = crate::common::SCHEMA.replace("\"rows\"?", "\"rows\"");
    let bundle = bundle(&[("schema.cedarschema", &schema)]);
    assert_eq!(external(&bundle, "{}"), Err(MapRefusal::Missing("rows".to_owned())));
    let run = ActionName::parse("command.run").unwrap();
    let refusal = bundle.map_external(&run, &Value::object::<String>([]));
    assert_eq!(refusal, Err(MapRefusal::NotExternal("command.run".to_owned())));
}

fn command_request(argv: &str, mapped: Mapped) -> ActionRequest {
    let words = argv.split(' ').map(Value::string).collect();
    ActionRequest {
        pep: PepKind::Command,
        action: mapped.action,
        resource: mapped.resource,
        arguments: Value::object([("argv", Value::Array(words))]),
        ..export("prices")
    }
}

#[test]
fn facts_are_found_again_and_only_for_the_same_thing() {
    let argv = "dump table --limit 10 -h localhost t_customers now";
    let before = bundle(&[("mapping.toml", COMMAND)]);
    let request = command_request(argv, map(&before, argv));
    assert_eq!(before.facts_again(&request).unwrap(), map(&before, argv).facts);
    // A bundle that calls the table something else, or does not know the command any more.
    let renamed = bundle(&[("mapping.toml", &COMMAND.replace("\"customers\"", "\"prices\""))]);
    assert_eq!(renamed.facts_again(&request), Err(MapRefusal::Moved));
    assert_eq!(bundle(&[]).facts_again(&request), Err(MapRefusal::Moved));
    // One that finds other facts says so.
    let other = bundle(&[("mapping.toml", &COMMAND.replace("rows = \"{limit}\"", "rows = 3"))]);
    assert_eq!(other.facts_again(&request).unwrap().known["rows"], Fact::Long(3));
    let shapeless = ActionRequest { arguments: Value::object::<String>([]), ..request.clone() };
    assert!(matches!(before.facts_again(&shapeless), Err(MapRefusal::Shape(_))));
    let numbers = Value::object([("argv", Value::Array(vec![Value::integer(1)]))]);
    let numbers = ActionRequest { arguments: numbers, ..request };
    assert!(matches!(before.facts_again(&numbers), Err(MapRefusal::Shape(_))));
}

const TOOL: &str = r#"
[[tool]]
server = "warehouse"
tool = "export"
arguments = ["table", "limit", "tags", "options"]
when = 'args.table != "audit"'
action = "data.export"
resource = { type = "Dataset", id = '"x." + args.table' }
[tool.facts]
rows = 'has(args.limit) ? args.limit : null'
columns = 'has(args.tags) ? args.tags : ["none"]'
"#;

fn tool(bundle: &Bundle, arguments: &str) -> Mapped {
    bundle.map_tool("warehouse", "export", &Value::parse(arguments.as_bytes()).unwrap()).unwrap()
}

#[test]
fn a_tool_call_is_mapped_by_its_rule() {
    let bundle = bundle(&[("mapping.toml", TOOL)]);
    let mapped = tool(&bundle, r#"{"table":"t","limit":9007199254740993,"tags":["a"]}"#);
    assert_eq!((mapped.action.as_str(), mapped.resource.id()), ("data.export", "x.t"));
    assert_eq!(mapped.facts.known["rows"], Fact::Long(9_007_199_254_740_993));
    assert_eq!(mapped.facts.known["columns"], Fact::Texts(["a".to_owned()].into()));
    assert!(mapped.facts.unrepresentable.is_empty());
    let absent = tool(&bundle, r#"{"table":"t"}"#);
    assert!(!absent.facts.known.contains_key("rows") && absent.facts.unrepresentable.is_empty());
}

#[test]
fn what_policy_cannot_represent_of_a_tool_call_is_named() {
    let bundle = bundle(&[("mapping.toml", TOOL)]);
    for (arguments, names) in [
        (r#"{"table":"t","limit":1.0}"#, vec!["limit", "rows"]),
        (r#"{"table":"t","limit":1e30}"#, vec!["limit", "rows"]),
        (r#"{"table":"t","limit":"7"}"#, vec!["rows"]),
        (r#"{"table":"t","tags":["a",1]}"#, vec!["columns"]),
        (r#"{"table":"t","options":{"deep":[1.5]}}"#, vec!["options"]),
    ] {
        let mapped = tool(&bundle, arguments);
        assert_eq!(mapped.action.as_str(), "data.export");
        assert_eq!(mapped.facts.unrepresentable.iter().collect::<Vec<_>>(), names, "{arguments}");
    }
}

#[test]
fn a_tool_call_without_a_rule_is_just_that() {
    let bundle = bundle(&[("mapping.toml", TOOL)]);
    let large = format!("{{\"table\":\"{}\"}}", "t".repeat(70_000));
    for arguments in [
        r#"{"table":"audit"}"#,
        r#"{"table":"t","overwrite":true}"#,
        r#"{"limit":1}"#,
        r#"{"table":7}"#,
        r#"{"table":null}"#,
        "[]",
        &large,
    ] {
        let mapped = tool(&bundle, arguments);
        assert_eq!(
            (mapped.action.as_str(), mapped.resource.id()),
            ("mcp.call", "warehouse/export"),
            "{arguments}"
        );
        assert_eq!(mapped.facts.known["tool"], Fact::Text("export".to_owned()));
    }
    let other = bundle.map_tool("warehouse", "drop", &Value::object::<String>([])).unwrap();
    assert_eq!(other.resource.visible(), "Tool::\"warehouse/drop\"");
}

#[test]
fn what_a_tool_says_against_itself_is_a_fact_of_its_calls() {
    let tools = r#"{"name":"export","annotations":{"destructiveHint":true}}
{"name":"drop","annotations":{"destructiveHint":true}}
{"name":"read","annotations":{"readOnlyHint":true}}
"#;
    let bundle =
        bundle(&[("mapping.toml", TOOL), ("mcp/warehouse.toml", ""), ("mcp/warehouse.tools.jsonl", tools)]);
    let warns = |tool: &str, arguments: &str| {
        let arguments = Value::parse(arguments.as_bytes()).unwrap();
        bundle.map_tool("warehouse", tool, &arguments).unwrap().facts.known.get("warns").cloned()
    };
    assert_eq!(warns("drop", "{}"), Some(Fact::Texts(["destructive".to_owned()].into())));
    assert_eq!(warns("read", "{}"), None, "what speaks for a tool is not heard");
    assert_eq!(warns("export", r#"{"table":"t"}"#), None, "a rule says what this call does");
}

#[test]
fn a_stored_tool_call_is_mapped_again() {
    let bundle = bundle(&[("mapping.toml", TOOL)]);
    let arguments = Value::parse(br#"{"table":"t","limit":5}"#).unwrap();
    let mapped = bundle.map_tool("warehouse", "export", &arguments).unwrap();
    let call = Value::object([
        ("server", Value::string("warehouse")),
        ("tool", Value::string("export")),
        ("arguments", arguments),
    ]);
    let request = ActionRequest {
        pep: PepKind::Mcp,
        action: mapped.action,
        resource: mapped.resource,
        arguments: call,
        ..export("prices")
    };
    assert_eq!(bundle.facts_again(&request).unwrap(), mapped.facts);
    let moved = crate::common::bundle(&[]);
    assert_eq!(moved.facts_again(&request), Err(MapRefusal::Moved));
}

#[test]
fn tool_rules_that_could_not_hold_are_refused() {
    let long = format!("'\"{}\"'", "x".repeat(2048));
    let deep = format!("'{}1{}'", "(".repeat(900), ")".repeat(900));
    for (to, says) in [
        ("'[1,2].exists(x, x == 1)'", "not available"),
        ("'args.table.map(x, x)'", "not available"),
        ("'context.approvals'", "only args"),
        ("'now'", "only args"),
        ("'args.table =='", "when"),
        (&*long, "at most 2048"),
        (&*deep, "at most 96"),
    ] {
        let found = refused(&[("mapping.toml", &TOOL.replace("'args.table != \"audit\"'", to))]);
        assert!(found.iter().any(|f| f.message.contains(says)), "{to}: {found:#?}");
    }
    // As deep as the bound allows, in every way that parses deep: refused or read, never an overflow.
    for deep in [
        format!("'{}1{}'", "(".repeat(48), ")".repeat(48)),
        format!("'{}args{}'", "[".repeat(48), "]".repeat(48)),
        format!("'{}true'", "!".repeat(96)),
        format!("'{}1'", "-".repeat(96)),
        format!("'args{}'", ".a".repeat(96)),
        format!("'1{}'", "+1".repeat(96)),
        format!("'true{}'", "?true:true".repeat(48)),
        format!("'{}'", "args ".repeat(96)),
    ] {
        let found = refused(&[("mapping.toml", &TOOL.replace("'args.table != \"audit\"'", &deep))]);
        assert!(found.iter().all(|f| f.code == "mapping"), "{deep}: {found:#?}");
    }
    for (from, to, says) in [
        ("\"data.export\"", "\"data.delete\"", "no action"),
        ("\"Dataset\"", "\"Program\"", "does not apply"),
        ("rows = ", "row = ", "not a fact"),
        ("server = \"warehouse\"", "", "server"),
    ] {
        let found = refused(&[("mapping.toml", &TOOL.replace(from, to))]);
        assert!(found.iter().any(|f| f.message.contains(says)), "{to}: {found:#?}");
    }
}

#[test]
fn what_a_server_is_asked_beside_its_tools_is_an_action_of_its_own() {
    let bundle = bundle(&[]);
    let map = |json: &str| bundle.map_intercepted(PepKind::Mcp, &Value::parse(json.as_bytes()).unwrap());
    for (call, action, resource, facts) in [
        (
            r#"{"server":"notes","method":"resources/read","params":{"uri":"note:///1"}}"#,
            "mcp.read",
            r#"McpResource::"notes/note:///1""#,
            vec![("server", "notes"), ("uri", "note:///1")],
        ),
        (
            r#"{"server":"notes","method":"prompts/get","params":{"name":"greet","arguments":{"who":"Ada"}}}"#,
            "mcp.prompt",
            r#"McpPrompt::"notes/greet""#,
            vec![("prompt", "greet"), ("server", "notes")],
        ),
        (
            r#"{"server":"notes","method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"greet"}}}"#,
            "mcp.complete",
            r#"McpPrompt::"notes/greet""#,
            vec![("server", "notes")],
        ),
        (
            r#"{"server":"notes","method":"completion/complete","params":{"ref":{"type":"ref/resource","uri":"note:///{n}"}}}"#,
            "mcp.complete",
            r#"McpResource::"notes/note:///{n}""#,
            vec![("server", "notes")],
        ),
    ] {
        let mapped = map(call).unwrap();
        assert_eq!((mapped.action.as_str(), mapped.resource.visible().as_str()), (action, resource));
        let facts = facts.into_iter().map(|(name, text)| (name.to_owned(), Fact::Text(text.to_owned())));
        assert_eq!(mapped.facts.known, facts.collect());
    }
    for call in [
        r#"{"server":"notes","method":"resources/subscribe","params":{"uri":"note:///1"}}"#,
        r#"{"server":"notes","method":"resources/read","params":{}}"#,
        r#"{"server":"notes","method":"resources/read","params":{"uri":1}}"#,
        r#"{"server":"notes","method":"resources/read"}"#,
        r#"{"server":"notes","tool":"drop","arguments":{},"method":"resources/read","params":{"uri":"note:///1"}}"#,
        r#"{"server":"notes","tool":"drop","method":"resources/read","params":{"uri":"note:///1"}}"#,
        r#"{"server":"notes","tool":"drop","arguments":{},"params":{}}"#,
        r#"{"server":"notes","method":1,"params":{"uri":"note:///1"}}"#,
        r#"{"method":"resources/read","params":{"uri":"note:///1"}}"#,
        r#"{"server":"notes","method":"completion/complete","params":{"ref":{"type":"ref/tool","name":"x"}}}"#,
    ] {
        assert!(matches!(map(call), Err(MapRefusal::Shape(_))), "{call}");
    }
}
