//! Weir's tasks: everything that is more than one `cargo` command, from nothing to a green test run.
//!
//! Entry point: `cargo xtask <task>`; each task is a module with one `run`. Tasks know where things lie
//! and what to call; what the agent does is none of their business.

mod bench;
mod build;
mod checkout;
mod clients;
mod cluster;
mod command;
mod conformance;
mod crds;
mod demo;
mod deploy;
mod fuzz;
mod golang;
mod image;
mod kernels;
mod kubernetes;
mod links;
mod lint;
mod object;
mod packages;
mod python;
mod setup;
mod stamp;
mod test;
mod toolchain;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Weir's tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building and testing need; does nothing where all is there.
    Setup(setup::Options),
    /// Build the eBPF object and the agent that embeds it.
    Build(build::Options),
    /// Write a container image with nothing but the agent in it; no daemon is needed.
    Image(image::Options),
    /// Show Weir at work: two nodes on this machine, real connections, then clean up.
    Demo(demo::Options),
    /// A Kubernetes of two nodes on this machine (root).
    Cluster(cluster::Options),
    /// Write the definitions of Weir's kinds (deploy/crds), made of the types that read them.
    Crds(crds::Options),
    /// Run all tests: unit, data path (root), kernel matrix.
    Test(test::Options),
    /// Run the Gateway API's conformance suite against Weir on a Kubernetes of two nodes (root).
    Conformance(conformance::Options),
    /// Make the manifests that kubectl installs of the Helm chart.
    Deploy(deploy::Options),
    /// Give the parsers of what comes from outside inputs that break them, if there are any.
    Fuzz(fuzz::Options),
    /// Measure Weir against no mesh on this machine.
    Bench(bench::Options),
    /// Formatting, clippy, eBPF lints, links in the documents, the kinds' definitions, licences.
    Lint(lint::Options),
    /// Boot the kernels that Weir supports and check the eBPF programs on each.
    Kernels(kernels::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Setup(options) => setup::run(&options),
        Task::Build(options) => build::run(&options),
        Task::Image(options) => image::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Cluster(options) => cluster::run(&options),
        Task::Deploy(options) => deploy::run(&options),
        Task::Crds(options) => crds::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Conformance(options) => conformance::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Lint(options) => lint::run(&options),
        Task::Kernels(options) => kernels::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
