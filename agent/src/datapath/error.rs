//! Why the data path cannot be set up, in words that say how to mend it.
//!
//! Entry point: [`DatapathError`].

use std::{io, path::PathBuf};

use aya::programs::ProgramError;

use super::{bpffs::BpffsError, steering::SteeringError};

/// Why the data path could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// No place to pin.
    #[error(transparent)]
    Bpffs(#[from] BpffsError),
    /// The object or its maps.
    #[error("the kernel does not take the eBPF object: {0}: run `weir check`")]
    Object(#[from] aya::EbpfError),
    /// A map.
    #[error("eBPF map: {0}")]
    Map(#[from] aya::maps::MapError),
    /// A program.
    #[error("the kernel does not take program {name}: {error}: run `weir check`")]
    Program {
        /// Its name.
        name: String,
        /// What the kernel said.
        error: ProgramError,
    },
    /// The program of a pod's namespace.
    #[error(transparent)]
    Steering(#[from] SteeringError),
    /// A link.
    #[error("cannot attach {name} to {target}: {error}")]
    Attach {
        /// The program.
        name: String,
        /// To what.
        target: String,
        /// What the kernel said.
        error: String,
    },
    /// The cgroup is none.
    #[error("{path} is not a cgroup2 directory: {error}: mount cgroup2 or name one with --cgroup")]
    Cgroup {
        /// The path given.
        path: PathBuf,
        /// What is wrong with it.
        error: io::Error,
    },
}
