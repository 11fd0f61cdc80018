//! `to[].hosts`: which hosts a rule speaks of (RFC 9110 §7.2).
//!
//! Entry points: [`HostMatch`], one as it was written, and [`Hosts`], all of a rule.

use std::{fmt, net::Ipv6Addr};

use super::{
    super::rule::Judgement,
    affix::{Endings, Exact},
};

/// One of `to[].hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct HostMatch {
    written: Box<str>,
    form: Form,
}

/// What a host has to be; names are in lower case (RFC 3986 §3.2.2), without a dot at their end.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// This host and no other.
    Exact(Box<[u8]>),
    /// Below this name, which begins with a dot: from `*.local`.
    Below(Box<[u8]>),
    /// This address, however it is written.
    Address(Ipv6Addr),
}

impl std::str::FromStr for HostMatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "a host is like pay.local, or *.local for all below; no port";
        let form = if let Some(address) = bracketed(text) {
            Form::Address(address.parse().map_err(|_| FORMS.to_string())?)
        } else {
            let below = text.strip_prefix("*.");
            let name = below.unwrap_or(text).to_ascii_lowercase();
            let name = name.strip_suffix('.').unwrap_or(&name);
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
            if !name.bytes().all(allowed) || name.split('.').any(str::is_empty) {
                return Err(FORMS.into());
            }
            match below {
                Some(_) => Form::Below(format!(".{name}").into_bytes().into()),
                None => Form::Exact(name.as_bytes().into()),
            }
        };
        Ok(Self { written: text.to_ascii_lowercase().into(), form })
    }
}

fn bracketed(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// `to[].hosts`: matches when any does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Hosts {
    written: Vec<HostMatch>,
    exact: Exact,
    below: Endings,
    addresses: Vec<Ipv6Addr>,
}

impl Hosts {
    /// Whether `host`, in lower case and without port, is one of them. A request without a host, or with
    /// one that is not as it should be, could be meant for any.
    pub(super) fn judge(&self, host: &str) -> Judgement {
        let matches = if let Some(address) = bracketed(host) {
            let Ok(address) = address.parse() else { return Judgement::CannotTell };
            self.addresses.contains(&address)
        } else {
            let name = host.strip_suffix('.').unwrap_or(host);
            if !is_name(name) {
                return Judgement::CannotTell;
            }
            self.exact.has(name.bytes()) || self.below.has(name.bytes())
        };
        Judgement::from(matches)
    }

    /// As they were written, in lower case.
    pub(super) fn written(&self) -> &[HostMatch] {
        &self.written
    }
}

/// Whether there is one way to read `name`: letters in lower case, digits, `-`, `_`, and no empty label.
fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    name.bytes().all(allowed) && !name.split('.').any(str::is_empty)
}

impl FromIterator<HostMatch> for Hosts {
    fn from_iter<I: IntoIterator<Item = HostMatch>>(hosts: I) -> Self {
        let written: Vec<HostMatch> = hosts.into_iter().collect();
        let forms = || written.iter().map(|host| &host.form);
        let exact = forms().filter_map(|form| if let Form::Exact(name) = form { Some(name) } else { None });
        let below = forms().filter_map(|form| if let Form::Below(name) = form { Some(name) } else { None });
        let addresses =
            forms().filter_map(|form| if let Form::Address(address) = form { Some(address) } else { None });
        Self {
            exact: exact.cloned().collect(),
            below: below.cloned().collect(),
            addresses: addresses.copied().collect(),
            written,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(rule: &str, host: &str) -> Judgement {
        [rule.parse::<HostMatch>().expect("a host")].into_iter().collect::<Hosts>().judge(host)
    }

    #[test]
    fn a_host_is_exact_or_stands_for_all_below_and_never_for_a_part_of_a_name() {
        for (rule, matching, others) in [
            (
                "Pay.Local",
                &["pay.local", "pay.local."][..],
                &["a.pay.local", "xpay.local", "pay.local.x"][..],
            ),
            ("pay.local.", &["pay.local", "pay.local."], &["pay"]),
            ("*.local", &["pay.local", "a.pay.local", "pay.local."], &["local", "xlocal", "pay.local.x"]),
            ("10.0.0.1", &["10.0.0.1"], &["10.0.0.10", "110.0.0.1"]),
            ("[fd10:0::1]", &["[fd10::1]", "[fd10:0:0:0:0:0:0:1]"], &["[fd10::2]", "fd10"]),
        ] {
            for host in matching {
                assert_eq!(judge(rule, host), Judgement::Yes, "{rule} {host}");
            }
            for host in others {
                assert_eq!(judge(rule, host), Judgement::No, "{rule} {host}");
            }
        }
    }

    #[test]
    fn a_host_that_is_missing_or_not_as_it_should_be_cannot_be_told() {
        for host in ["", ".", "pay.local:80", "Pay.local", "pay..local", "p%61y.local", "[::1", "[x]", "a b"]
        {
            assert_eq!(judge("pay.local", host), Judgement::CannotTell, "{host}");
        }
    }

    #[test]
    fn what_no_request_could_match_is_refused() {
        for text in [
            "", "*", "*local", "pay.*", "pay:80", ".local", "*..local", "a..b", "*.[::1]", "[pay]", "*.", ".",
        ] {
            text.parse::<HostMatch>().expect_err(text);
        }
    }
}
