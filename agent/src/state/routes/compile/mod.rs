//! From the spec that an operator wrote to a [`Route`].
//!
//! Entry points: [`Route::http`], [`Route::grpc`]. Two kinds of wrong are told apart. A value that the
//! specification wants answered with `UnsupportedValue` (a word that is not known, a filter that Weir
//! does not have) makes its rule unusable and leaves the others in force. Everything else, which the
//! API server mostly would not have taken, refuses the object, and its last good version stays.

mod backends;
mod filters;
mod matches;
mod parents;
mod rules;
mod values;

use std::{fmt, sync::Arc};

use serde_json::Value;

use super::{
    route::{Route, RouteKey, RouteKind, RouteMeta, RouteRule, RuleFault, RuleRef},
    spec::{GrpcRouteSpec, HttpRouteSpec, HttpRuleSpec, ParentRefSpec},
};
use crate::{
    policy::{
        FieldError, Warning,
        field::{Fault, Faults, FieldPath},
        read,
    },
    state::model::NamespacedName,
};

/// The specification's bounds.
const MOST_RULES: usize = 16;
const MOST_MATCHES: usize = 64;
const MOST_MATCHES_IN_ALL: usize = 128;
const MOST_FILTERS: usize = 16;
const MOST_BACKENDS: usize = 16;
const MOST_VALUES: usize = 16;
const MOST_PARENTS: usize = 32;
const MOST_HOSTNAMES: usize = 16;
const MOST_ORIGINS: usize = 64;

impl Route {
    /// Reads the `spec` of an HTTPRoute.
    ///
    /// # Errors
    /// Every field that is not what it should be, with its value.
    pub fn http(name: NamespacedName, meta: RouteMeta, spec: Value) -> Result<Self, Vec<FieldError>> {
        let key = RouteKey { kind: RouteKind::Http, name };
        read::parse(&FieldPath::spec(), spec, |spec: HttpRouteSpec| {
            let head = Head { parents: spec.parent_refs.as_deref(), hostnames: spec.hostnames.as_deref() };
            // What the API server fills in; an empty list is none of its fillings.
            let absent = [HttpRuleSpec::default()];
            let rules = spec.rules.as_deref().unwrap_or(&absent);
            compile(&key, meta, &head, |compiler, path| {
                if rules.is_empty() {
                    compiler.faults.add(path.clone(), "[]", "must have at least one rule, or be left out");
                }
                compiler.rules(path, rules)
            })
        })
    }

    /// Reads the `spec` of a GRPCRoute.
    ///
    /// # Errors
    /// Every field that is not what it should be, with its value.
    pub fn grpc(name: NamespacedName, meta: RouteMeta, spec: Value) -> Result<Self, Vec<FieldError>> {
        let key = RouteKey { kind: RouteKind::Grpc, name };
        read::parse(&FieldPath::spec(), spec, |spec: GrpcRouteSpec| {
            let head = Head { parents: spec.parent_refs.as_deref(), hostnames: spec.hostnames.as_deref() };
            let rules = spec.rules.as_deref().unwrap_or_default();
            compile(&key, meta, &head, |compiler, path| compiler.rules(path, rules))
        })
    }

    /// What is wrong with single rules, while the route is in force.
    pub fn faults(&self) -> impl Iterator<Item = FieldError> {
        self.faults.iter().map(|fault| FieldError {
            field: fault.field.clone(),
            value: fault.value.clone(),
            message: fault.message.clone(),
        })
    }
}

/// What both kinds of route have before their rules.
struct Head<'a> {
    parents: Option<&'a [ParentRefSpec]>,
    hostnames: Option<&'a [String]>,
}

fn compile(
    key: &RouteKey,
    meta: RouteMeta,
    head: &Head<'_>,
    rules: impl FnOnce(&mut Compiler<'_>, &FieldPath) -> (usize, Vec<Arc<RouteRule>>),
) -> Result<Route, Vec<Fault>> {
    let mut compiler =
        Compiler { key, faults: Faults::default(), rule: 0, unsupported: Vec::new(), warnings: Vec::new() };
    let path = FieldPath::spec();
    let parents = compiler.parents(&path.key("parentRefs"), head.parents.unwrap_or_default());
    let hostnames = head.hostnames.unwrap_or_default();
    compiler.at_most(&path.key("hostnames"), hostnames.len(), MOST_HOSTNAMES);
    if !hostnames.is_empty() && !parents.is_empty() {
        let message = "mean nothing at a Service (GEP-1294): match the header host instead";
        compiler.warn(&path.key("hostnames"), message);
    }
    let (written, rules) = rules(&mut compiler, &path.key("rules"));
    let Compiler { faults, unsupported, warnings, .. } = compiler;
    if !faults.0.is_empty() {
        return Err(faults.0);
    }
    let RouteMeta { created, generation } = meta;
    Ok(Route {
        key: key.clone(),
        created,
        generation,
        parents,
        rules,
        written,
        faults: unsupported,
        warnings,
    })
}

/// Collects what is wrong while parts are compiled.
struct Compiler<'a> {
    key: &'a RouteKey,
    /// Refuses the object.
    faults: Faults,
    /// The rule at which the compiler is.
    rule: usize,
    /// Makes rules unusable.
    unsupported: Vec<RuleFault>,
    warnings: Vec<Warning>,
}

impl Compiler<'_> {
    /// Notes a value that the specification calls unsupported.
    fn unsupported(&mut self, path: &FieldPath, value: impl fmt::Display, message: impl Into<String>) {
        let fault = Fault { path: path.clone(), value: value.to_string(), message: message.into() };
        // The same cuts as for an error.
        let FieldError { field, value, message } = fault.into();
        self.unsupported.push(RuleFault { rule: self.rule, field, value, message });
    }

    fn warn(&mut self, path: &FieldPath, message: impl Into<String>) {
        self.warnings.push(Warning { field: path.to_string(), message: message.into() });
    }

    /// The value that `parse` makes of a text, or a fault with its words.
    fn parsed<T>(&mut self, path: FieldPath, text: &str, parsed: Result<T, String>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(message) => {
                self.faults.add(path, format!("{text:?}"), message);
                None
            }
        }
    }

    /// A number between two bounds.
    fn within(&mut self, path: FieldPath, number: i64, least: u32, most: u32) -> Option<u32> {
        let found = u32::try_from(number).ok().filter(|number| (least..=most).contains(number));
        if found.is_none() {
            self.faults.add(path, number, format!("must be a number from {least} to {most}"));
        }
        found
    }

    fn port(&mut self, path: FieldPath, number: i64) -> Option<u16> {
        self.within(path, number, 1, u32::from(u16::MAX)).and_then(|port| u16::try_from(port).ok())
    }

    fn at_most(&mut self, path: &FieldPath, count: usize, most: usize) {
        if count > most {
            self.faults.add(path.clone(), format!("{count} entries"), format!("must be at most {most}"));
        }
    }

    fn rule_ref(&self, index: usize, name: Option<&str>) -> Arc<RuleRef> {
        Arc::new(RuleRef::new(&self.key.name, index, name))
    }
}
