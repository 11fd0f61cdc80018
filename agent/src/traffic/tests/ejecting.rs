//! Endpoints that are left alone for a time, and come back.

use serde_json::json;

use super::{Worker, address, at, endpoint, endpoints, traffic};
use crate::{
    addr::EndpointAddr,
    traffic::{Counts, Outcome},
};

const OK: Outcome = Outcome::Status(200);

/// Everyone answers, but for endpoint 0.
fn first_fails(address: EndpointAddr) -> Outcome {
    if address == self::address(0) { Outcome::Status(500) } else { OK }
}

/// Takes turns, so that each endpoint gets its share of requests even when it fails.
fn worker(count: usize, outlier: serde_json::Value) -> Worker {
    let spec = json!({"outlier": outlier, "loadBalancer": {"type": "roundRobin"}});
    Worker::new(&endpoints(count), traffic(spec))
}

/// `count` requests, one each millisecond from `from` on.
fn run(
    worker: &mut Worker,
    from: u64,
    count: u64,
    outcome: fn(EndpointAddr) -> Outcome,
) -> Vec<EndpointAddr> {
    (from..from + count).map(|millis| worker.request(at(millis), outcome)).collect()
}

#[test]
fn an_endpoint_that_fails_in_a_row_is_left_alone_and_comes_back_after_a_growing_time() {
    let mut worker = worker(4, json!({"consecutive5xx": 3, "baseEjection": "10s", "maxEjection": "1m"}));
    run(&mut worker, 0, 12, first_fails);
    assert_eq!(worker.ejected(), [address(0)]);
    assert!(!run(&mut worker, 100, 100, first_fails).contains(&address(0)));
    let until = worker.balancer.endpoints()[0].ejected_until.expect("it is out");
    assert!(at(10_000) <= until && until <= at(10_020), "{until:?}");

    // It still fails: the next time is longer.
    let back = run(&mut worker, 10_020, 12, first_fails);
    assert_eq!(back.iter().filter(|of| **of == address(0)).count(), 3);
    let until = worker.balancer.endpoints()[0].ejected_until.expect("it is out again");
    assert!(at(30_000) <= until && until <= at(30_050), "{until:?}");
    assert!(!run(&mut worker, 29_000, 100, first_fails).contains(&address(0)));

    // It does well: it stays, and what it did is forgotten.
    let back = run(&mut worker, 30_050, 400, |_| OK);
    assert_eq!(back.iter().filter(|of| **of == address(0)).count(), 100);
    for interval in 4..12 {
        run(&mut worker, interval * 10_100, 4, |_| OK);
    }
    run(&mut worker, 200_000, 12, first_fails);
    let until = worker.balancer.endpoints()[0].ejected_until.expect("it is out once more");
    assert!(until <= at(210_020), "{until:?}");
    assert_eq!(worker.balancer.counts().ejections, 3);
}

#[test]
fn never_more_than_a_share_of_the_endpoints_is_out() {
    let mut worker = worker(10, json!({"consecutive5xx": 2, "maxEjectedPercent": 30}));
    run(&mut worker, 0, 500, |_| Outcome::Reset);
    assert_eq!(worker.ejected().len(), 3);
    assert!(worker.balancer.counts().ejections_held_back > 100);
}

#[test]
fn the_only_endpoint_is_never_left_alone() {
    let mut worker = worker(1, json!({"consecutive5xx": 1}));
    assert_eq!(run(&mut worker, 0, 50, first_fails), [address(0); 50]);
    assert_eq!((worker.ejected(), worker.balancer.counts().ejections), (vec![], 0));
}

#[test]
fn when_all_are_out_all_get_requests() {
    let mut worker = worker(3, json!({"consecutive5xx": 1, "maxEjectedPercent": 100}));
    run(&mut worker, 0, 3, |_| Outcome::Connect);
    assert_eq!(worker.ejected().len(), 3);
    assert_eq!(worker.spread(at(10), 3, 30), [10, 10, 10]);
}

#[test]
fn when_healthy_endpoints_go_those_that_are_out_come_back_early() {
    let mut worker = worker(4, json!({"consecutive5xx": 1, "maxEjectedPercent": 50}));
    run(&mut worker, 0, 4, |of| if of < address(2) { Outcome::Reset } else { OK });
    assert_eq!(worker.ejected(), [address(0), address(1)]);
    let traffic = worker.balancer.traffic();
    worker.balancer.update(&[endpoint(0), endpoint(1), endpoint(2)], traffic, at(100));
    assert_eq!(worker.ejected().len(), 1, "one of three");
}

#[test]
fn a_policy_that_ejects_no_more_takes_all_back() {
    let mut worker = worker(4, json!({"consecutive5xx": 1}));
    run(&mut worker, 0, 4, first_fails);
    assert_eq!(worker.ejected(), [address(0)]);
    worker.balancer.update(&endpoints(4), traffic(json!({"loadBalancer": {"type": "roundRobin"}})), at(10));
    assert_eq!(worker.ejected(), []);
    assert!(worker.spread(at(20), 4, 400).iter().all(|count| *count > 0));
}

#[test]
fn an_endpoint_that_succeeds_less_than_its_peers_is_left_alone_at_the_end_of_the_interval() {
    let rates = json!({"successRate": {"minRequests": 20}, "interval": "1s"});
    let half_fails = |of: EndpointAddr| {
        // Endpoint 0 fails whenever it is asked at an even turn, so never many in a row.
        if of == address(0) { Outcome::Grpc(14) } else { OK }
    };
    let mut worker = worker(6, rates);
    for turn in 0..40 {
        run(&mut worker, turn * 20, 6, if turn % 2 == 0 { half_fails } else { |_| OK });
    }
    assert_eq!(worker.ejected(), [], "the interval is not over");
    run(&mut worker, 1_000, 1, |_| OK);
    assert_eq!(worker.ejected(), [address(0)]);
    assert_eq!(worker.balancer.counts(), Counts { ejections: 1, ..Counts::default() });
    // Requests of one interval do not count in the next.
    run(&mut worker, 40_000, 6, half_fails);
    run(&mut worker, 42_000, 6, |_| OK);
    assert_eq!(worker.ejected(), []);
}

#[test]
fn a_client_that_goes_away_says_nothing() {
    let mut worker = worker(4, json!({"consecutive5xx": 2}));
    run(&mut worker, 0, 100, |_| Outcome::Cancelled);
    (100..200).for_each(|millis| drop(worker.pick(at(millis), &[])));
    assert_eq!(worker.ejected(), []);
}
