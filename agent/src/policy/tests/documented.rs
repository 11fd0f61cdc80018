//! What docs/policy.md says is so.

use super::fixtures::{from, together};
use crate::policy::{Policy, PolicyKey, normalise};

const PAGE: &str = include_str!("../../../../docs/policy.md");

/// The rows of the table under this head, each as its cells.
fn rows(head: &str) -> Vec<Vec<&'static str>> {
    let (_, table) = PAGE.split_once(head).expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    // A bar inside a cell is written \|.
    let cells = |row: &'static str| row.trim_matches('|').splitn(2, " | ").map(str::trim).collect();
    rows.map(cells).collect()
}

/// The texts in backticks.
fn code(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(|text| text.replace("\\|", "|")).collect()
}

#[test]
fn every_example_is_a_policy_without_mistakes_and_warnings() {
    let mut read = 0;
    for block in PAGE.split("```yaml\n").skip(1) {
        let (block, _) = block.split_once("```").expect("an end");
        for document in block.split("---\n") {
            let object: serde_json::Value = serde_norway::from_str(document).expect("YAML");
            assert_eq!(
                (&object["apiVersion"], &object["kind"]),
                (&"weir.dev/v1alpha1".into(), &"AccessPolicy".into())
            );
            let text = |field: &str| object["metadata"][field].as_str().expect("a name").to_string();
            let key = PolicyKey::new(text("namespace"), text("name"));
            let policy = Policy::parse(key, object["spec"].clone()).expect("a right policy");
            assert_eq!(policy.warnings(), [], "{document}");
            read += 1;
        }
    }
    assert_eq!(read, 4);
}

#[test]
fn paths_are_compared_as_the_page_says() {
    let rows = rows("| as sent | as compared |");
    assert_eq!(rows.len(), 6);
    for row in rows {
        let (sent, compared) = (&code(row[0])[0], &code(row[1])[0]);
        assert_eq!(normalise(sent.as_bytes()).as_deref(), Ok(compared.as_str()));
    }
    let policies = together([("shop/me", "{rules: [{to: [{paths: ['/users/@me']}]}]}")]);
    assert!(from("shop/cart").gets("/users/%40me").of(&policies).allowed);
}

#[test]
fn paths_are_refused_as_the_page_says() {
    let refused: Vec<String> = rows("| as sent | why |").iter().flat_map(|row| code(row[0])).collect();
    assert_eq!(refused.len(), 16);
    for path in refused {
        normalise(path.as_bytes()).expect_err(&path);
    }
}
