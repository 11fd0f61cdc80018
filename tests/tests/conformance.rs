//! The Gateway API's conformance suite: every test of a mesh passes, and Weir carried its requests. `cargo xtask
//! conformance` runs the same, and keeps what it found in `docs/conformance`.

use anyhow::Result;
use weir_tests::Conformance;

#[test]
fn every_test_of_a_mesh_that_the_gateway_apis_suite_has_passes_and_was_carried_by_weir() -> Result<()> {
    let conformance = Conformance::up()?;
    let findings = conformance.run(None)?;
    let wrong = findings.wrong();
    if !wrong.is_empty() {
        println!("{}\n{}", findings.log, conformance.logs());
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", findings.table());
    Ok(())
}
