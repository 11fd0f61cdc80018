//! The reference page: its examples are read as an agent reads them, and its defaults are the real ones.

use crate::source::lint;

const PAGE: &str = include_str!("../../../../docs/traffic.md");

/// The blocks of the page marked `yaml`.
fn examples() -> Vec<String> {
    let mut examples = Vec::new();
    let mut open: Option<String> = None;
    for line in PAGE.lines() {
        match (line, &mut open) {
            ("```yaml", None) => open = Some(String::new()),
            ("```", Some(_)) => examples.extend(open.take()),
            (line, Some(example)) => {
                example.push_str(line);
                example.push('\n');
            }
            (_, None) => {}
        }
    }
    examples
}

#[test]
fn every_example_of_the_page_is_in_force_as_it_stands() {
    let examples = examples();
    assert!(examples.len() >= 7, "one for each feature, and one of all: {}", examples.len());
    for example in &examples {
        let lint = lint::text("docs/traffic.md", example);
        assert_eq!((lint.problems.as_slice(), lint.objects), (&[][..], 1), "{example}");
    }
    for feature in ["retry", "circuitBreaker", "outlier", "loadBalancer", "rateLimits", "fault"] {
        let of_feature = |example: &&String| example.contains(&format!("\n  {feature}:"));
        assert!(examples.iter().any(|example| of_feature(&example)), "{feature}");
    }
}
