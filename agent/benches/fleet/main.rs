//! Many agents that are none, and a cluster's objects for them: the load of `cargo xtask bench --only scale`.
//!
//! `fleet WORD …` with a KUBECONFIG does one thing and prints one JSON object, or one for each line that it is given.
//! [`USAGE`] has the words. Knows nothing of eBPF.

mod certify;
mod objects;
mod push;
mod watchers;

use std::{env, process::ExitCode};

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
pods NAMESPACES EACH        makes pods on nodes, with addresses, as large as pods are
slices PODS NAMESPACES      makes WorkloadSlices that say so many pods
change NAMESPACE            changes one pod of a slice of that namespace, once for each line of input
services COUNT NAMESPACES   makes Services of ten of these pods each, with an EndpointSlice
roll FROM COUNT RATE        replaces so many pods, beginning with this one, so many a second
watch COUNT pods|slices     watches as so many agents do; prints what came, at the beginning and for each line of input
certify COUNT EACH PORT     has so many agents want so many certificates at once, when there is a line of input
push COUNT PODS             one server that pushes pods over TLS to so many; what that costs it at the beginning and a change";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.is_empty() {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Tells of each line of the input.
fn lines() -> tokio::sync::mpsc::Receiver<()> {
    let (sender, lines) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lines();
        while input.next().is_some_and(|line| line.is_ok()) && sender.blocking_send(()).is_ok() {}
    });
    lines
}

fn run(words: &[&str]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match *words {
            ["push", count, pods] => return push::push(count.parse()?, pods.parse()?).await,
            [] => bail!("{USAGE}"),
            _ => {}
        }
        let (client, _) = weir_agent::source::kube::client().await.context("KUBECONFIG")?;
        match *words {
            ["pods", namespaces, each] => objects::pods(&client, namespaces.parse()?, each.parse()?).await,
            ["slices", pods, namespaces] => {
                objects::slices(&client, pods.parse()?, namespaces.parse()?).await
            }
            ["change", namespace] => objects::change(&client, namespace).await,
            ["services", count, namespaces] => {
                objects::services(&client, count.parse()?, namespaces.parse()?).await
            }
            ["roll", from, count, rate] => {
                objects::roll(&client, from.parse()?, count.parse()?, rate.parse()?).await
            }
            ["certify", count, each, port] => {
                certify::certify(&client, count.parse()?, each.parse()?, port.parse()?).await
            }
            ["watch", count, what] => watchers::watch(&client, count.parse()?, what).await,
            _ => bail!("{USAGE}"),
        }
    })
}
