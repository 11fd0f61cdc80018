//! Each part of a spec, with its ranges and what holds where a field is absent.
//!
//! Entry point: [`traffic`]. Docs: docs/traffic.md, whose tables say the same.

use std::{fmt::Display, ops::RangeInclusive, time::Duration};

use super::super::{
    duration,
    retry::{Conditions, GrpcCodes},
    settings::{
        Algorithm, Backoff, Balancing, BreakerLimits, BudgetSettings, Fault, HashOn, Locality, Outlier,
        Percent, Rate, RateLimits, Retry, SuccessRate, Traffic,
    },
    spec::{
        BackoffSpec, BalancerKind, BudgetSpec, CircuitBreakerSpec, FaultSpec, HashBySpec, HashSpec, LimitBy,
        LoadBalancerSpec, LocalitySpec, LocalityWord, OutlierSpec, RateLimitSpec, RetrySpec, SuccessRateSpec,
        TrafficPolicySpec,
    },
};
use crate::policy::field::{Faults, FieldPath};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const MILLISECOND: Duration = Duration::from_millis(1);

/// What a spec asks for, without the policy's name.
pub(super) fn traffic(path: &FieldPath, spec: &TrafficPolicySpec, faults: &mut Faults) -> Traffic {
    if *spec == (TrafficPolicySpec { target_refs: spec.target_refs.clone(), ..TrafficPolicySpec::default() })
    {
        let message =
            "asks for nothing: name retry, circuitBreaker, outlier, loadBalancer, rateLimits or fault";
        faults.add(path.clone(), "{}", message);
    }
    Traffic {
        policy: None,
        retry: spec.retry.as_ref().map(|spec| retry(&path.key("retry"), spec, faults)),
        breaker: spec
            .circuit_breaker
            .as_ref()
            .map(|spec| breaker(&path.key("circuitBreaker"), spec, faults))
            .unwrap_or_default(),
        outlier: spec.outlier.as_ref().map(|spec| outlier(&path.key("outlier"), spec, faults)),
        balancing: spec
            .load_balancer
            .as_ref()
            .map(|spec| balancing(&path.key("loadBalancer"), spec, faults))
            .unwrap_or_default(),
        rate_limits: spec
            .rate_limits
            .as_ref()
            .map(|spec| rate_limits(&path.key("rateLimits"), spec, faults))
            .unwrap_or_default(),
        fault: spec.fault.as_ref().map(|spec| fault(&path.key("fault"), spec, faults)).unwrap_or_default(),
    }
}

fn retry(path: &FieldPath, spec: &RetrySpec, faults: &mut Faults) -> Retry {
    let default = Retry::default();
    let try_time = spec.per_try_timeout.as_deref();
    let on = faults.list(path.key("retryOn"), spec.retry_on.as_deref(), |text| Conditions::parse(&text.0));
    let on = on.map(|all| all.into_iter().fold(Conditions::NONE, Conditions::or));
    let codes = faults.list(path.key("onGrpc"), spec.on_grpc.as_deref(), |name| GrpcCodes::parse(name));
    let on_grpc = codes.into_iter().flatten().fold(GrpcCodes::default(), GrpcCodes::or);
    let methods = faults.list(path.key("methods"), spec.methods.as_deref(), |text| method(text));
    Retry {
        attempts: number(&path.key("attempts"), spec.attempts, 1..=10, default.attempts, faults),
        per_try_timeout: time(&path.key("perTryTimeout"), try_time, MILLISECOND..=HOUR, faults),
        backoff: spec
            .backoff
            .as_ref()
            .map_or(default.backoff, |spec| backoff(&path.key("backoff"), spec, faults)),
        on: on.unwrap_or(default.on),
        on_grpc,
        methods: methods.unwrap_or_default(),
        max_body: number(
            &path.key("maxBodyBytes"),
            spec.max_body_bytes,
            0..=1 << 20,
            default.max_body as u32,
            faults,
        ) as usize,
        budget: spec.budget.as_ref().map_or(default.budget, |spec| budget(&path.key("budget"), spec, faults)),
    }
}

fn backoff(path: &FieldPath, spec: &BackoffSpec, faults: &mut Faults) -> Backoff {
    let default = Backoff::default();
    if *spec == BackoffSpec::default() {
        faults.add(path.clone(), "{}", NOTHING);
    }
    let base = time(&path.key("base"), spec.base.as_deref(), MILLISECOND..=10 * SECOND, faults);
    let base = base.unwrap_or(default.base);
    let longest = time(&path.key("max"), spec.max.as_deref(), MILLISECOND..=60 * SECOND, faults);
    // Where only the base is given, the most is ten of it, as the defaults are.
    let max = longest.unwrap_or(base * 10);
    if max < base {
        faults.add(path.key("max"), spec.max.as_deref().unwrap_or_default(), "is below base");
    }
    Backoff { base, max, ..default }
}

fn budget(path: &FieldPath, spec: &BudgetSpec, faults: &mut Faults) -> BudgetSettings {
    let default = BudgetSettings::default();
    if *spec == BudgetSpec::default() {
        faults.add(path.clone(), "{}", NOTHING);
    }
    let percent = number(&path.key("percent"), spec.percent, 0..=100, 20, faults);
    let per_second = path.key("minPerSecond");
    let min_per_second = number(&per_second, spec.min_per_second, 0..=10_000, default.min_per_second, faults);
    if (spec.percent, spec.min_per_second) == (Some(0), Some(0)) {
        faults.add(per_second, 0, "with percent 0 no retry is ever allowed: leave spec.retry out");
    }
    let ttl = time(&path.key("ttl"), spec.ttl.as_deref(), SECOND..=60 * SECOND, faults);
    BudgetSettings { share: Percent::of_hundred(percent), min_per_second, ttl: ttl.unwrap_or(default.ttl) }
}

fn breaker(path: &FieldPath, spec: &CircuitBreakerSpec, faults: &mut Faults) -> BreakerLimits {
    if *spec == CircuitBreakerSpec::default() {
        faults.add(path.clone(), "{}", NOTHING);
    }
    let mut bound = |key: &str, value: Option<u32>, least: u32| {
        value.map(|_| number(&path.key(key), value, least..=1_000_000, least, faults))
    };
    BreakerLimits {
        connections: bound("maxConnections", spec.max_connections, 1),
        // 0: nobody waits.
        pending: bound("maxPending", spec.max_pending, 0),
        requests: bound("maxRequests", spec.max_requests, 1),
    }
}

fn outlier(path: &FieldPath, spec: &OutlierSpec, faults: &mut Faults) -> Outlier {
    let consecutive = match (spec.consecutive_5xx, &spec.success_rate) {
        // Somebody who wants success rates compared need not want this.
        (None, Some(_)) => None,
        (given, _) => Some(number(&path.key("consecutive5xx"), given, 1..=1000, 5, faults)),
    };
    let times = SECOND..=HOUR;
    let interval = time(&path.key("interval"), spec.interval.as_deref(), times.clone(), faults);
    let base = time(&path.key("baseEjection"), spec.base_ejection.as_deref(), times.clone(), faults);
    let base_ejection = base.unwrap_or(30 * SECOND);
    let longest = time(&path.key("maxEjection"), spec.max_ejection.as_deref(), SECOND..=24 * HOUR, faults);
    let max_ejection = longest.unwrap_or(base_ejection.max(300 * SECOND));
    if max_ejection < base_ejection {
        faults.add(
            path.key("maxEjection"),
            spec.max_ejection.as_deref().unwrap_or_default(),
            "is below baseEjection",
        );
    }
    let percent = number(&path.key("maxEjectedPercent"), spec.max_ejected_percent, 1..=100, 50, faults);
    Outlier {
        consecutive,
        success_rate: spec
            .success_rate
            .as_ref()
            .map(|spec| success_rate(&path.key("successRate"), spec, faults)),
        interval: interval.unwrap_or(10 * SECOND),
        base_ejection,
        max_ejection,
        max_ejected: Percent::of_hundred(percent),
    }
}

fn success_rate(path: &FieldPath, spec: &SuccessRateSpec, faults: &mut Faults) -> SuccessRate {
    let deviations = spec.deviations.unwrap_or(1.9);
    if !(0.1..=10.0).contains(&deviations) {
        faults.add(path.key("deviations"), deviations, "is a number from 0.1 to 10");
    }
    SuccessRate {
        deviations,
        min_requests: number(&path.key("minRequests"), spec.min_requests, 1..=1_000_000, 100, faults),
        min_endpoints: number(&path.key("minEndpoints"), spec.min_endpoints, 2..=1000, 5, faults),
    }
}

fn balancing(path: &FieldPath, spec: &LoadBalancerSpec, faults: &mut Faults) -> Balancing {
    let algorithm = match (spec.kind, &spec.hash) {
        (BalancerKind::ConsistentHash, Some(hash)) => hash_on(&path.key("hash"), hash, faults),
        (BalancerKind::ConsistentHash, None) => {
            faults.add(
                path.key("hash"),
                "",
                "consistentHash needs it: {by: source}, or {by: header, name: x-user}",
            );
            Algorithm::default()
        }
        (kind, hash) => {
            if hash.is_some() {
                faults.add(path.key("hash"), "present", "only type consistentHash looks at it");
            }
            if kind == BalancerKind::RoundRobin { Algorithm::RoundRobin } else { Algorithm::LeastLatency }
        }
    };
    if spec.kind == BalancerKind::ConsistentHash && spec.locality.is_some() {
        let message =
            "with consistentHash each node would send the same key elsewhere: leave one of them out";
        faults.add(path.key("locality"), "present", message);
    }
    let locality = spec.locality.as_ref().map(|spec| locality(&path.key("locality"), spec, faults));
    Balancing { algorithm, locality }
}

fn hash_on(path: &FieldPath, spec: &HashSpec, faults: &mut Faults) -> Algorithm {
    let by = match (spec.by, spec.name.as_deref()) {
        (Some(HashBySpec::Source), None) => HashOn::Source,
        (Some(HashBySpec::Header), Some(name)) if is_token(name) => {
            HashOn::Header(name.to_ascii_lowercase().into())
        }
        (Some(HashBySpec::Source), Some(name)) => {
            faults.add(path.key("name"), name, "only {by: header} has a name");
            HashOn::Source
        }
        (Some(HashBySpec::Header), name) => {
            faults.add(path.key("name"), name.unwrap_or_default(), "a header has a name, like x-user");
            HashOn::Source
        }
        (None, _) => {
            faults.add(path.key("by"), "", "is header or source");
            HashOn::Source
        }
    };
    Algorithm::ConsistentHash(by)
}

fn locality(path: &FieldPath, spec: &LocalitySpec, faults: &mut Faults) -> Locality {
    let prefer = path.key("prefer");
    match spec.prefer[..] {
        [LocalityWord::Node] | [LocalityWord::Zone] | [LocalityWord::Node, LocalityWord::Zone] => {}
        [] => faults.add(prefer, "[]", "prefers nothing: name node, zone, or both"),
        _ => {
            let given = format!("{:?}", spec.prefer).to_lowercase();
            faults.add(prefer, given, "is [node], [zone] or [node, zone]: the nearer first");
        }
    }
    let least = number(&path.key("minHealthyPercent"), spec.min_healthy_percent, 1..=100, 70, faults);
    Locality {
        node: spec.prefer.contains(&LocalityWord::Node),
        zone: spec.prefer.contains(&LocalityWord::Zone),
        min_healthy: Percent::of_hundred(least),
    }
}

fn rate_limits(path: &FieldPath, spec: &[RateLimitSpec], faults: &mut Faults) -> RateLimits {
    if spec.is_empty() {
        faults.add(path.clone(), "[]", "limits nothing: leave it out");
    }
    let mut limits = RateLimits::default();
    for (index, spec) in spec.iter().enumerate() {
        let path = path.index(index);
        let per_second = path.key("perSecond");
        if spec.per_second.is_none() {
            faults.add(per_second.clone(), "", "is missing");
        }
        let per_second = number(&per_second, spec.per_second, 1..=1_000_000, 1, faults);
        let burst = number(&path.key("burst"), spec.burst, 1..=1_000_000, per_second, faults);
        let place = match spec.by {
            LimitBy::Workload => &mut limits.workload,
            LimitBy::Source => &mut limits.source,
        };
        if place.replace(Rate { per_second, burst }).is_some() {
            faults.add(path.key("by"), spec.by.word(), "there is another limit by the same");
        }
    }
    limits
}

fn fault(path: &FieldPath, spec: &FaultSpec, faults: &mut Faults) -> Fault {
    if *spec == FaultSpec::default() {
        faults.add(path.clone(), "{}", NOTHING);
    }
    let delay = spec.delay.as_ref().map(|spec| {
        let path = path.key("delay");
        let time = time(&path.key("time"), Some(&spec.time), MILLISECOND..=HOUR, faults);
        (percent(&path.key("percent"), spec.percent, faults), time.unwrap_or_default())
    });
    let abort = spec.abort.as_ref().map(|spec| {
        let path = path.key("abort");
        let status = number(&path.key("status"), spec.status, 400..=599, 503, faults);
        (percent(&path.key("percent"), spec.percent, faults), status as u16)
    });
    Fault { delay, abort }
}

const NOTHING: &str = "asks for nothing: leave it out, or name a field of it";

/// A number in its range; `default` when it is absent, or wrong and reported.
fn number(
    path: &FieldPath,
    value: Option<u32>,
    range: RangeInclusive<u32>,
    default: u32,
    faults: &mut Faults,
) -> u32 {
    match value {
        Some(value) if !range.contains(&value) => {
            faults.add(path.clone(), value, out_of(&range));
            default
        }
        value => value.unwrap_or(default),
    }
}

/// A duration in its range; none when it is absent, or wrong and reported.
fn time(
    path: &FieldPath,
    text: Option<&str>,
    range: RangeInclusive<Duration>,
    faults: &mut Faults,
) -> Option<Duration> {
    let text = text?;
    match duration::parse(text) {
        Ok(time) if range.contains(&time) => return Some(time),
        Ok(_) => {
            let [least, most] = [range.start(), range.end()].map(|end| format!("{end:?}"));
            faults.add(path.clone(), text, out_of(&(least..=most)));
        }
        Err(message) => faults.add(path.clone(), text, message),
    }
    None
}

/// A share of requests, down to a ten-thousandth of a percent; it must be given.
fn percent(path: &FieldPath, value: Option<f64>, faults: &mut Faults) -> Percent {
    match value {
        Some(value) if (0.0..=100.0).contains(&value) => {
            Percent::from_millionths((value * 10_000.0).round() as u32)
        }
        Some(value) => {
            faults.add(path.clone(), value, out_of(&(0..=100)));
            Percent::NONE
        }
        None => {
            faults.add(path.clone(), "", "is missing");
            Percent::NONE
        }
    }
}

fn out_of<T: Display>(range: &RangeInclusive<T>) -> String {
    format!("must be from {} to {}", range.start(), range.end())
}

/// A method that can be allowed (RFC 9110 §9.1).
fn method(text: &str) -> Result<Box<str>, String> {
    if !is_token(text) || text.bytes().any(|octet| octet.is_ascii_lowercase()) {
        return Err("a method is in upper case, like POST".into());
    }
    Ok(text.into())
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
    !text.is_empty() && text.bytes().all(allowed)
}
