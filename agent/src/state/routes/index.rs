//! The routes of one port of a Service, and how a request finds its rule among them.
//!
//! Entry point: [`Routes::find`]. Matches are kept in the order of their ranks, and filed by what a
//! request can be looked up with: an exact path, the prefixes of a path, a gRPC service. So finding
//! costs one look-up for each length that a prefix has, and a comparison for each match that is filed
//! under the same path.

use std::{collections::HashMap, sync::Arc};

use super::{
    matching::{GrpcMatch, HttpMatch, PathMatch, RequestView, grpc_call, is_below},
    pattern::TextMatch,
    rank::Rank,
    route::{Matches, Route, RouteKind},
    rule::Rule,
};

/// The routes that attach to one port of a Service, for clients for whom the same ones count.
#[derive(Clone, Debug, PartialEq)]
pub struct Routes {
    /// HTTPRoutes or GRPCRoutes, never both (GEP-1294).
    pub kind: RouteKind,
    rules: Vec<Arc<Rule>>,
    table: Table,
}

#[derive(Clone, Debug, PartialEq)]
enum Table {
    Http(HttpTable),
    Grpc(GrpcTable),
}

/// Each list is in the order of ranks. The lists themselves come in the order exact, expressions,
/// prefixes from the longest: so the first match that fits is the one that wins.
#[derive(Clone, Debug, Default, PartialEq)]
struct HttpTable {
    exact: HashMap<Box<str>, Vec<Filed<HttpMatch>>>,
    expressions: Vec<Filed<HttpMatch>>,
    prefixes: HashMap<Box<str>, Vec<Filed<HttpMatch>>>,
    /// The lengths of the prefixes, the longest first.
    lengths: Vec<usize>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct GrpcTable {
    exact: HashMap<Box<str>, Vec<Filed<GrpcMatch>>>,
    /// Those whose service is an expression or not given.
    others: Vec<Filed<GrpcMatch>>,
}

/// A match, and its rule's place among the rules.
#[derive(Clone, Debug, PartialEq)]
struct Filed<M> {
    fits: M,
    rule: usize,
}

impl Routes {
    /// Files the rules of `routes`, which are all of the kind `kind`. Their order does not matter.
    pub(super) fn new(kind: RouteKind, routes: &[(&Route, &[Arc<Rule>])]) -> Self {
        let mut rules = Vec::new();
        let mut http: Vec<(Rank, Filed<HttpMatch>)> = Vec::new();
        let mut grpc: Vec<(Rank, Filed<GrpcMatch>)> = Vec::new();
        for (route, resolved) in routes {
            for (written, rule) in route.rules.iter().zip(*resolved) {
                let (at, index) = (rules.len(), written.reference.index);
                rules.push(rule.clone());
                match &written.matches {
                    Matches::Http(matches) => http.extend(matches.iter().map(|fits| {
                        (Rank::of_http(fits, route, index), Filed { fits: fits.clone(), rule: at })
                    })),
                    Matches::Grpc(matches) => grpc.extend(matches.iter().map(|fits| {
                        (Rank::of_grpc(fits, route, index), Filed { fits: fits.clone(), rule: at })
                    })),
                }
            }
        }
        let table = match kind {
            RouteKind::Http => Table::Http(HttpTable::new(http)),
            RouteKind::Grpc => Table::Grpc(GrpcTable::new(grpc)),
        };
        Self { kind, rules, table }
    }

    /// The rule that a request gets. None: no rule matches it, and it is answered with 404.
    pub fn find(&self, request: &RequestView<'_>) -> Option<&Arc<Rule>> {
        let rule = match &self.table {
            Table::Http(table) => table.find(request),
            Table::Grpc(table) => table.find(request),
        };
        self.rules.get(rule?)
    }

    /// Every rule that a request can get, in no order.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter()
    }
}

impl HttpTable {
    fn new(mut matches: Vec<(Rank, Filed<HttpMatch>)>) -> Self {
        matches.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut table = Self::default();
        for (_, filed) in matches {
            match &filed.fits.path {
                PathMatch::Exact(path) => table.exact.entry(path.clone()).or_default().push(filed),
                PathMatch::Prefix(prefix) => table.prefixes.entry(prefix.clone()).or_default().push(filed),
                PathMatch::Regex(_) => table.expressions.push(filed),
            }
        }
        table.lengths = table.prefixes.keys().map(|prefix| prefix.len()).collect();
        table.lengths.sort_unstable_by(|one, other| other.cmp(one));
        table.lengths.dedup();
        table
    }

    fn find(&self, request: &RequestView<'_>) -> Option<usize> {
        let path = request.path;
        let fits = |filed: &&Filed<HttpMatch>| filed.fits.fits_beside_path(request);
        let exact = self.exact.get(path).into_iter().flatten();
        let expressions = self.expressions.iter().filter(|filed| filed.fits.fits(request));
        let prefixes = self.lengths.iter().flat_map(|length| {
            let prefix = path.get(..*length).filter(|prefix| is_below(path, prefix));
            prefix.and_then(|prefix| self.prefixes.get(prefix)).into_iter().flatten()
        });
        let exact = exact.filter(fits);
        let mut found = exact.chain(expressions).chain(prefixes.filter(fits));
        found.next().map(|filed| filed.rule)
    }
}

impl GrpcTable {
    fn new(mut matches: Vec<(Rank, Filed<GrpcMatch>)>) -> Self {
        matches.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut table = Self::default();
        for (_, filed) in matches {
            match &filed.fits.service {
                Some(TextMatch::Exact(service)) => {
                    table.exact.entry(service.clone()).or_default().push(filed);
                }
                Some(TextMatch::Regex(_)) | None => table.others.push(filed),
            }
        }
        table
    }

    fn find(&self, request: &RequestView<'_>) -> Option<usize> {
        let call = grpc_call(request.path);
        let exact = call.and_then(|(service, _)| self.exact.get(service)).into_iter().flatten();
        let mut found = exact.chain(&self.others).filter(|filed| filed.fits.fits(call, request));
        found.next().map(|filed| filed.rule)
    }
}
