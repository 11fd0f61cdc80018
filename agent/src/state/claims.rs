//! Who claims which address, and whether that answers whose it is.
//!
//! Entry point: [`Claims`]. An address with two claimants belongs to nobody here: whose it is must
//! never be guessed, since an identity hangs on it.

use std::{net::IpAddr, sync::Arc};

use super::model::NamespacedName;

/// Addresses and the objects that claim them; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    /// Sorted: hashed, it would take three times as much.
    all: imbl::OrdMap<IpAddr, Claimants>,
    contested: imbl::OrdMap<IpAddr, Claimants>,
}

/// Those who claim an address.
#[derive(Clone, Debug)]
enum Claimants {
    One(NamespacedName),
    /// Sorted.
    Several(Arc<[NamespacedName]>),
}

impl std::ops::Deref for Claimants {
    type Target = [NamespacedName];

    fn deref(&self) -> &[NamespacedName] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

impl Claims {
    /// The one object that claims `address`.
    pub(super) fn owner(&self, address: IpAddr) -> Option<&NamespacedName> {
        match self.claimants(address) {
            [owner] => Some(owner),
            _ => None,
        }
    }

    /// All that claim `address`, sorted.
    pub(super) fn claimants(&self, address: IpAddr) -> &[NamespacedName] {
        self.all.get(&address).map_or(&[], |claimants| claimants)
    }

    /// Addresses with several claimants, sorted.
    pub(super) fn contested(&self) -> impl Iterator<Item = (IpAddr, &[NamespacedName])> {
        self.contested.iter().map(|(address, claimants)| (*address, &**claimants))
    }

    /// Whether nobody claims anything.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Notes that `claimant` claims `address`.
    pub(super) fn claim(&mut self, address: IpAddr, claimant: &NamespacedName) {
        let claimants = self.claimants(address);
        if let Err(at) = claimants.binary_search(claimant) {
            let (before, after) = claimants.split_at(at);
            let claimants: Vec<_> = before.iter().chain([claimant]).chain(after).cloned().collect();
            self.set(address, &claimants);
        }
    }

    /// Notes that `claimant` claims `address` no more.
    pub(super) fn release(&mut self, address: IpAddr, claimant: &NamespacedName) {
        let claimants = self.claimants(address).iter();
        let rest: Vec<_> = claimants.filter(|other| *other != claimant).cloned().collect();
        self.set(address, &rest);
    }

    fn set(&mut self, address: IpAddr, claimants: &[NamespacedName]) {
        let claimants = match claimants {
            [] => {
                self.all.remove(&address);
                self.contested.remove(&address);
                return;
            }
            [one] => {
                self.contested.remove(&address);
                Claimants::One(one.clone())
            }
            several => {
                let several = Claimants::Several(several.into());
                self.contested.insert(address, several.clone());
                several
            }
        };
        self.all.insert(address, claimants);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_somebodys_only_while_one_claims_it() {
        let (a, b) = (NamespacedName::new("shop", "a"), NamespacedName::new("shop", "b"));
        let address: IpAddr = "10.0.0.1".parse().expect("an address");
        let mut claims = Claims::default();
        claims.claim(address, &b);
        claims.claim(address, &b);
        assert_eq!(claims.owner(address), Some(&b));
        claims.claim(address, &a);
        assert_eq!(claims.owner(address), None);
        assert_eq!(claims.contested().collect::<Vec<_>>(), [(address, &[a.clone(), b.clone()][..])]);
        claims.release(address, &b);
        assert_eq!(claims.owner(address), Some(&a));
        assert_eq!(claims.contested().count(), 0);
        claims.release(address, &a);
        assert!(claims.is_empty());
    }
}
