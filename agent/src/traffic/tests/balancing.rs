//! Which endpoint gets a request.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use proptest::{collection::vec, prelude::*};
use serde_json::json;

use super::{Worker, address, at, endpoint, endpoints, traffic};
use crate::traffic::{
    Balancer, Bound, Endpoint, Outcome, PickContext, PickError, Proximity, Random, Shared, Traffic,
};

const OK: Outcome = Outcome::Status(200);

#[test]
fn without_endpoints_there_is_no_choice() {
    for traffic in [Traffic::default().into(), traffic(json!({"loadBalancer": {"type": "roundRobin"}}))] {
        let mut worker = Worker::new(&[], traffic);
        let context = PickContext { now: at(0), random: &mut worker.random, hash: Some(1), tried: &[] };
        assert_eq!(worker.balancer.pick(context).err(), Some(PickError::NoEndpoints));
    }
}

#[test]
fn alike_endpoints_get_alike_many_requests() {
    for kind in ["leastLatency", "roundRobin"] {
        let mut worker = Worker::new(&endpoints(10), traffic(json!({"loadBalancer": {"type": kind}})));
        let spread = worker.spread(at(0), 10, 10_000);
        assert!(spread.iter().all(|count| (850..1150).contains(count)), "{kind}: {spread:?}");
    }
}

#[test]
fn round_robin_takes_turns_and_starts_anywhere() {
    let traffic = traffic(json!({"loadBalancer": {"type": "roundRobin"}}));
    let mut worker = Worker::new(&endpoints(5), traffic.clone());
    assert_eq!(worker.spread(at(0), 5, 500), [100; 5]);
    let first = |seed| {
        let mut random = Random::seeded(seed);
        let balancer =
            Balancer::new(&endpoints(5), traffic.clone(), Shared::new(&traffic), at(0), &mut random);
        let context = PickContext { now: at(0), random: &mut random, hash: None, tried: &[] };
        balancer.pick(context).expect("an endpoint").address()
    };
    assert_eq!((0..50).map(first).collect::<BTreeSet<_>>().len(), 5);
}

#[test]
fn a_slow_endpoint_gets_less_and_one_that_recovers_gets_its_share_again() {
    let mut worker = Worker::new(&endpoints(4), Arc::default());
    let mut chance = Random::seeded(5);
    let mut serve = |from: u64, to: u64, slow: u64| {
        let mut count = 0;
        for millis in (from..to).step_by(20) {
            let picked = worker.pick(at(millis), &[]);
            let is_first = picked.address() == address(0);
            count += usize::from(is_first);
            let took = 3 + chance.below(10) as u64 + if is_first { slow } else { 0 };
            picked.finished(at(millis + took), OK);
        }
        count
    };
    assert!(serve(0, 20_000, 200) < 20, "of a thousand");
    let back = serve(60_000, 80_000, 0);
    assert!((150..400).contains(&back), "of a thousand: {back}");
}

#[test]
fn an_endpoint_with_much_under_way_gets_less() {
    let mut worker = Worker::new(&endpoints(2), Arc::default());
    let warm = worker.spread(at(0), 2, 100);
    assert!(warm.iter().all(|count| *count > 20), "{warm:?}");
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(worker.pick(at(1), &[]));
    }
    let live: Vec<u32> = worker.balancer.endpoints().iter().map(|of| of.live).collect();
    assert!(live.iter().all(|live| (45..=55).contains(live)), "{live:?}");
    drop(held);
    assert!(worker.balancer.endpoints().iter().all(|of| of.live == 0));
}

#[test]
fn an_endpoint_that_fails_fast_is_not_taken_for_a_fast_one() {
    let mut worker = Worker::new(&endpoints(3), Arc::default());
    let mut failing = 0;
    for millis in 0..3_000 {
        let picked = worker.pick(at(millis), &[]);
        if picked.address() == address(0) {
            failing += 1;
            picked.finished(at(millis), Outcome::Connect);
        } else {
            picked.finished(at(millis + 10), OK);
        }
    }
    assert!(failing < 100, "{failing}");
}

#[test]
fn the_same_key_goes_to_the_same_endpoint_whoever_asks() {
    let spec = json!({"loadBalancer": {"type": "consistentHash", "hash": {"by": "source"}}});
    let traffic = traffic(spec);
    let (mut one, mut other) =
        (Worker::new(&endpoints(10), traffic.clone()), Worker::new(&endpoints(10), traffic.clone()));
    let mut used = BTreeSet::new();
    for client in 0..100 {
        let source = format!("10.1.0.{client}");
        one.hash = traffic.hash_of(|_| None, || source);
        other.hash = one.hash;
        let first = one.request(at(0), |_| OK);
        assert_eq!((one.request(at(5), |_| OK), other.request(at(9), |_| OK)), (first, first));
        used.insert(first);
    }
    assert_eq!(used.len(), 10);
    // A request without the header goes anywhere.
    one.hash = None;
    let spread = one.spread(at(10), 10, 1000);
    assert!(spread.iter().all(|count| *count > 0), "{spread:?}");
}

#[test]
fn a_retry_goes_where_the_request_has_not_been_as_long_as_there_is_such_a_place() {
    for spec in [
        json!({"loadBalancer": {"type": "leastLatency"}}),
        json!({"loadBalancer": {"type": "roundRobin"}}),
        json!({"loadBalancer": {"type": "consistentHash", "hash": {"by": "source"}}}),
        json!({"loadBalancer": {"locality": {"prefer": ["node"]}}}),
    ] {
        let near = |number| Endpoint {
            proximity: if number < 2 { Proximity::Node } else { Proximity::Zone },
            ..endpoint(number)
        };
        let mut worker = Worker::new(&[0, 1, 2, 3].map(near), traffic(spec.clone()));
        worker.hash = Some(5);
        let mut tried = Vec::new();
        for _ in 0..4 {
            let address = worker.pick(at(0), &tried).address();
            assert!(!tried.contains(&address), "{spec}");
            tried.push(address);
        }
        // All were tried: better again than not at all.
        drop(worker.pick(at(0), &tried));
    }
}

#[test]
fn requests_stay_near_and_spill_over_when_too_few_are_healthy_there() {
    let spec = json!({"loadBalancer": {"locality": {"prefer": ["node", "zone"], "minHealthyPercent": 70}},
        "outlier": {"consecutive5xx": 1, "maxEjectedPercent": 100}});
    let near = |number| Endpoint {
        proximity: [Proximity::Node, Proximity::Zone, Proximity::Zone, Proximity::Zone, Proximity::Elsewhere]
            [number],
        ..endpoint(number)
    };
    let mut worker = Worker::new(&[0, 1, 2, 3, 4].map(near), traffic(spec));
    assert_eq!(worker.spread(at(0), 5, 100), [100, 0, 0, 0, 0]);
    worker.request(at(1), |_| Outcome::Connect);
    // Three of four are healthy in the zone.
    let spread = worker.spread(at(2), 5, 300);
    assert!(spread[1..4].iter().all(|count| *count > 50) && spread[0] + spread[4] == 0, "{spread:?}");
    worker.request(at(3), |_| Outcome::Connect);
    let spread = worker.spread(at(4), 5, 300);
    assert!(spread[4] > 50, "{spread:?}");
}

#[test]
fn what_is_known_of_endpoints_that_stay_stays() {
    let mut worker = Worker::new(&endpoints(2), Arc::default());
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(worker.pick(at(0), &[]));
    }
    worker.balancer.update(&[endpoint(1), endpoint(2)], Arc::default(), at(1));
    let status = worker.balancer.endpoints();
    assert_eq!((status[0].address, status[0].live, status[1].live), (address(1), 5, 0));
    // Tries at one that is gone end without harm, and it comes back as a new one.
    held.into_iter().for_each(|picked| picked.finished(at(2), Outcome::Reset));
    worker.balancer.update(&endpoints(3), Arc::default(), at(3));
    assert!(worker.balancer.endpoints().iter().all(|of| of.live == 0));
}

#[test]
fn an_endpoint_that_is_named_twice_counts_once() {
    let twice = [endpoint(0), endpoint(1), endpoint(0)];
    let mut worker = Worker::new(&twice, traffic(json!({"loadBalancer": {"type": "roundRobin"}})));
    assert_eq!(worker.balancer.endpoints().len(), 2);
    let _held = worker.pick(at(0), &[]);
    worker.balancer.update(&twice, worker.balancer.traffic(), at(1));
    assert_eq!(worker.balancer.endpoints().iter().map(|of| of.live).sum::<u32>(), 1);
}

#[test]
fn the_circuit_breaker_counts_tries_as_long_as_they_are_held() {
    let mut worker = Worker::new(&endpoints(2), traffic(json!({"circuitBreaker": {"maxRequests": 2}})));
    let (first, second) = (worker.pick(at(0), &[]), worker.pick(at(0), &[]));
    let context = PickContext { now: at(0), random: &mut worker.random, hash: None, tried: &[] };
    assert_eq!(worker.balancer.pick(context).err(), Some(PickError::TooMany(Bound::Requests)));
    first.finished(at(1), OK);
    drop(second);
    assert_eq!(worker.balancer.shared().breaker.live(Bound::Requests), 0);
    drop(worker.pick(at(2), &[]));
}

#[test]
fn the_body_says_nothing_about_how_fast_an_endpoint_answers() {
    let mut worker = Worker::new(&endpoints(2), Arc::default());
    for round in 0..200 {
        let picked = worker.pick(at(round * 10), &[]);
        let fast = Duration::from_millis(if picked.address() == address(0) { 1 } else { 9 });
        // The faster one has the longer bodies.
        let body = Duration::from_millis(if picked.address() == address(0) { 900 } else { 1 });
        picked.responded(at(round * 10).after(fast));
        picked.finished(at(round * 10).after(fast + body), OK);
    }
    let spread = worker.spread(at(2_000), 2, 10);
    assert!(spread[0] > spread[1], "{spread:?}");
}

proptest! {
    #[test]
    fn a_pick_is_always_one_of_the_endpoints_there_are(
        kind in 0usize..4,
        steps in vec((0usize..12, 0usize..12, any::<u64>(), 0usize..4, any::<bool>()), 1..60),
    ) {
        let spec = [
            json!({"outlier": {"consecutive5xx": 1}}),
            json!({"loadBalancer": {"type": "roundRobin"}, "outlier": {"consecutive5xx": 2, "maxEjectedPercent": 100}}),
            json!({"loadBalancer": {"type": "consistentHash", "hash": {"by": "source"}}, "outlier": {"consecutive5xx": 1}}),
            json!({"loadBalancer": {"locality": {"prefer": ["zone"]}}, "outlier": {"consecutive5xx": 1}}),
        ][kind].clone();
        let traffic = traffic(spec);
        let mut worker = Worker::new(&[], traffic.clone());
        let mut held = Vec::new();
        for (step, (from, count, key, tried, fails)) in steps.into_iter().enumerate() {
            let now = at(step as u64 * 700);
            let there: Vec<Endpoint> = (from..from + count)
                .map(|number| Endpoint { proximity: if number % 3 == 0 { Proximity::Zone } else { Proximity::Elsewhere }, ..endpoint(number) })
                .collect();
            worker.balancer.update(&there, traffic.clone(), now);
            let tried: Vec<_> = there.iter().take(tried).map(|of| of.address).collect();
            let context = PickContext { now, random: &mut worker.random, hash: Some(key), tried: &tried };
            match worker.balancer.pick(context) {
                Err(_) => prop_assert!(there.is_empty()),
                Ok(picked) => {
                    let address = picked.address();
                    prop_assert!(there.iter().any(|of| of.address == address));
                    if fails { picked.finished(now, Outcome::Reset) } else { held.push(picked) }
                }
            }
            let out = worker.ejected().len();
            let most = traffic.outlier.expect("ejection").max_ejected.of(there.len());
            prop_assert!(out <= most, "{out} of {}", there.len());
        }
        drop(held);
        prop_assert!(worker.balancer.endpoints().iter().all(|of| of.live == 0));
    }
}
