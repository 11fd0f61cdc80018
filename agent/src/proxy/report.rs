//! From a workload and an address to one end of a flow record.
//!
//! Entry points: [`workload`], [`stranger`], [`identity`].

use std::{net::SocketAddr, sync::Arc};

use crate::{
    flows::record::{Canonical, Peer},
    identity::Identity,
    state::model::{NamespacedName, Workload},
};

/// A pod whose identity is proved or vouched for.
pub fn workload(workload: &Workload, address: Option<SocketAddr>) -> Peer {
    Peer {
        namespace: Some(workload.key.namespace.clone()),
        pod: Some(workload.key.name.clone()),
        workload: Some(workload.owner.clone()),
        service: None,
        service_account: Some(workload.identity.service_account().into()),
        identity: Some(workload.identity.to_string().into()),
        address,
        canonical: Some(Arc::new(Canonical::new(&workload.labels, &workload.owner))),
    }
}

/// A pod known by its address only, which proves nothing: it has a name, but no identity.
pub fn unproved(known: &Workload, address: SocketAddr) -> Peer {
    Peer { identity: None, service_account: None, ..workload(known, Some(address)) }
}

/// Somebody of whom only the address is known.
pub fn stranger(address: SocketAddr) -> Peer {
    Peer { address: Some(address), ..Peer::default() }
}

/// Somebody who proved an identity, but is no pod that the snapshot knows.
pub fn identity(identity: &Identity, address: SocketAddr) -> Peer {
    Peer {
        namespace: Some(identity.namespace().into()),
        service_account: Some(identity.service_account().into()),
        identity: Some(identity.to_string().into()),
        address: Some(address),
        ..Peer::default()
    }
}

/// The same end, dialled by a service's name.
pub fn by_service(mut peer: Peer, service: Option<&NamespacedName>) -> Peer {
    peer.service = service.map(|service| service.to_string().into());
    peer
}
