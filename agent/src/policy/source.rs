//! The source of a request, and what a rule may say of it.
//!
//! Entry points: [`Source`], and the lists that rules hold: [`ServiceAccounts`], [`Identities`],
//! [`Networks`], [`OneOf`]. Long lists are looked up by hash or by binary search, so that a rule that
//! names thousands of callers costs what one that names ten does.

use std::{
    borrow::Borrow,
    collections::{HashMap, HashSet},
    hash::Hash,
    net::IpAddr,
};

use ipnet::{IpNet, Ipv4Net};

use crate::identity::{Identity, TrustDomain};

/// Up to here, comparing one by one is faster than hashing.
const FEW: usize = 8;

/// Who makes a request.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The identity, where it was verified or vouched for; none for plaintext from outside the mesh.
    pub identity: Option<&'a Identity>,
    /// Where it comes from.
    pub address: SourceAddress,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceAddress {
    /// This address; an IPv4-mapped IPv6 address counts as its IPv4 form.
    Address(IpAddr),
    /// All addresses whose longest match among `Applicable::networks` is this network. For the
    /// addresses that none of them matches, `0.0.0.0/0` and `::/0` stand.
    Network(IpNet),
}

/// A set of values that is asked whether it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OneOf<T: Eq + Hash> {
    Few(Vec<T>),
    Many(HashSet<T>),
}

impl<T: Eq + Hash> OneOf<T> {
    pub(super) fn has<Q: Eq + Hash + ?Sized>(&self, wanted: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        match self {
            Self::Few(values) => values.iter().any(|value| value.borrow() == wanted),
            Self::Many(values) => values.contains(wanted),
        }
    }

    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = &T> + '_> {
        match self {
            Self::Few(values) => Box::new(values.iter()),
            Self::Many(values) => Box::new(values.iter()),
        }
    }

    fn insert(&mut self, value: T) {
        match self {
            Self::Few(values) if values.contains(&value) => {}
            Self::Few(values) if values.len() < FEW => values.push(value),
            Self::Few(values) => {
                *self = Self::Many(std::mem::take(values).into_iter().chain([value]).collect());
            }
            Self::Many(values) => {
                values.insert(value);
            }
        }
    }
}

impl<T: Eq + Hash> Default for OneOf<T> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<T: Eq + Hash> FromIterator<T> for OneOf<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut set = Self::default();
        values.into_iter().for_each(|value| set.insert(value));
        set
    }
}

/// `from[].namespaces`: the namespace of the source's identity, in any trust domain that the mesh trusts.
pub(super) type Namespaces = OneOf<Box<str>>;

/// `from[].serviceAccounts`: by namespace, in any trust domain that the mesh trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServiceAccounts(HashMap<Box<str>, OneOf<Box<str>>>);

impl ServiceAccounts {
    pub(super) fn has(&self, identity: &Identity) -> bool {
        self.0.get(identity.namespace()).is_some_and(|names| names.has(identity.service_account()))
    }

    pub(super) fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        for (namespace, names) in &self.0 {
            texts.extend(names.iter().map(|name| format!("{namespace}/{name}")));
        }
        texts
    }
}

impl FromIterator<(Box<str>, Box<str>)> for ServiceAccounts {
    fn from_iter<I: IntoIterator<Item = (Box<str>, Box<str>)>>(accounts: I) -> Self {
        let mut by_namespace: HashMap<Box<str>, OneOf<Box<str>>> = HashMap::new();
        for (namespace, name) in accounts {
            by_namespace.entry(namespace).or_default().insert(name);
        }
        Self(by_namespace)
    }
}

/// One of `from[].identities`. A `*` stands for whole parts at the end and nothing else, so that
/// `…/ns/shop/*` can never come to mean a namespace `shop-test`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IdentityMatch {
    /// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
    Exact(Identity),
    /// `spiffe://<trust domain>/ns/<namespace>/*`, or `…/sa/*`.
    Namespace(TrustDomain, Box<str>),
    /// `spiffe://<trust domain>/*`.
    TrustDomain(TrustDomain),
    /// `spiffe://*`: whoever has a verified identity.
    Anyone,
}

impl std::str::FromStr for IdentityMatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "an identity is spiffe://<trust domain>/ns/<namespace>/sa/<service account>; \
             a * stands for whole parts at its end: spiffe://<trust domain>/ns/<namespace>/*, \
             spiffe://<trust domain>/*, spiffe://*";
        if text == "spiffe://*" {
            return Ok(Self::Anyone);
        }
        let Some(parts) = text.strip_suffix("/*") else {
            return text.parse().map(Self::Exact).map_err(|_| FORMS.to_string());
        };
        // Completed by a service account (and a namespace), a right pattern is a right identity.
        let complete = |rest: &str| format!("{parts}{rest}").parse::<Identity>();
        if let Ok(identity) = complete("/any").or_else(|_| complete("/sa/any")) {
            return Ok(Self::Namespace(identity.trust_domain().clone(), identity.namespace().into()));
        }
        let identity = complete("/ns/any/sa/any").map_err(|_| FORMS.to_string())?;
        Ok(Self::TrustDomain(identity.trust_domain().clone()))
    }
}

/// `from[].identities`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identities {
    exact: OneOf<Identity>,
    namespaces: HashMap<TrustDomain, OneOf<Box<str>>>,
    trust_domains: OneOf<TrustDomain>,
    anyone: bool,
}

impl Identities {
    pub(super) fn has(&self, identity: &Identity) -> bool {
        let domain = identity.trust_domain();
        self.anyone
            || self.exact.has(identity)
            || self.trust_domains.has(domain)
            || self.namespaces.get(domain).is_some_and(|names| names.has(identity.namespace()))
    }

    pub(super) fn texts(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.exact.iter().map(Identity::to_string).collect();
        for (domain, names) in &self.namespaces {
            texts.extend(names.iter().map(|name| format!("spiffe://{domain}/ns/{name}/*")));
        }
        texts.extend(self.trust_domains.iter().map(|domain| format!("spiffe://{domain}/*")));
        texts.extend(self.anyone.then(|| "spiffe://*".to_string()));
        texts
    }
}

impl FromIterator<IdentityMatch> for Identities {
    fn from_iter<I: IntoIterator<Item = IdentityMatch>>(matches: I) -> Self {
        let mut identities = Self::default();
        for one in matches {
            match one {
                IdentityMatch::Exact(identity) => identities.exact.insert(identity),
                IdentityMatch::Namespace(domain, name) => {
                    identities.namespaces.entry(domain).or_default().insert(name);
                }
                IdentityMatch::TrustDomain(domain) => identities.trust_domains.insert(domain),
                IdentityMatch::Anyone => identities.anyone = true,
            }
        }
        identities
    }
}

/// `from[].cidrs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Networks {
    /// As they were written, without their duplicates, sorted.
    written: Vec<IpNet>,
    /// Those that no other one holds: disjoint, sorted by their first address.
    widest: Vec<IpNet>,
}

impl Networks {
    pub(super) fn has(&self, address: SourceAddress) -> bool {
        match address {
            SourceAddress::Address(address) => {
                let address = address.to_canonical();
                self.candidate(address).is_some_and(|widest| widest.contains(&address))
            }
            SourceAddress::Network(network) => {
                let network = canonical_network(network);
                self.candidate(network.network()).is_some_and(|widest| widest.contains(&network))
            }
        }
    }

    pub(super) fn written(&self) -> &[IpNet] {
        &self.written
    }

    /// The only network that can hold `address`: the last that does not begin after it.
    fn candidate(&self, address: IpAddr) -> Option<&IpNet> {
        let after = self.widest.partition_point(|network| network.network() <= address);
        after.checked_sub(1).map(|index| &self.widest[index])
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let mut written: Vec<IpNet> = networks.into_iter().collect();
        // By first address, wider ones first, so that whatever holds a network comes before it.
        written.sort_unstable_by_key(|network| (network.network(), network.prefix_len()));
        written.dedup();
        let mut widest: Vec<IpNet> = Vec::new();
        for network in &written {
            if !widest.last().is_some_and(|last| last.contains(network)) {
                widest.push(*network);
            }
        }
        Self { written, widest }
    }
}

/// Reads one of `from[].cidrs`: a network, or an address, which stands for itself alone.
///
/// # Errors
/// In words, when it is neither, or has bits set that its prefix does not cover.
pub(super) fn parse_network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let network: IpNet =
        text.parse().map_err(|_| "a network is like 10.0.0.0/8, fd00::/8, or one address".to_string())?;
    if network.trunc() != network {
        let (whole, one) = (network.trunc(), network.addr());
        return Err(format!("bits are set beyond the prefix: write {whole} or {one}"));
    }
    Ok(canonical_network(network))
}

/// `network` with an IPv4-mapped IPv6 network (RFC 4291 §2.5.5.2) replaced by its IPv4 form.
fn canonical_network(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let mapped = v6.network().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    let v4 = mapped.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    v4.map_or(network, IpNet::V4)
}
