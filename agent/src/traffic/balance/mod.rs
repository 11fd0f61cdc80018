//! Which endpoint gets a request, and what is learned from it: the façade that a request goes through.
//!
//! Entry point: [`Balancer`], one for each worker and each port of a Service that has requests. It is not
//! shared between threads: `Cell`s and no lock. What workers have in common is in [`Shared`].

mod endpoints;
mod latency;
mod locality;
mod ring;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

pub use locality::{Place, Proximity};

use self::endpoints::{Endpoints, Member};
use super::{
    breaker::{Bound, Permit},
    moment::Moment,
    outcome::Outcome,
    random::Random,
    retry::{Attempt, Budget, RetryDecision},
    settings::{Outlier, Retry, Traffic},
    shared::Shared,
};
use crate::addr::EndpointAddr;

/// An endpoint as the cluster's state knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: EndpointAddr,
    /// How near it is; see [`Place::proximity`].
    pub proximity: Proximity,
}

/// What a choice depends on.
#[derive(Debug)]
pub struct PickContext<'a> {
    /// The time.
    pub now: Moment,
    /// The worker's own.
    pub random: &'a mut Random,
    /// See [`Traffic::hash_of`].
    pub hash: Option<u64>,
    /// Where this request has been before.
    pub tried: &'a [EndpointAddr],
}

/// Why there is no endpoint for a request. Both are 503 (gRPC UNAVAILABLE).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// The Service's port has no endpoints.
    #[error("no endpoints")]
    NoEndpoints,
    /// The circuit breaker is open.
    #[error(transparent)]
    TooMany(#[from] Bound),
}

/// What a balancer knows of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointStatus {
    /// Its address.
    pub address: EndpointAddr,
    /// Requests of this worker that are under way there.
    pub live: u32,
    /// Until when it gets none; none when it does.
    pub ejected_until: Option<Moment>,
}

/// What one balancer did since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Endpoints that were ejected.
    pub ejections: u64,
    /// Endpoints that were not, because too many were out already.
    pub ejections_held_back: u64,
    /// Retries that the budget refused.
    pub retries_denied: u64,
}

/// The endpoints of one port of a Service, for one worker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Balancer(Rc<Core>);

#[derive(Debug)]
struct Core {
    shared: Arc<Shared>,
    budget: Budget,
    state: RefCell<State>,
    /// When somebody comes back or an interval ends; nothing changes by itself before.
    next_look: Cell<Moment>,
    interval_ends: Cell<Moment>,
    ejections: Cell<u64>,
    held_back: Cell<u64>,
}

#[derive(Debug)]
struct State {
    traffic: Arc<Traffic>,
    endpoints: Endpoints,
}

/// A try under way at an endpoint. Dropped without [`Picked::finished`] it counts as given up.
#[derive(Debug)]
#[must_use = "the request counts as under way as long as this is held"]
pub struct Picked {
    core: Rc<Core>,
    member: Rc<Member>,
    begun: Moment,
    responded: Cell<bool>,
    _permit: Permit,
}

impl Balancer {
    /// A balancer that knows nothing of its endpoints yet.
    pub fn new(
        endpoints: &[Endpoint],
        traffic: Arc<Traffic>,
        shared: Arc<Shared>,
        now: Moment,
        random: &mut Random,
    ) -> Self {
        let budget = Budget::new(traffic.retry.as_ref().map(|retry| retry.budget).unwrap_or_default());
        let state = State { traffic: traffic.clone(), endpoints: Endpoints::default() };
        let balancer = Self(Rc::new(Core {
            shared,
            budget,
            state: RefCell::new(state),
            next_look: Cell::default(),
            interval_ends: Cell::default(),
            ejections: Cell::new(0),
            held_back: Cell::new(0),
        }));
        balancer.update(endpoints, traffic, now);
        let first = random.below(endpoints.len());
        balancer.0.state.borrow().endpoints.start_at(first);
        balancer
    }

    /// Takes over the endpoints and the policy that there are now. What is known of endpoints that stay,
    /// stays; tries at those that go come to their end.
    pub fn update(&self, endpoints: &[Endpoint], traffic: Arc<Traffic>, now: Moment) {
        self.0.budget.set(traffic.retry.as_ref().map(|retry| retry.budget).unwrap_or_default());
        self.0.shared.set(&traffic);
        let state = &mut *self.0.state.borrow_mut();
        let interval = |of: &Traffic| of.outlier.map(|outlier| outlier.interval);
        if self.0.interval_ends.get() == Moment::default() || interval(&state.traffic) != interval(&traffic) {
            self.0.interval_ends.set(interval(&traffic).map_or(now, |interval| now.after(interval)));
        }
        state.traffic = traffic;
        state.endpoints.update(endpoints, &state.traffic.balancing);
        state.endpoints.readmit(now, state.traffic.outlier.as_ref());
        self.0.settle(state);
    }

    /// How requests to the Service are to be treated.
    pub fn traffic(&self) -> Arc<Traffic> {
        self.0.state.borrow().traffic.clone()
    }

    /// What the agent's workers have in common: bounds on connections and on requests that wait.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// A request came: counts it for the retry budget. Once, whatever its tries.
    pub fn began(&self, now: Moment) {
        self.0.budget.began(now);
    }

    /// The endpoint for one try of a request.
    ///
    /// # Errors
    /// Why there is none. Neither is tried again.
    pub fn pick(&self, context: PickContext<'_>) -> Result<Picked, PickError> {
        let PickContext { now, random, hash, tried } = context;
        if now >= self.0.next_look.get() {
            self.0.look(now);
        }
        let permit = self.0.shared.breaker.enter(Bound::Requests)?;
        let state = self.0.state.borrow();
        let algorithm = &state.traffic.balancing.algorithm;
        let member = state.endpoints.choose(algorithm, now, hash, tried, random);
        let member = member.ok_or(PickError::NoEndpoints)?.clone();
        member.latency.begin();
        Ok(Picked { core: self.0.clone(), member, begun: now, responded: Cell::new(false), _permit: permit })
    }

    /// Whether a try that failed is followed by another one; see [`Retry::decide`]. `retry` is the policy's,
    /// or [`Retry::for_route`]'s.
    pub fn decide(&self, retry: &Retry, attempt: &Attempt<'_>, random: &mut Random) -> RetryDecision {
        retry.decide(attempt, &self.0.budget, &self.0.shared.floor, random)
    }

    /// Its endpoints, in the order of their addresses.
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        let state = self.0.state.borrow();
        let status = |member: &Rc<Member>| EndpointStatus {
            address: member.address,
            live: member.latency.live(),
            ejected_until: member.record.out_until(),
        };
        state.endpoints.members().iter().map(status).collect()
    }

    /// What it did so far.
    pub fn counts(&self) -> Counts {
        Counts {
            ejections: self.0.ejections.get(),
            ejections_held_back: self.0.held_back.get(),
            retries_denied: self.0.budget.denied(),
        }
    }
}

impl Core {
    /// Does what is due: who comes back, who is behind the others.
    fn look(&self, now: Moment) {
        let state = &mut *self.state.borrow_mut();
        let outlier = state.traffic.outlier;
        state.endpoints.readmit(now, outlier.as_ref());
        if let Some(outlier) = &outlier
            && now >= self.interval_ends.get()
        {
            self.interval_ends.set(now.after(outlier.interval));
            for member in state.endpoints.end_interval(now, outlier) {
                self.eject(&state.endpoints, &member, now, outlier);
            }
        }
        self.settle(state);
    }

    /// Learns from a try that is over.
    fn note(&self, member: &Rc<Member>, now: Moment, failed: bool) {
        let state = &mut *self.state.borrow_mut();
        let Some(outlier) = state.traffic.outlier else {
            return;
        };
        if member.record.note(failed, &outlier) && self.eject(&state.endpoints, member, now, &outlier) {
            self.settle(state);
        }
    }

    fn eject(&self, endpoints: &Endpoints, member: &Member, now: Moment, outlier: &Outlier) -> bool {
        let ejected = endpoints.eject(member, now, outlier).is_some();
        let count = if ejected { &self.ejections } else { &self.held_back };
        count.set(count.get() + 1);
        ejected
    }

    fn settle(&self, state: &mut State) {
        state.endpoints.sort(&state.traffic.balancing);
        let never = Moment::at(std::time::Duration::MAX);
        let interval = state.traffic.outlier.map_or(never, |_| self.interval_ends.get());
        self.next_look.set(state.endpoints.next_return().map_or(interval, |back| back.min(interval)));
    }
}

impl Picked {
    /// The endpoint.
    pub fn address(&self) -> EndpointAddr {
        self.member.address
    }

    /// The response's head came. From here on time is the body's, which says nothing about the endpoint.
    pub fn responded(&self, now: Moment) {
        if !self.responded.replace(true) {
            self.member.latency.answered(now, now.since(self.begun));
        }
    }

    /// The try is over.
    pub fn finished(self, now: Moment, outcome: Outcome) {
        let took = now.since(self.begun);
        match outcome.is_failure() {
            Some(true) => self.member.latency.failed(now, took),
            Some(false) if !self.responded.get() => self.member.latency.answered(now, took),
            None if !self.responded.get() => self.member.latency.given_up(now, took),
            Some(false) | None => {}
        }
        if let Some(failed) = outcome.is_failure() {
            self.core.note(&self.member, now, failed);
        }
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.member.latency.end();
    }
}
