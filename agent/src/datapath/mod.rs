//! The kernel's side of the agent: programs loaded and attached, maps filled, namespaces entered, events
//! read. The only module with aya and `unsafe`.
//!
//! Entry point: [`Datapath::open`]. It knows addresses, ports and namespace cookies; it does not know
//! what a pod, a service or a policy is.
#![expect(unsafe_code, reason = "system calls that no safe wrapper offers; see each block")]

mod bpf;
pub mod bpffs;
pub mod diag;
mod error;
pub mod events;
mod loader;
pub mod memory;
pub mod netns;
pub mod sockets;
mod steering;
pub mod table;
pub mod tables;
pub mod uninstall;

pub use error::DatapathError;
pub use loader::{Datapath, Options, Program};
pub use steering::SteeringError;
