//! The endpoints of one balancer: who is in, who is out for a time, and who gets the next request.
//!
//! Entry points: [`Endpoints::new`], [`Endpoints::update`], [`Endpoints::choose`]. What is known of an
//! endpoint stays as long as the endpoint does.

use std::{cell::Cell, collections::HashMap, rc::Rc};

use super::{
    super::{
        moment::Moment,
        outlier::{Record, lagging},
        random::Random,
        settings::{Algorithm, Balancing, Outlier},
    },
    Endpoint,
    latency::Latency,
    locality::Proximity,
    ring::Ring,
};
use crate::addr::EndpointAddr;

/// How often chance is asked for an endpoint that was not tried, before all are looked at.
const DRAWS: usize = 8;

/// One endpoint, and what this worker knows of it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) address: EndpointAddr,
    proximity: Cell<Proximity>,
    pub(super) latency: Latency,
    pub(super) record: Record,
    /// It is still in the set.
    present: Cell<bool>,
    /// It may get requests: it is not ejected, or all are.
    usable: Cell<bool>,
}

/// All that one worker knows of the endpoints of a Service's port.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    /// In the order of their addresses.
    members: Vec<Rc<Member>>,
    /// Those that may get requests.
    usable: Vec<Rc<Member>>,
    /// Those of them that are near enough; empty when that is no question.
    near: Vec<Rc<Member>>,
    ring: Ring,
    cursor: Cell<usize>,
}

impl Endpoints {
    /// Takes over the endpoints that there are now.
    pub(super) fn update(&mut self, endpoints: &[Endpoint], balancing: &Balancing) {
        let mut known: HashMap<EndpointAddr, Rc<Member>> =
            self.members.drain(..).map(|member| (member.address, member)).collect();
        for endpoint in endpoints {
            let member =
                known.remove(&endpoint.address).unwrap_or_else(|| Rc::new(Member::new(endpoint.address)));
            member.proximity.set(endpoint.proximity);
            self.members.push(member);
        }
        known.values().for_each(|gone| gone.present.set(false));
        // Of one that is named twice the first counts, which has what is known: the order is stable.
        self.members.sort_by_key(|member| member.address);
        self.members.dedup_by_key(|member| member.address);
        self.ring = match balancing.algorithm {
            Algorithm::ConsistentHash(_) => Ring::new(self.members.iter().map(|member| member.address)),
            Algorithm::LeastLatency | Algorithm::RoundRobin => Ring::default(),
        };
    }

    /// Sorts out who may get requests, after endpoints or ejections have changed.
    pub(super) fn sort(&mut self, balancing: &Balancing) {
        // With none left, trying is better than refusing.
        let panic = self.members.iter().all(|member| member.record.is_out());
        self.members.iter().for_each(|member| member.usable.set(panic || !member.record.is_out()));
        self.usable = self.members.iter().filter(|member| member.usable.get()).cloned().collect();
        self.near = Vec::new();
        if let Some(locality) = &balancing.locality {
            let reach = locality
                .reach(self.members.iter().map(|member| (member.proximity.get(), member.usable.get())));
            if reach < Proximity::Elsewhere {
                let near = self.usable.iter().filter(|member| member.proximity.get() <= reach);
                self.near = near.cloned().collect();
            }
        }
    }

    /// The endpoint for a request; one that was tried only where there is no other.
    pub(super) fn choose(
        &self,
        algorithm: &Algorithm,
        now: Moment,
        hash: Option<u64>,
        tried: &[EndpointAddr],
        random: &mut Random,
    ) -> Option<&Rc<Member>> {
        let pools = [&self.near, &self.usable];
        let untried =
            pools.into_iter().find_map(|pool| self.choose_from(pool, algorithm, now, hash, tried, random));
        let again =
            || pools.into_iter().find_map(|pool| self.choose_from(pool, algorithm, now, hash, &[], random));
        if tried.is_empty() { untried } else { untried.or_else(again) }
    }

    fn choose_from<'a>(
        &'a self,
        pool: &'a [Rc<Member>],
        algorithm: &Algorithm,
        now: Moment,
        hash: Option<u64>,
        tried: &[EndpointAddr],
        random: &mut Random,
    ) -> Option<&'a Rc<Member>> {
        match (algorithm, hash) {
            (Algorithm::ConsistentHash(_), Some(key)) => {
                // The ring has all endpoints: those that are out come back to their own keys.
                let mut walk = self.ring.walk(key).filter_map(|index| self.members.get(index));
                walk.find(|member| member.usable.get() && !tried.contains(&member.address))
            }
            (Algorithm::RoundRobin, _) => {
                let start = self.cursor.get();
                let at = (start..start + pool.len()).map(|turn| turn % pool.len());
                let found = at.into_iter().find(|at| !tried.contains(&pool[*at].address))?;
                self.cursor.set(found + 1);
                Some(&pool[found])
            }
            (Algorithm::LeastLatency | Algorithm::ConsistentHash(_), _) => {
                two_choices(pool, now, tried, random)
            }
        }
    }

    /// Starts round robin anywhere, so that workers do not all begin with the same endpoint.
    pub(super) fn start_at(&self, cursor: usize) {
        // Turns are counted up from here.
        self.cursor.set(cursor % self.members.len().max(1));
    }

    /// Leaves `member` alone for a time if so many may be out; until when.
    pub(super) fn eject(&self, member: &Member, now: Moment, outlier: &Outlier) -> Option<Moment> {
        let out = self.members.iter().filter(|member| member.record.is_out()).count();
        let room = out < outlier.max_ejected.of(self.members.len());
        (room && member.present.get() && !member.record.is_out()).then(|| member.record.eject(now, outlier))
    }

    /// Takes back those whose time is over, and as many more as it takes to keep to the share that may be
    /// out: endpoints that went may have been the healthy ones. True when there was any.
    pub(super) fn readmit(&self, now: Moment, outlier: Option<&Outlier>) -> bool {
        let mut out: Vec<(Moment, &Rc<Member>)> =
            self.members.iter().filter_map(|member| Some((member.record.out_until()?, member))).collect();
        out.sort_unstable_by_key(|(until, member)| (*until, member.address));
        let most = outlier.map_or(0, |outlier| outlier.max_ejected.of(self.members.len()));
        let over = out.len().saturating_sub(most);
        let back = out.iter().enumerate().filter(|(index, (until, _))| *index < over || *until <= now);
        back.map(|(_, (_, member))| member.record.readmit(now)).count() > 0
    }

    /// Ends an interval: who is too far behind the others, the worst first.
    pub(super) fn end_interval(&self, now: Moment, outlier: &Outlier) -> Vec<Rc<Member>> {
        let rates: Vec<(f64, u32)> =
            self.members.iter().map(|member| member.record.end_interval(now, outlier)).collect();
        let Some(settings) = &outlier.success_rate else {
            return Vec::new();
        };
        let mut found = lagging(&rates, settings);
        found.sort_by(|a, b| rates[*a].0.total_cmp(&rates[*b].0));
        found.into_iter().map(|index| self.members[index].clone()).collect()
    }

    /// When the first of those that are out comes back.
    pub(super) fn next_return(&self) -> Option<Moment> {
        self.members.iter().filter_map(|member| member.record.out_until()).min()
    }

    pub(super) fn members(&self) -> &[Rc<Member>] {
        &self.members
    }
}

impl Member {
    fn new(address: EndpointAddr) -> Self {
        Self {
            address,
            proximity: Cell::default(),
            latency: Latency::default(),
            record: Record::default(),
            present: Cell::new(true),
            usable: Cell::new(true),
        }
    }
}

/// Of two at random the one that costs less (Mitzenmacher: "The Power of Two Choices in Randomized Load
/// Balancing", 2001): nearly as good as the best of all, and workers that know the same do not all run to one.
fn two_choices<'a>(
    pool: &'a [Rc<Member>],
    now: Moment,
    tried: &[EndpointAddr],
    random: &mut Random,
) -> Option<&'a Rc<Member>> {
    let first = draw(pool, |at| !tried.contains(&pool[at].address), random)?;
    let other = |at: usize| at != first && !tried.contains(&pool[at].address);
    let second = if pool.len() > 1 { draw(pool, other, random) } else { None };
    let second = second.unwrap_or(first);
    let cheaper = if pool[second].latency.cost(now) < pool[first].latency.cost(now) { second } else { first };
    Some(&pool[cheaper])
}

/// The index of one of those that `may` be, each as likely as any other as long as most of them may.
fn draw(pool: &[Rc<Member>], may: impl Fn(usize) -> bool, random: &mut Random) -> Option<usize> {
    if pool.is_empty() {
        return None;
    }
    let drawn = (0..DRAWS).map(|_| random.below(pool.len())).find(|at| may(*at));
    drawn.or_else(|| {
        let start = random.below(pool.len());
        (start..start + pool.len()).map(|at| at % pool.len()).find(|at| may(*at))
    })
}
