//! `spec.rules` of both kinds of route.
//!
//! Entry point: `Compiler::rules` (Gateway API, `HTTPRouteRule`, `GRPCRouteRule`).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{Compiler, MOST_MATCHES_IN_ALL, MOST_RULES, values};
use crate::{
    policy::field::FieldPath,
    state::routes::{
        route::{Matches, Retry, RouteRule, Timeouts},
        spec::{BackendRefSpec, FilterSpec, GrpcRuleSpec, HttpRuleSpec, RetrySpec, TimeoutsSpec},
    },
};

/// What both kinds of rule have.
pub(super) trait RuleSpec {
    fn name(&self) -> Option<&str>;
    fn filters(&self) -> &[FilterSpec];
    fn backends(&self) -> &[BackendRefSpec];
    fn has_session_persistence(&self) -> bool;
    fn match_count(&self) -> usize;
    fn matches(&self, path: &FieldPath, compiler: &mut Compiler<'_>) -> Option<Matches>;
    fn timeouts(&self) -> Option<&TimeoutsSpec> {
        None
    }
    fn retry(&self) -> Option<&RetrySpec> {
        None
    }
}

/// What the two kinds of rules write alike.
macro_rules! as_written {
    () => {
        fn name(&self) -> Option<&str> {
            self.name.as_deref()
        }

        fn filters(&self) -> &[FilterSpec] {
            self.filters.as_deref().unwrap_or_default()
        }

        fn backends(&self) -> &[BackendRefSpec] {
            self.backend_refs.as_deref().unwrap_or_default()
        }

        fn has_session_persistence(&self) -> bool {
            self.session_persistence.is_some()
        }

        fn match_count(&self) -> usize {
            self.matches.as_deref().unwrap_or_default().len()
        }
    };
}

impl RuleSpec for HttpRuleSpec {
    as_written!();

    fn matches(&self, path: &FieldPath, compiler: &mut Compiler<'_>) -> Option<Matches> {
        compiler.http_matches(path, self.matches.as_deref().unwrap_or_default())
    }

    fn timeouts(&self) -> Option<&TimeoutsSpec> {
        self.timeouts.as_ref()
    }

    fn retry(&self) -> Option<&RetrySpec> {
        self.retry.as_ref()
    }
}

impl RuleSpec for GrpcRuleSpec {
    as_written!();

    fn matches(&self, path: &FieldPath, compiler: &mut Compiler<'_>) -> Option<Matches> {
        compiler.grpc_matches(path, self.matches.as_deref().unwrap_or_default())
    }
}

impl Compiler<'_> {
    /// How many rules are written, and those that a request can match.
    pub(super) fn rules<R: RuleSpec>(
        &mut self,
        path: &FieldPath,
        given: &[R],
    ) -> (usize, Vec<Arc<RouteRule>>) {
        self.at_most(path, given.len(), MOST_RULES);
        let matches: usize = given.iter().map(R::match_count).sum();
        if matches > MOST_MATCHES_IN_ALL {
            let message = format!("all rules together must have at most {MOST_MATCHES_IN_ALL} matches");
            self.faults.add(path.clone(), format!("{matches} matches"), message);
        }
        let mut names = BTreeSet::new();
        let mut rules = Vec::new();
        for (index, given) in given.iter().enumerate() {
            self.rule = index;
            let path = path.index(index);
            if let Some(name) = given.name() {
                self.parsed(path.key("name"), name, values::name(name));
                if !names.insert(name) {
                    self.faults.add(path.key("name"), name, "another rule has this name");
                }
            }
            rules.extend(self.one_rule(&path, index, given).map(Arc::new));
        }
        (given.len(), rules)
    }

    fn one_rule<R: RuleSpec>(&mut self, path: &FieldPath, index: usize, given: &R) -> Option<RouteRule> {
        let matches = given.matches(&path.key("matches"), self);
        let filters = self.filters(&path.key("filters"), given.filters(), matches.as_ref());
        let backends = self.backends(&path.key("backendRefs"), given.backends(), matches.as_ref());
        let timeouts = self.timeouts(&path.key("timeouts"), given.timeouts());
        let retry = given.retry().map(|retry| self.retry(&path.key("retry"), retry));
        if given.has_session_persistence() {
            self.faults.add(path.key("sessionPersistence"), "", "is not supported");
        }
        let redirects = filters.filters.redirect.is_some();
        if redirects && !given.backends().is_empty() {
            let message = "must be absent in a rule that redirects";
            self.faults.add(path.key("backendRefs"), format!("{} entries", given.backends().len()), message);
        } else if !redirects && filters.unusable.is_none() {
            let backends = path.key("backendRefs");
            if given.backends().is_empty() {
                self.warn(&backends, "is missing, so that requests are answered with 500");
            } else if given.backends().iter().all(|backend| backend.weight == Some(0)) {
                self.warn(&backends, "no backend has any weight, so that requests are answered with 500");
            }
        }
        Some(RouteRule {
            reference: self.rule_ref(index, given.name()),
            matches: matches?,
            filters: Arc::new(filters.filters),
            mirrors: filters.mirrors,
            backends,
            timeouts,
            retry,
            unusable: filters.unusable,
        })
    }

    fn duration(&mut self, path: FieldPath, text: Option<&str>) -> Option<Duration> {
        text.and_then(|text| self.parsed(path, text, values::duration(text)))
    }

    fn timeouts(&mut self, path: &FieldPath, given: Option<&TimeoutsSpec>) -> Timeouts {
        let Some(given) = given else {
            return Timeouts::default();
        };
        let request = self.duration(path.key("request"), given.request.as_deref());
        let backend_request = self.duration(path.key("backendRequest"), given.backend_request.as_deref());
        if let (Some(request), Some(one)) = (request, backend_request)
            && !request.is_zero()
            && one > request
        {
            let value = given.backend_request.as_deref().unwrap_or_default();
            self.faults.add(path.key("backendRequest"), value, "must not be longer than request");
        }
        Timeouts { request, backend_request }
    }

    fn retry(&mut self, path: &FieldPath, given: &RetrySpec) -> Retry {
        let codes = path.key("codes");
        let given_codes = given.codes.as_deref().unwrap_or_default();
        let mut parsed: Vec<u16> = given_codes
            .iter()
            .enumerate()
            .filter_map(|(index, code)| self.within(codes.index(index), *code, 400, 599))
            .filter_map(|code| u16::try_from(code).ok())
            .collect();
        parsed.sort_unstable();
        parsed.dedup();
        let attempts = given.attempts.and_then(|most| self.within(path.key("attempts"), most, 1, u32::MAX));
        let backoff = self.duration(path.key("backoff"), given.backoff.as_deref());
        Retry { codes: parsed, attempts, backoff }
    }
}
