//! What is tried again, and that retries do not become the load.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use super::{Attempt, Budget, Conditions, Floor, GiveUp, GrpcCodes, RetryDecision, RouteRetry};
use crate::traffic::{
    moment::Moment,
    outcome::Outcome,
    random::Random,
    settings::{Backoff, BudgetSettings, Percent, Retry},
};

/// A GET without a body that was answered with 503.
fn attempt() -> Attempt<'static> {
    Attempt {
        now: Moment::default(),
        unix_now: 0,
        deadline: None,
        method: "GET",
        grpc: false,
        body_kept: true,
        head_sent: false,
        retries: 0,
        outcome: Outcome::Status(503),
        retry_after: None,
        grpc_push_back: None,
    }
}

/// A gRPC call that was answered with UNAVAILABLE.
fn call() -> Attempt<'static> {
    Attempt { method: "POST", grpc: true, outcome: Outcome::Grpc(14), ..attempt() }
}

fn unavailable() -> Retry {
    let on_grpc = GrpcCodes::parse("UNAVAILABLE").expect("a code");
    Retry { on_grpc, ..Retry::default() }
}

/// What is decided with plenty of budget.
fn decide(retry: &Retry, attempt: Attempt<'_>) -> RetryDecision {
    let budget = Budget::new(BudgetSettings { share: Percent::ALL, ..retry.budget });
    (0..10).for_each(|_| budget.began(attempt.now));
    retry.decide(&attempt, &budget, &Floor::default(), &mut Random::seeded(3))
}

fn waits(retry: &Retry, attempt: Attempt<'_>) -> Duration {
    match decide(retry, attempt) {
        RetryDecision::Retry(wait) => wait,
        RetryDecision::GiveUp(why) => panic!("gave up: {why:?}"),
    }
}

#[test]
fn only_what_is_safe_to_repeat_is_repeated() {
    let default = Retry::default();
    let post_allowed = Retry { methods: vec!["POST".into()], ..Retry::default() };
    let listed = unavailable();
    let post = Attempt { method: "POST", ..attempt() };
    let begun = Attempt { head_sent: true, ..attempt() };
    let streamed = Attempt { body_kept: false, method: "PUT", ..attempt() };
    for (what, retry, attempt, wanted) in [
        ("an idempotent request", &default, attempt(), None),
        ("PUT", &default, Attempt { method: "PUT", ..attempt() }, None),
        ("get is no method", &default, Attempt { method: "get", ..attempt() }, Some(GiveUp::NotRepeatable)),
        ("POST", &default, post, Some(GiveUp::NotRepeatable)),
        ("POST, reset", &default, Attempt { outcome: Outcome::Reset, ..post }, Some(GiveUp::NotRepeatable)),
        ("POST, not connected", &default, Attempt { outcome: Outcome::Connect, ..post }, None),
        ("POST, refused", &default, Attempt { outcome: Outcome::Refused, ..post }, None),
        ("POST, allowed", &post_allowed, post, None),
        (
            "PATCH, POST allowed",
            &post_allowed,
            Attempt { method: "PATCH", ..post },
            Some(GiveUp::NotRepeatable),
        ),
        ("a body that is gone", &default, streamed, Some(GiveUp::BodyNotKept)),
        (
            "a body that is gone, not connected",
            &default,
            Attempt { outcome: Outcome::Connect, ..streamed },
            Some(GiveUp::BodyNotKept),
        ),
        ("after the head", &default, begun, Some(GiveUp::HeadSent)),
        (
            "a good response",
            &default,
            Attempt { outcome: Outcome::Status(200), ..attempt() },
            Some(GiveUp::NotAsked),
        ),
        (
            "500 is not listed",
            &default,
            Attempt { outcome: Outcome::Status(500), ..attempt() },
            Some(GiveUp::NotAsked),
        ),
        (
            "the client left",
            &default,
            Attempt { outcome: Outcome::Cancelled, ..attempt() },
            Some(GiveUp::NotAsked),
        ),
        ("the last try", &default, Attempt { retries: 2, ..attempt() }, Some(GiveUp::Attempts)),
        ("a call, nothing listed", &default, call(), Some(GiveUp::NotAsked)),
        (
            "a call, reset",
            &default,
            Attempt { outcome: Outcome::Reset, ..call() },
            Some(GiveUp::NotRepeatable),
        ),
        ("a call, listed", &listed, call(), None),
        (
            "a call, another code",
            &listed,
            Attempt { outcome: Outcome::Grpc(13), ..call() },
            Some(GiveUp::NotAsked),
        ),
        ("a call, listed, reset", &listed, Attempt { outcome: Outcome::Reset, ..call() }, None),
        ("POST beside listed calls", &listed, post, Some(GiveUp::NotRepeatable)),
    ] {
        let found = match decide(retry, attempt) {
            RetryDecision::Retry(_) => None,
            RetryDecision::GiveUp(why) => Some(why),
        };
        assert_eq!(found, wanted, "{what}");
    }
}

#[test]
fn the_endpoint_says_when_it_wants_to_be_asked_again() {
    let (default, listed) = (Retry::default(), unavailable());
    let most = default.backoff.max;
    assert!(waits(&default, attempt()) < default.backoff.base);
    let wait = waits(&default, Attempt { retry_after: Some("2"), ..attempt() });
    assert!((Duration::from_secs(2)..Duration::from_secs(2) + most).contains(&wait), "{wait:?}");
    assert!(waits(&default, Attempt { retry_after: Some("soon"), ..attempt() }) < most);
    let long = Attempt { retry_after: Some("6"), ..attempt() };
    assert_eq!(decide(&default, long), RetryDecision::GiveUp(GiveUp::NotWanted));

    let pushed = |value| Attempt { grpc_push_back: Some(value), retry_after: Some("3"), ..call() };
    assert_eq!(waits(&listed, pushed("70")), Duration::from_millis(70));
    for value in ["-1", "no", "5001"] {
        assert_eq!(decide(&listed, pushed(value)), RetryDecision::GiveUp(GiveUp::NotWanted), "{value}");
    }
    // Only gRPC has it.
    assert!(waits(&default, Attempt { grpc_push_back: Some("-1"), ..attempt() }) < most);
}

#[test]
fn a_retry_that_would_come_too_late_is_not_made() {
    let deadline = Some(Moment::at(Duration::from_secs(1)));
    let late = Attempt { deadline, retry_after: Some("1"), ..attempt() };
    assert_eq!(decide(&Retry::default(), late), RetryDecision::GiveUp(GiveUp::NoTime));
    assert!(waits(&Retry::default(), Attempt { deadline, ..attempt() }) < Duration::from_secs(1));
}

#[test]
fn without_budget_there_is_no_retry_and_a_refusal_takes_nothing_out_of_it() {
    let retry = Retry::default();
    let (floor, mut random) = (Floor::default(), Random::seeded(1));
    let settings =
        BudgetSettings { share: Percent::of_hundred(20), min_per_second: 0, ttl: Duration::from_secs(10) };
    let budget = Budget::new(settings);
    (0..5).for_each(|_| budget.began(Moment::default()));
    let mut decide = |attempt| retry.decide(&attempt, &budget, &floor, &mut random);
    for _ in 0..5 {
        assert_eq!(decide(Attempt { head_sent: true, ..attempt() }), RetryDecision::GiveUp(GiveUp::HeadSent));
    }
    assert!(matches!(decide(attempt()), RetryDecision::Retry(_)));
    assert_eq!(decide(attempt()), RetryDecision::GiveUp(GiveUp::Budget));
}

#[test]
fn a_route_asks_for_its_own_retries_within_the_policys_budget() {
    let policy =
        Retry { budget: BudgetSettings { min_per_second: 3, ..BudgetSettings::default() }, ..unavailable() };
    let route = RouteRetry { codes: &[500], attempts: Some(7), backoff: Some(Duration::from_millis(100)) };
    let retry = Retry::for_route(Some(&policy), &route);
    assert_eq!((retry.attempts, retry.budget, retry.on_grpc), (7, policy.budget, policy.on_grpc));
    assert!(retry.on.has(Outcome::Status(500)) && !retry.on.has(Outcome::Status(503)));
    assert!(retry.on.has(Outcome::Reset), "GEP-1731: a failed connection is always retried");
    assert!(
        waits(&retry, Attempt { outcome: Outcome::Status(500), ..attempt() }) >= Duration::from_millis(100)
    );
    assert_eq!(Retry::for_route(Some(&policy), &RouteRetry::default()), policy);
    assert_eq!(Retry::for_route(None, &RouteRetry::default()), Retry::default());
}

/// What a simulation saw: how many requests began, and how many tries were sent, in each second.
#[derive(Default)]
struct Load {
    requests: Vec<u64>,
    tries: Vec<u64>,
}

/// `per_second` requests over `seconds`, on four workers; each try takes 5 ms, and fails from second
/// `fails_from` on. Every failure asks for another try.
fn simulate(retry: &Retry, per_second: u64, seconds: u64, fails_from: u64) -> Load {
    let floor = Floor::default();
    let workers: Vec<Budget> = (0..4).map(|_| Budget::new(retry.budget)).collect();
    let mut random = Random::seeded(42);
    let mut load = Load { requests: vec![0; seconds as usize], tries: vec![0; seconds as usize + 10] };
    // (when, request, retries so far), earliest first.
    let mut events = BinaryHeap::new();
    for request in 0..per_second * seconds {
        events.push(Reverse((request * 1_000_000 / per_second, request, 0u32)));
    }
    while let Some(Reverse((micros, request, retries))) = events.pop() {
        let budget = &workers[(request % 4) as usize];
        let now = Moment::at(Duration::from_micros(micros));
        let second = (micros / 1_000_000) as usize;
        load.tries[second] += 1;
        if retries == 0 {
            load.requests[second] += 1;
            budget.began(now);
        }
        if (second as u64) < fails_from {
            continue;
        }
        let now = now.after(Duration::from_millis(5));
        let attempt = Attempt { now, retries, ..attempt() };
        if let RetryDecision::Retry(wait) = retry.decide(&attempt, budget, &floor, &mut random) {
            events.push(Reverse((micros + 5_000 + wait.as_micros() as u64, request, retries + 1)));
        }
    }
    load
}

#[test]
fn under_total_failure_the_load_stays_below_1_2_times_the_original() {
    let retry = Retry { attempts: 3, ..Retry::default() };
    for (per_second, fails_from) in [(100, 0), (1000, 0), (1000, 15), (5000, 3)] {
        let load = simulate(&retry, per_second, 30, fails_from);
        let (requests, tries): (u64, u64) = (load.requests.iter().sum(), load.tries.iter().sum());
        assert!(tries > requests, "some are retried");
        assert!(tries * 10 <= requests * 12, "{per_second}: {tries} tries of {requests} requests");
        // The first second of a failure, too: nothing was saved up. What the floor had, and one retry for
        // each worker, may come on top.
        for (second, (requests, tries)) in load.requests.iter().zip(&load.tries).enumerate() {
            let most = requests * 12 / 10 + u64::from(retry.budget.min_per_second) + 4;
            assert!(*tries <= most, "{per_second}, second {second}: {tries} tries of {requests}");
        }
    }
}

#[test]
fn the_simulation_would_see_a_retry_storm() {
    let budget =
        BudgetSettings { share: Percent::ALL, min_per_second: 1_000_000, ..BudgetSettings::default() };
    let retry = Retry { attempts: 3, budget, ..Retry::default() };
    let load = simulate(&retry, 1000, 10, 0);
    assert_eq!(load.tries.iter().sum::<u64>(), 4 * load.requests.iter().sum::<u64>());
}

#[test]
fn a_quiet_service_gets_its_retries_from_the_floor() {
    let retry =
        Retry { attempts: 1, on: Conditions::default(), backoff: Backoff::default(), ..Retry::default() };
    let load = simulate(&retry, 5, 10, 0);
    let (requests, tries): (u64, u64) = (load.requests.iter().sum(), load.tries.iter().sum());
    assert_eq!(tries, 2 * requests);
}
