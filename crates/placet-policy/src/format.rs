//! Cedar files in one style, by Cedar's own formatter: comments stay, and formatting twice changes nothing.

use cedar_policy_formatter::{Config, policies_str_to_pretty};

use crate::finding::{Finding, Source};
use crate::policies::{statements, tangle};

/// As wide as this project's own lines.
const LINE_WIDTH: usize = 110;
const INDENT_WIDTH: isize = 2;

/// A Cedar file in one style. One that cannot be read says why, with its place.
pub fn format_cedar(file: &str, text: &str) -> Result<String, Vec<Finding>> {
    let source = Source { file, text };
    let places = statements(text);
    if places.is_empty() {
        // Comments alone are as they are.
        return Ok(text.to_owned());
    }
    let tangled: Vec<Finding> = places.iter().filter_map(|place| tangle(source, place)).collect();
    if !tangled.is_empty() {
        return Err(tangled);
    }
    if let Err(errors) = text.parse::<cedar_policy::PolicySet>() {
        return Err(errors.iter().map(|error| source.foreign("L8", error)).collect());
    }
    let config = Config { line_width: LINE_WIDTH, indent_width: INDENT_WIDTH };
    policies_str_to_pretty(text, &config).map_err(|error| {
        vec![source.error("format", 0..0, format!("Cedar's formatter does not take it: {error}"))]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatting_keeps_comments_and_is_done_once() {
        let text = "// head\n@id(\"a\") @title(\"A\") permit(principal,action==Action::\"x\",resource) // why\nwhen{context.a>1&&true};\n// tail\n";
        let once = format_cedar("allow.cedar", text).unwrap();
        for kept in ["// head", "// why", "// tail", "@title(\"A\")", "context.a > 1 && true"] {
            assert!(once.contains(kept), "{kept} in {once}");
        }
        assert_eq!(format_cedar("allow.cedar", &once).unwrap(), once);
        let only = "// nothing yet\n";
        assert_eq!(format_cedar("never.cedar", only).unwrap(), only);
    }

    #[test]
    fn what_does_not_parse_has_a_place() {
        let found = format_cedar("ask.cedar", "permit (principal,\n  actio").unwrap_err();
        assert_eq!((found[0].file.as_str(), found[0].line), ("ask.cedar", 2));
        let deep = format!(
            "permit (principal, action, resource) when {{ {}true{} }};",
            "(".repeat(5000),
            ")".repeat(5000)
        );
        assert_eq!(format_cedar("ask.cedar", &deep).unwrap_err()[0].code, "L14");
    }
}
