//! The cluster's state as the mesh sees it: events in, changes and an immutable snapshot out.
//!
//! Entry point: [`State`]. Pure: no runtime, no clock, no sockets, no Kubernetes client. A source turns
//! what it reads into [`Event`]s; whoever needs to know the cluster reads a [`Snapshot`].

pub mod annotations;
mod apply;
mod claims;
mod few;
pub mod input;
mod inputs;
mod labels;
mod layer7;
pub mod model;
pub mod routes;
mod services;
mod slices;
mod snapshot;
mod stand_ins;
mod workloads;

#[cfg(test)]
mod tests;

pub use apply::{Change, Settings, State};
pub use input::{Event, Kind, Object};
pub use layer7::{AppProtocol, Layer7};
pub use snapshot::{Conflict, Snapshot};
