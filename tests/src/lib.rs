//! Nodes and pods on one machine, real agents on them, real peers in them: what data-path tests, the demo
//! and the bench are made of.
//!
//! Entry point: [`Topology`]; from it come [`Node`], [`Pod`], [`Agent`]. Everything made here is gone when
//! the topology is dropped, also after a panic; what a killed run left, the next one removes. Needs root,
//! and fails without it. Knows the command line and the files of Weir, nothing of its insides.

mod agent;
mod api_server;
mod cgroup;
mod cluster;
mod conformance;
mod controller;
mod deploy;
mod examples;
mod flows;
mod image;
mod issuer;
mod manifest;
mod metrics;
mod netns;
mod peer;
mod pod;
mod process;
mod programs;
mod python;
mod scope;
mod state;
mod topology;

pub use agent::{Agent, AgentBuilder};
pub use api_server::ApiServer;
pub use cluster::{BUSYBOX, CNI_FLAGS, Cluster, KubeAgent, KubeNode, Traffic, kubectl_in};
pub use conformance::{Conformance, Findings, Outcome, Seen, Verdict};
pub use controller::Controller;
pub use deploy::{chart_objects, kustomize_objects};
pub use examples::{Example, example, examples};
pub use flows::Flow;
pub use image::Image;
pub use issuer::Issuer;
pub use manifest::Manifest;
pub use netns::inside;
pub use peer::{Dialled, Held, Listener, Redialler, Serve};
pub use pod::Pod;
pub use process::{Finished, Process, eventually, eventually_within};
pub use programs::{client, take_programs_from, weir, weir_archive, weir_image};
pub use python::python;
pub use scope::remove_named;
pub use state::State;
pub use topology::{Node, Topology};

/// How long anything here waits for what must happen soon; far beyond what it takes on a busy machine.
pub const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);
/// The same for what a whole Kubernetes does.
pub const CLUSTER_LIMIT: std::time::Duration = std::time::Duration::from_secs(180);
