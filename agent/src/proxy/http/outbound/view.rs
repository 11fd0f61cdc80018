//! A Service as a client's connection sees it, in one state of the cluster.
//!
//! Entry point: [`View`].

use std::sync::Arc;

use crate::state::{
    Snapshot,
    model::NamespacedName,
    routes::{Destination, Routes},
};

/// What a request needs to know of the Service that was dialled.
pub(super) struct View {
    /// The state that it is of.
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) generation: u64,
    /// None: requests are forwarded to the Service as it is.
    pub(super) routes: Option<Arc<Routes>>,
    pub(super) itself: Destination,
}

impl View {
    pub(super) fn new(snapshot: Arc<Snapshot>, namespace: &str, service: &NamespacedName, port: u16) -> Self {
        let routes = snapshot.routes(namespace, service, port).cloned();
        let itself = Destination { service: service.clone(), port };
        Self { generation: snapshot.generation, routes, itself, snapshot }
    }
}
