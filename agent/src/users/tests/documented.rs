//! The examples of docs/authentication.md are read as an agent reads them.

use crate::source::lint;

const PAGE: &str = include_str!("../../../../docs/authentication.md");

#[test]
fn every_example_is_taken_without_a_problem_or_a_warning() {
    let examples: Vec<&str> =
        PAGE.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 2, "the page has examples");
    for example in examples {
        let lint = lint::text("example.yaml", example);
        assert_eq!((lint.problems, lint.warnings), (vec![], vec![]), "{example}");
        assert!(lint.objects > 0, "{example}");
    }
}

#[test]
fn every_field_and_every_refusal_is_on_the_page() {
    let fields = [
        "issuer",
        "audiences",
        "jwks.inline",
        "jwks.uri",
        "jwks.ca",
        "jwks.refresh",
        "from[].header",
        "from[].prefix",
        "from[].cookie",
        "clockLeeway",
        "forwardClaims[].claim",
        "forwardClaims[].header",
    ];
    for field in fields {
        assert!(PAGE.contains(&format!("`{field}`")), "{field}");
    }
    for error in crate::users::TokenError::ALL {
        assert!(PAGE.contains(&format!("`{}`", error.word())), "{}", error.word());
        assert!(PAGE.contains(&error.to_string()), "{error}");
    }
}
