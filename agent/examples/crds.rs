//! Prints what `cargo xtask crds` writes: a JSON object of files by their names.
//!
//! It is no command of the agent, which has no use for it in a cluster.

fn main() -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(&weir_agent::crds::files()?)?);
    Ok(())
}
