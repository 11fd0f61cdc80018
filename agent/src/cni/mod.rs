//! A pod that is to be in the mesh does not start outside of it: a plugin at the end of the chain of CNI plugins.
//!
//! The container runtime runs the plugin (`weir cni`, on the node as `weir-cni`) when it has made a pod's network and before
//! anything of the pod runs. It asks the node's agent, which captures the pod first. Entry points, in that order:
//! [`invocation`] (what the plugin is told), [`question`] (what it asks the agent), [`fallback`] (what it does when no
//! agent answers), [`namespaces`] (what an agent leaves behind for that), [`reply`] (what it says); [`chain`], [`plan`]
//! and [`install`] (how it gets into the chain and out of it). `namespaces` and `install`
//! touch files, and the [`question::Desk`] is a queue; all else is pure.

pub mod chain;
pub mod fallback;
pub mod install;
pub mod invocation;
pub mod namespaces;
pub mod plan;
pub mod question;
pub mod reply;

/// The plugin's name: `type` in the chain, and its file in the directory of plugins.
pub const PLUGIN: &str = "weir-cni";

/// Where an agent keeps what must outlive it and the machine's being up, unless `--cni-state-dir` says otherwise.
pub const STATE: &str = "/var/lib/weir/cni";
