//! `weir`: reads the command line and hands each command to the part that does it.
//!
//! Commands that ask a running agent are in `cli`; the others run in this process.

use std::process::ExitCode;

use clap::Parser;
use weir_agent::cli::{
    self, Cli, Command, Outcome,
    args::{AgentArgs, CheckArgs, LintArgs, PolicyCommand, UninstallArgs},
};

fn main() -> ExitCode {
    cli::exit(match Cli::parse().command {
        Command::Agent(args) => agent(args),
        Command::Status(args) => cli::status(&args),
        Command::Flows(args) => cli::flows(&args),
        Command::Check(args) => check(&args),
        Command::Policy { command: PolicyCommand::Explain(args) } => cli::policy_explain(&args),
        Command::Policy { command: PolicyCommand::Audit(args) } => cli::policy_audit(&args),
        Command::Policy { command: PolicyCommand::Lint(args) } => lint(&args),
        Command::Uninstall(args) => uninstall(&args),
    })
}

fn agent(_args: AgentArgs) -> Outcome {
    anyhow::bail!("this build has no agent")
}

fn check(_args: &CheckArgs) -> Outcome {
    anyhow::bail!("this build has no check")
}

fn lint(_args: &LintArgs) -> Outcome {
    anyhow::bail!("this build has no lint")
}

fn uninstall(_args: &UninstallArgs) -> Outcome {
    anyhow::bail!("this build has no uninstall")
}
