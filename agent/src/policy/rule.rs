//! A compiled policy, and whether one of its rules matches a request.
//!
//! Entry points: [`Policy`], [`Policy::matching_rule`]. A rule is a small tree of [`Part`]s, which
//! `decide` and `explain` both walk, so that an explanation cannot disagree with a decision.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    field::Warning,
    http::{HttpPart, HttpRequest},
    names::{Action, Mode, PolicyKey, PolicyRef, Tier},
    ports::PortRange,
    source::{Identities, Namespaces, Networks, ServiceAccounts, Source, SourceAddress},
};

/// One AccessPolicy, compiled; immutable. Made by `Policy::compile` and `Policy::parse`.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub(super) key: PolicyKey,
    pub(super) tier: Tier,
    pub(super) mode: Mode,
    pub(super) action: Action,
    pub(super) scope: Scope,
    pub(super) rules: Vec<Rule>,
    pub(super) warnings: Vec<Warning>,
}

/// Which workloads of its namespace a policy selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All; in the root namespace, all of the mesh.
    Everyone,
    /// Those that have all of these labels; in the root namespace, those of the whole mesh.
    Labels(BTreeMap<String, String>),
    /// Those that are endpoints of one of these Services of the policy's own namespace.
    Services(Vec<Arc<str>>),
}

/// What is asked to be let through.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub source: Source<'a>,
    /// The port of the destination workload (not of a Service in front of it).
    pub port: u16,
    /// The HTTP request; none when the traffic is not, or not yet, known to be HTTP.
    pub http: Option<&'a HttpRequest<'a>>,
}

impl Policy {
    /// Namespace and name.
    pub fn key(&self) -> &PolicyKey {
        &self.key
    }

    /// Whose concern it is.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Whether it decides.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What it does with a request that it matches.
    pub fn action(&self) -> Action {
        self.action
    }

    /// Which workloads it selects.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What its author may not expect of it.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The first rule that matches `request`.
    pub(super) fn matching_rule(&self, request: &Request<'_>, doubt: Doubt) -> Option<PolicyRef> {
        self.matching_rules(request, doubt).next()
    }

    /// All rules that match `request`, in their order.
    pub(super) fn matching_rules<'a>(
        &'a self,
        request: &'a Request<'_>,
        doubt: Doubt,
    ) -> impl Iterator<Item = PolicyRef> + 'a {
        let matching = move |rule: &Rule| rule.judge(request).matches(self.action, doubt);
        let rules = self.rules.iter().enumerate();
        rules.filter(move |(_, rule)| matching(rule)).map(|(index, _)| self.reference(index))
    }

    /// Whether some rule cannot be judged by what is known of `request`.
    pub(super) fn is_in_doubt(&self, request: &Request<'_>) -> bool {
        self.rules.iter().any(|rule| rule.judge(request) == Judgement::CannotTell)
    }

    /// How verdicts name the rule `index`.
    fn reference(&self, index: usize) -> PolicyRef {
        PolicyRef {
            tier: self.tier,
            key: Some(self.key.clone()),
            // An object has at most a few MiB; an index that does not fit cannot come.
            rule: u32::try_from(index).ok(),
            action: self.action.into(),
        }
    }

    /// Every part of every rule.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.rules.iter().flat_map(|rule| rule.clauses()).flat_map(|clause| clause.entries).flatten()
    }
}

/// One of `spec.rules`: matches when each clause that is present has an entry that does.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rule {
    pub(super) from: Option<Vec<Entry>>,
    pub(super) to: Option<Vec<Entry>>,
    pub(super) when: Option<Entry>,
}

/// One entry of a clause: matches when all of its parts do.
pub(super) type Entry = Vec<Part>;

/// `from`, `to` or `when` of a rule: matches when any entry does.
pub(super) struct Clause<'a> {
    pub(super) field: &'static str,
    pub(super) entries: &'a [Entry],
}

impl Rule {
    /// The clauses that are present, in the order in which they are judged.
    pub(super) fn clauses(&self) -> impl Iterator<Item = Clause<'_>> {
        let from = self.from.as_deref().map(|entries| Clause { field: "from", entries });
        let to = self.to.as_deref().map(|entries| Clause { field: "to", entries });
        let when = self.when.as_ref().map(std::slice::from_ref);
        let when = when.map(|entries| Clause { field: "when", entries });
        from.into_iter().chain(to).chain(when)
    }

    pub(super) fn judge(&self, request: &Request<'_>) -> Judgement {
        Judgement::all(self.clauses().map(|clause| clause.judge(request)))
    }
}

impl Clause<'_> {
    pub(super) fn judge(&self, request: &Request<'_>) -> Judgement {
        Judgement::any(self.entries.iter().map(|entry| judge_entry(entry, request)))
    }
}

pub(super) fn judge_entry(entry: &[Part], request: &Request<'_>) -> Judgement {
    Judgement::all(entry.iter().map(|part| part.judge(request)))
}

/// Whether something matches, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Judgement {
    No,
    /// It is about layer 7, and what it asks for is not there to be looked at, or could mean two things.
    CannotTell,
    Yes,
}

/// What is made of a rule that cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It fails safe: a rule that allows does not match, one that denies does.
    FailsSafe,
    /// The other way round: whatever is denied even so is denied however the doubt is resolved.
    Benefits,
}

impl From<bool> for Judgement {
    fn from(matches: bool) -> Self {
        if matches { Judgement::Yes } else { Judgement::No }
    }
}

impl Judgement {
    /// Whether a rule with this action matches.
    pub(super) fn matches(self, action: Action, doubt: Doubt) -> bool {
        match (self, doubt) {
            (Judgement::Yes, _) => true,
            (Judgement::CannotTell, Doubt::FailsSafe) => action == Action::Deny,
            (Judgement::CannotTell, Doubt::Benefits) => action == Action::Allow,
            (Judgement::No, _) => false,
        }
    }

    /// The least of them, without asking on after the first no.
    pub(super) fn all(judgements: impl Iterator<Item = Judgement>) -> Judgement {
        let mut least = Judgement::Yes;
        for judgement in judgements {
            least = least.min(judgement);
            if least == Judgement::No {
                break;
            }
        }
        least
    }

    /// The greatest of them, without asking on after the first yes.
    fn any(judgements: impl Iterator<Item = Judgement>) -> Judgement {
        let mut greatest = Judgement::No;
        for judgement in judgements {
            greatest = greatest.max(judgement);
            if greatest == Judgement::Yes {
                break;
            }
        }
        greatest
    }
}

/// One list of an entry: matches when any of its values does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    ServiceAccounts(ServiceAccounts),
    Namespaces(Namespaces),
    Identities(Identities),
    Cidrs(Networks),
    Ports(Vec<PortRange>),
    Http(HttpPart),
}

impl Part {
    pub(super) fn judge(&self, request: &Request<'_>) -> Judgement {
        let identity = request.source.identity;
        let matches = match self {
            Part::ServiceAccounts(accounts) => identity.is_some_and(|identity| accounts.has(identity)),
            Part::Namespaces(names) => identity.is_some_and(|identity| names.has(identity.namespace())),
            Part::Identities(identities) => identity.is_some_and(|identity| identities.has(identity)),
            Part::Cidrs(networks) => networks.has(request.source.address),
            Part::Ports(ranges) => ranges.iter().any(|range| range.contains(request.port)),
            Part::Http(part) => return part.judge(request.http),
        };
        Judgement::from(matches)
    }

    /// The field that holds it, seen from its entry.
    pub(super) fn field(&self) -> &'static str {
        match self {
            Part::ServiceAccounts(_) => "serviceAccounts",
            Part::Namespaces(_) => "namespaces",
            Part::Identities(_) => "identities",
            Part::Cidrs(_) => "cidrs",
            Part::Ports(_) => "ports",
            Part::Http(part) => part.field(),
        }
    }

    /// What `request` has where this part looks.
    pub(super) fn had(&self, request: &Request<'_>) -> String {
        match (self, request.source.identity) {
            (Part::ServiceAccounts(_), Some(identity)) => {
                format!("{}/{}", identity.namespace(), identity.service_account())
            }
            (Part::Namespaces(_), Some(identity)) => identity.namespace().into(),
            (Part::Identities(_), Some(identity)) => identity.to_string(),
            (Part::ServiceAccounts(_) | Part::Namespaces(_) | Part::Identities(_), None) => {
                "no verified identity".into()
            }
            (Part::Cidrs(_), _) => match request.source.address {
                SourceAddress::Address(address) => address.to_canonical().to_string(),
                SourceAddress::Network(network) => network.to_string(),
            },
            (Part::Ports(_), _) => request.port.to_string(),
            (Part::Http(part), _) => part.had(request.http),
        }
    }

    /// What it asks for: any of these texts, in order.
    pub(super) fn wanted(&self) -> Vec<String> {
        let mut texts: Vec<String> = match self {
            Part::ServiceAccounts(accounts) => accounts.texts(),
            Part::Namespaces(names) => names.iter().map(|name| name.to_string()).collect(),
            Part::Identities(identities) => identities.texts(),
            Part::Cidrs(networks) => return networks.written().iter().map(ToString::to_string).collect(),
            Part::Ports(ranges) => return ranges.iter().map(ToString::to_string).collect(),
            Part::Http(part) => return part.texts(),
        };
        texts.sort_unstable();
        texts
    }
}
