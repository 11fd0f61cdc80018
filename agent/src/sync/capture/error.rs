//! Why a pod is not captured, in words for who owns it.
//!
//! Entry point: [`CaptureError`].

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    datapath::{DatapathError, netns::NetnsError},
    state::model::NamespacedName,
};

/// Why an enrolled pod is not captured. Tried again at every look.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Nothing says where its namespace is.
    #[error("its network namespace is not known: annotate it with weir.dev/netns: /run/netns/NAME")]
    NoNetns,
    /// The kubelet runs none of its processes.
    #[error("nothing of it runs yet")]
    NotRunning,
    /// It has no address yet.
    #[error("it has no address (status.podIPs)")]
    NoAddress,
    /// What the annotation names cannot be used.
    #[error("its network namespace {} {error}", path.display())]
    Netns {
        /// What was named.
        path: PathBuf,
        /// What is wrong with it.
        error: NetnsError,
    },
    /// The namespace is somebody else's.
    #[error("its network namespace {} has none of its addresses, but {found}", path.display())]
    NotIts {
        /// What was named.
        path: PathBuf,
        /// The addresses that are there.
        found: String,
    },
    /// The network was made for another namespace than the one that it runs in.
    #[error("it runs in another network namespace than the one that was made for it")]
    Disputed,
    /// It is the node's.
    #[error("its network namespace {} is the node's own", path.display())]
    OfNode {
        /// What was named.
        path: PathBuf,
    },
    /// Another pod names the namespace, and this one has not proved that it is its own.
    #[error("its network namespace {} is claimed by {other} too", path.display())]
    ClaimedTwice {
        /// What was named.
        path: PathBuf,
        /// The other pod.
        other: NamespacedName,
    },
    /// No port is left for redirection.
    #[error("no port is free outside its net.ipv4.ip_local_port_range {0}")]
    NoPort(String),
    /// A socket could not be made in it.
    #[error("no socket can be made in its network namespace: {0}")]
    Socket(#[from] io::Error),
    /// The kernel refused.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// A map is full.
    #[error("the kernel has no room for it in {0}")]
    Full(&'static str),
}

impl CaptureError {
    /// Whether the pod can do nothing, so that nothing of it is outside the mesh.
    pub fn is_harmless(&self) -> bool {
        matches!(self, Self::NotRunning)
    }

    /// The same of a namespace that has a better name.
    pub(in crate::sync) fn at(self, name: &Path) -> Self {
        let path = name.to_owned();
        match self {
            Self::Netns { error, .. } => Self::Netns { path, error },
            Self::NotIts { found, .. } => Self::NotIts { path, found },
            Self::OfNode { .. } => Self::OfNode { path },
            other => other,
        }
    }
}
