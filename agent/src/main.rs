//! `weir`: reads the command line and hands each command to the part that does it.
//!
//! Commands that ask a running agent are in `cli`; the others run in this process.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use weir_agent::{
    check,
    cli::{
        self, Cli, Command, Outcome, Verdict,
        args::{AgentArgs, CheckArgs, LintArgs, Output, PolicyCommand, UninstallArgs},
    },
    cni,
    datapath::uninstall::uninstall as remove_pins,
    run, source,
};

/// The image is linked with musl, whose own takes one lock for everything: two threads that allocate are three to four
/// times as slow as with glibc's, and as quick as that with this one. Elsewhere too, so that what is measured is what is
/// shipped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if cli::cni::is_plugin(std::env::args_os().next()) {
        return cli::cni::run();
    }
    cli::exit(match Cli::parse().command {
        Command::Agent(args) => agent(args),
        Command::Controller(args) => run::controller(args).map(|()| Verdict::Yes),
        Command::Status(args) => cli::status(&args),
        Command::Ready(args) => cli::ready(&args.socket),
        Command::Flows(args) => cli::flows(&args),
        Command::Check(args) => check(&args),
        Command::Policy { command: PolicyCommand::Explain(args) } => cli::policy_explain(&args),
        Command::Policy { command: PolicyCommand::Audit(args) } => cli::policy_audit(&args),
        Command::Policy { command: PolicyCommand::Lint(args) } => lint(&args),
        Command::Cni => return cli::cni::run(),
        Command::Uninstall(args) => uninstall(&args),
    })
}

fn agent(args: AgentArgs) -> Outcome {
    run::agent(args).map(|()| Verdict::Yes)
}

fn check(args: &CheckArgs) -> Outcome {
    let report = if args.cluster.kube {
        cli::check(args)?
    } else {
        let options = check::CheckOptions { cgroup: args.cgroup.clone(), ..check::CheckOptions::default() };
        check::run(&options)
    };
    match args.output {
        Output::Table => cli::write(&report.table())?,
        Output::Json => cli::write(&format!("{}\n", serde_json::to_string(&report)?))?,
    }
    Ok(if report.failed() { Verdict::No } else { Verdict::Yes })
}

fn lint(args: &LintArgs) -> Outcome {
    let lint = source::lint::files(&args.files);
    let mut text = String::new();
    for problem in &lint.problems {
        text.push_str(&format!("{problem}\n"));
    }
    for warning in &lint.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    if lint.problems_left_out > 0 {
        text.push_str(&format!("and {} more\n", lint.problems_left_out));
    }
    if lint.problems.is_empty() {
        text.push_str(&format!("{} objects, nothing wrong\n", lint.objects));
    }
    cli::write(&text)?;
    Ok(if lint.problems.is_empty() { Verdict::Yes } else { Verdict::No })
}

fn uninstall(args: &UninstallArgs) -> Outcome {
    // First of all what runs this very program for each pod.
    if let Some(directories) = args.cni.directories() {
        for path in cni::install::uninstall(&directories)? {
            cli::write(&format!("changed or removed {}\n", path.display()))?;
        }
    }
    let bpffs: &PathBuf = &args.bpffs;
    let removed = remove_pins(bpffs)?;
    cli::write(&format!("removed {removed} pins below {}\n", bpffs.display()))?;
    Ok(Verdict::Yes)
}
