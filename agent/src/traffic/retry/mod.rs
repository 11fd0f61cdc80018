//! Whether a try that failed is followed by another one, and when.
//!
//! Entry point: [`Retry::decide`]. Only what is safe to repeat, whose body was kept, and of whose response
//! the client has seen nothing; inside the budget; when the endpoint wants it. What is decided here says
//! nothing of where the next try goes: that is `balance`'s business.

mod backoff;
mod budget;
pub(super) mod conditions;
mod wishes;

use std::time::Duration;

pub use budget::{Budget, Floor};
pub use conditions::{Conditions, GrpcCodes};

use super::{
    moment::Moment,
    outcome::Outcome,
    random::Random,
    settings::{Backoff, Retry},
};

/// An endpoint that wants to be left alone for longer is: the client gets its answer, and is asked to wait.
const LONGEST_WISH: Duration = Duration::from_secs(5);

/// A try that is over, and what the request was.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The time.
    pub now: Moment,
    /// The time by the calendar, in seconds since 1970: `Retry-After` can be a date.
    pub unix_now: u64,
    /// When the request as a whole must be answered.
    pub deadline: Option<Moment>,
    /// The method, as sent.
    pub method: &'a str,
    /// Whether it is a gRPC call.
    pub grpc: bool,
    /// Whether all of the body that was sent can be sent again; true for a request without one.
    pub body_kept: bool,
    /// Whether the response's head has been sent to the client.
    pub head_sent: bool,
    /// Retries so far.
    pub retries: u32,
    /// How the try ended.
    pub outcome: Outcome,
    /// The response's `retry-after`.
    pub retry_after: Option<&'a str>,
    /// The response's `grpc-retry-pushback-ms`, of headers or trailers.
    pub grpc_push_back: Option<&'a str>,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Another try, after this long. It is already counted in the budget.
    Retry(Duration),
    /// The client gets what this try brought.
    GiveUp(GiveUp),
}

/// Why there is no other try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// Neither policy nor route asks for it after this outcome.
    NotAsked,
    /// The response has begun.
    HeadSent,
    /// All tries were made.
    Attempts,
    /// The method is not idempotent (RFC 9110 §9.2.2), and nobody says that it may be repeated.
    NotRepeatable,
    /// The body was not kept.
    BodyNotKept,
    /// The endpoint does not want it, or not so soon.
    NotWanted,
    /// The request's time would be up.
    NoTime,
    /// The budget is used up.
    Budget,
}

impl GiveUp {
    /// The word for records.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotAsked => "not-asked",
            Self::HeadSent => "head-sent",
            Self::Attempts => "attempts",
            Self::NotRepeatable => "not-repeatable",
            Self::BodyNotKept => "body-not-kept",
            Self::NotWanted => "not-wanted",
            Self::NoTime => "no-time",
            Self::Budget => "budget",
        }
    }
}

/// What a route's own `retry` asks for (HTTPRoute `rules[].retry`); it goes before the policy's, field by
/// field, but the budget stays the policy's.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteRetry<'a> {
    /// `codes`; empty when absent.
    pub codes: &'a [u16],
    /// `attempts`.
    pub attempts: Option<u32>,
    /// `backoff`: no wait between tries is shorter.
    pub backoff: Option<Duration>,
}

impl Retry {
    /// The retries of a route to a Service whose policy asks for `policy`.
    pub fn for_route(policy: Option<&Retry>, route: &RouteRetry<'_>) -> Retry {
        let mut retry = policy.cloned().unwrap_or_default();
        if !route.codes.is_empty() {
            retry.on = retry.on.with_statuses(route.codes);
        }
        retry.attempts = route.attempts.unwrap_or(retry.attempts);
        if let Some(base) = route.backoff.filter(|base| !base.is_zero()) {
            retry.backoff =
                Backoff { least: base, base, max: retry.backoff.max.max(base.saturating_mul(10)) };
        }
        retry
    }

    /// Decides, and takes a retry out of the budget when it is for one.
    pub fn decide(
        &self,
        attempt: &Attempt<'_>,
        budget: &Budget,
        floor: &Floor,
        random: &mut Random,
    ) -> RetryDecision {
        match self.wait(attempt, random) {
            Err(why) => RetryDecision::GiveUp(why),
            // Last, since it has an effect.
            Ok(_) if !budget.take(attempt.now, floor) => RetryDecision::GiveUp(GiveUp::Budget),
            Ok(wait) => RetryDecision::Retry(wait),
        }
    }

    /// How long to wait, if nothing but the budget speaks against it.
    fn wait(&self, attempt: &Attempt<'_>, random: &mut Random) -> Result<Duration, GiveUp> {
        if !self.asks_for(attempt.outcome) {
            return Err(GiveUp::NotAsked);
        }
        if attempt.head_sent {
            return Err(GiveUp::HeadSent);
        }
        if attempt.retries >= self.attempts {
            return Err(GiveUp::Attempts);
        }
        if !attempt.outcome.is_unseen() && !self.may_repeat(attempt) {
            return Err(GiveUp::NotRepeatable);
        }
        if !attempt.body_kept {
            return Err(GiveUp::BodyNotKept);
        }
        let wait = self.wanted(attempt, random)?;
        if attempt.deadline.is_some_and(|deadline| attempt.now.after(wait) >= deadline) {
            return Err(GiveUp::NoTime);
        }
        Ok(wait)
    }

    fn asks_for(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Grpc(code) => self.on_grpc.has(code),
            other => self.on.has(other),
        }
    }

    /// Whether doing the request twice is like doing it once, or somebody says that it does no harm.
    fn may_repeat(&self, attempt: &Attempt<'_>) -> bool {
        let idempotent = matches!(attempt.method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE");
        let allowed = || self.methods.iter().any(|method| **method == *attempt.method);
        // All gRPC calls are POST; who names codes to retry says that these calls may be repeated.
        idempotent || allowed() || attempt.grpc && !self.on_grpc.is_empty()
    }

    /// The wait that the endpoint asks for, or else the backoff.
    fn wanted(&self, attempt: &Attempt<'_>, random: &mut Random) -> Result<Duration, GiveUp> {
        let backoff = self.backoff.wait(attempt.retries, random);
        let push_back = attempt.grpc_push_back.filter(|_| attempt.grpc).map(wishes::push_back);
        let retry_after =
            || attempt.retry_after.and_then(|value| wishes::retry_after(value, attempt.unix_now));
        let (wish, jitter) = match push_back {
            Some(wishes::PushBack::Never) => return Err(GiveUp::NotWanted),
            Some(wishes::PushBack::After(wait)) => (Some(wait), Duration::ZERO),
            // Whole seconds: without the backoff, those who were told the same would come together.
            None => (retry_after(), backoff),
        };
        match wish {
            None => Ok(backoff),
            Some(wish) if wish > LONGEST_WISH => Err(GiveUp::NotWanted),
            Some(wish) => Ok(wish + jitter),
        }
    }
}

#[cfg(test)]
mod tests;
