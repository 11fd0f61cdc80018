//! One worker's balancers: a port of a Service has one as long as requests go there.
//!
//! Entry point: [`Balancers::of`].

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    sync::Arc,
};

use http::StatusCode;

use super::super::app::Refused;
use crate::{
    flows::record::Reason,
    proxy::context::Worker,
    state::{
        Snapshot,
        model::{Service, ServicePort},
        routes::Destination,
    },
    traffic::{Balancer, Counts, Endpoint, Moment, Traffic},
};

/// Services' ports that one worker balances at a time; the longest unused make room.
const MOST: usize = 4096;

/// One worker's.
#[derive(Default)]
pub(in crate::proxy) struct Balancers {
    slots: RefCell<HashMap<Key, Slot>>,
    /// Of balancers that are gone.
    past: Cell<Counts>,
}

/// A port, and whether it is asked by IPv4: a server need not listen on both.
type Key = (Destination, bool);

struct Slot {
    balancer: Balancer,
    service: Arc<Service>,
    traffic: Arc<Traffic>,
    /// Of the state that it was last compared with.
    generation: u64,
    used: Moment,
}

impl Balancers {
    /// The balancer for `to`, asked by IPv4 or IPv6, as of `snapshot`, and the Service.
    ///
    /// # Errors
    /// When there is no such port.
    pub(super) fn of(
        &self,
        worker: &Worker,
        snapshot: &Snapshot,
        to: &Destination,
        ipv4: bool,
    ) -> Result<(Balancer, Arc<Service>), Refused> {
        let now = worker.now();
        let key = (to.clone(), ipv4);
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = slots.get_mut(&key)
            && slot.generation == snapshot.generation
        {
            slot.used = now;
            return Ok((slot.balancer.clone(), slot.service.clone()));
        }
        let service = snapshot.service(&to.service);
        let port = service.and_then(|service| service.ports.iter().find(|of| of.port == to.port));
        let (Some(service), Some(port)) = (service, port) else {
            let words = format!("{} has no port {} any more", to.service, to.port);
            return Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, Reason::RouteInvalid, words));
        };
        let traffic = snapshot.traffic(&to.service).unwrap_or_default();
        if let Some(slot) = slots.get_mut(&key) {
            let locality = traffic.balancing.locality.is_some();
            if !Arc::ptr_eq(&slot.service, service) || slot.traffic != traffic || locality {
                slot.balancer.update(
                    &endpoints(worker, snapshot, (port, ipv4), &traffic),
                    traffic.clone(),
                    now,
                );
            }
            *slot = Slot {
                balancer: slot.balancer.clone(),
                service: service.clone(),
                traffic,
                generation: snapshot.generation,
                used: now,
            };
            return Ok((slot.balancer.clone(), service.clone()));
        }
        if slots.len() >= MOST {
            self.make_room(&mut slots);
        }
        let context = &worker.context;
        let shared = context.traffic.of(&to.service.namespace, &to.service.name, &traffic);
        let endpoints = endpoints(worker, snapshot, (port, ipv4), &traffic);
        let random = &mut worker.random.borrow_mut();
        let balancer = Balancer::new(&endpoints, traffic.clone(), shared, now, random);
        let slot = Slot {
            balancer: balancer.clone(),
            service: service.clone(),
            traffic,
            generation: snapshot.generation,
            used: now,
        };
        slots.insert(key, slot);
        Ok((balancer, service.clone()))
    }

    /// What they did so far.
    pub(in crate::proxy) fn counts(&self) -> Counts {
        let slots = self.slots.borrow();
        slots.values().map(|slot| slot.balancer.counts()).fold(self.past.get(), sum)
    }

    /// The half that was used longest ago goes.
    fn make_room(&self, slots: &mut HashMap<Key, Slot>) {
        let mut used: Vec<Moment> = slots.values().map(|slot| slot.used).collect();
        let middle = used.len() / 2;
        let limit = *used.select_nth_unstable(middle).1;
        slots.retain(|_, slot| {
            let stays = slot.used > limit;
            if !stays {
                self.past.set(sum(self.past.get(), slot.balancer.counts()));
            }
            stays
        });
    }
}

fn sum(a: Counts, b: Counts) -> Counts {
    Counts {
        ejections: a.ejections + b.ejections,
        ejections_held_back: a.ejections_held_back + b.ejections_held_back,
        retries_denied: a.retries_denied + b.retries_denied,
    }
}

/// Those of the family; all, where there are none of it, since a proxy can change from one to the other.
fn endpoints(
    worker: &Worker,
    snapshot: &Snapshot,
    (port, ipv4): (&ServicePort, bool),
    traffic: &Traffic,
) -> Vec<Endpoint> {
    let own = crate::traffic::Place {
        node: Some(worker.context.node.clone()),
        zone: snapshot.node(&worker.context.node).and_then(|node| node.zone.clone()),
    };
    let located = traffic.balancing.locality.is_some();
    let endpoint = |address: &crate::addr::EndpointAddr| Endpoint {
        address: *address,
        proximity: if located { own.proximity(&snapshot.place(address.ip())) } else { Default::default() },
    };
    let family = |address: &&crate::addr::EndpointAddr| address.ip().is_ipv4() == ipv4;
    match port.endpoints.iter().any(|address| family(&address)) {
        true => port.endpoints.iter().filter(family).map(endpoint).collect(),
        false => port.endpoints.iter().map(endpoint).collect(),
    }
}
