//! Which match comes before which, where a request fits several.
//!
//! Entry points: [`Rank::of_http`], [`Rank::of_grpc`]: the smallest rank wins. From the doc comments of
//! `HTTPRouteRule.matches` and `GRPCRouteRule.matches`. Where a regular expression stands is left to the
//! implementation: here it is behind what is exact and before what is a prefix or anything, and of two
//! expressions the longer one comes first.

use std::cmp::Reverse;

use super::{
    matching::{GrpcMatch, HttpMatch, PathMatch},
    pattern::TextMatch,
    route::Route,
};

/// A place in the order of matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    by_match: Specificity,
    /// Those without a time come last: a file need not have one.
    by_age: (bool, Option<i64>),
    /// `{namespace}/{name}` as one text: there `a-b/x` is before `a/x`.
    by_name: String,
    by_rule: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    Http { path: (u8, Reverse<usize>), any_method: bool, headers: Reverse<usize>, query: Reverse<usize> },
    Grpc { service: (u8, Reverse<usize>), method: (u8, Reverse<usize>), headers: Reverse<usize> },
}

impl Rank {
    pub(super) fn of_http(http: &HttpMatch, route: &Route, rule: usize) -> Self {
        let path = match &http.path {
            PathMatch::Exact(text) => (0, Reverse(text.len())),
            PathMatch::Regex(pattern) => (1, Reverse(pattern.len())),
            PathMatch::Prefix(text) => (2, Reverse(text.len())),
        };
        let by_match = Specificity::Http {
            path,
            any_method: http.method.is_none(),
            headers: Reverse(http.headers.len()),
            query: Reverse(http.query.len()),
        };
        Self::new(by_match, route, rule)
    }

    pub(super) fn of_grpc(grpc: &GrpcMatch, route: &Route, rule: usize) -> Self {
        let part = |part: &Option<TextMatch>| match part {
            Some(text @ TextMatch::Exact(_)) => (0, Reverse(text.len())),
            Some(text @ TextMatch::Regex(_)) => (1, Reverse(text.len())),
            None => (2, Reverse(0)),
        };
        let by_match = Specificity::Grpc {
            service: part(&grpc.service),
            method: part(&grpc.method),
            headers: Reverse(grpc.headers.len()),
        };
        Self::new(by_match, route, rule)
    }

    fn new(by_match: Specificity, route: &Route, rule: usize) -> Self {
        let by_age = (route.created.is_none(), route.created);
        Self { by_match, by_age, by_name: route.key.name.to_string(), by_rule: rule }
    }
}
