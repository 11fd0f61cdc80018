//! The endpoint of a try, and whose it is.
//!
//! Entry point: [`Target::of`].

use std::sync::Arc;

use http::StatusCode;

use super::super::app::Refused;
use crate::{
    addr::EndpointAddr,
    flows::record::{Path, Peer, Reason},
    proxy::{pod::LocalPod, report},
    state::{
        Snapshot,
        model::{NamespacedName, Workload},
    },
};

/// Where a request is sent.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) endpoint: EndpointAddr,
    /// The pod whose address it is; none for what is outside the cluster.
    pub(super) workload: Option<Arc<Workload>>,
    /// Whether that is the pod that asks.
    own: bool,
}

impl Target {
    /// Whose `endpoint` is, for a request of `pod`.
    ///
    /// # Errors
    /// When several pods claim it, so that nobody knows who would get the request, or none can: a Service without
    /// endpoints stands for itself.
    pub(super) fn of(snapshot: &Snapshot, pod: &LocalPod, endpoint: EndpointAddr) -> Result<Self, Refused> {
        if snapshot.is_service_address(endpoint.ip()) {
            let words = "the service has no endpoints";
            return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, Reason::NoEndpoints, words));
        }
        let workload = snapshot.workload_by_address(endpoint.ip()).cloned();
        if workload.is_none() && snapshot.is_claimed(endpoint.ip()) {
            let words = format!("several pods claim {}", endpoint.ip());
            return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, Reason::UpstreamUnreachable, words));
        }
        Ok(Self { endpoint, workload, own: pod.is_at(endpoint.ip()) })
    }

    /// The pod, when only a tunnel leads to it: it is in the mesh, and is not the one that asks.
    pub(super) fn tunnelled(&self) -> Option<&Arc<Workload>> {
        self.workload.as_ref().filter(|workload| workload.enrolled && !self.own)
    }

    /// As a record names it, asked by `service`.
    pub(super) fn peer(&self, service: &NamespacedName) -> Peer {
        let address = self.endpoint.socket();
        let peer = match &self.workload {
            Some(workload) if workload.enrolled => report::workload(workload, Some(address)),
            Some(workload) => report::unproved(workload, address),
            None => report::stranger(address),
        };
        report::by_service(peer, Some(service))
    }

    /// How bytes get there.
    pub(super) fn path(&self) -> Path {
        if self.tunnelled().is_some() { Path::Tunnel } else { Path::Proxy }
    }
}
