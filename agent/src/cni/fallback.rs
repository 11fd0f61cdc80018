//! What becomes of a pod when no agent can tell: whether it may start outside the mesh.
//!
//! Entry point: [`may_start`], a pure function. It fails closed by annotation: a pod that says that it is in the mesh does
//! not start outside of it, and one that says nothing does as its namespace did when an agent last knew. Nobody else is
//! kept from starting, whatever is missing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What the pod's own annotation `weir.dev/mesh` says, as the container runtime tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// The runtime tells no annotations.
    #[default]
    NotTold,
    /// There is no such annotation.
    Silent,
    /// `enabled`, or what makes no sense.
    Enabled,
    /// `disabled`.
    Disabled,
}

/// Namespaces that hold what a cluster, and the mesh itself, cannot start without: there, only a pod's own word counts.
const SYSTEM: [&str; 2] = ["kube-system", "weir-system"];

/// Why a pod may not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enrolled {
    /// By its own annotation.
    Itself,
    /// By that of its namespace.
    ByNamespace,
}

impl Enrolled {
    /// In words, behind "the pod".
    pub fn words(self) -> &'static str {
        match self {
            Self::Itself => "is in the mesh by its annotation weir.dev/mesh",
            Self::ByNamespace => "is in the mesh by the annotation weir.dev/mesh of its namespace",
        }
    }
}

/// Whether a pod of `namespace` may start although nobody can capture it; `enrolled` are the namespaces of the mesh, if it
/// is known which.
///
/// # Errors
/// Why it may not.
pub fn may_start(word: Word, namespace: &str, enrolled: Option<&BTreeSet<String>>) -> Result<(), Enrolled> {
    match word {
        Word::Disabled => Ok(()),
        Word::Enabled => Err(Enrolled::Itself),
        Word::Silent | Word::NotTold if SYSTEM.contains(&namespace) => Ok(()),
        Word::Silent | Word::NotTold => match enrolled.is_some_and(|all| all.contains(namespace)) {
            true => Err(Enrolled::ByNamespace),
            false => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop() -> BTreeSet<String> {
        ["shop", "kube-system"].map(str::to_owned).into()
    }

    #[test]
    fn a_pods_own_word_counts_more_than_its_namespaces() {
        for enrolled in [None, Some(&shop()), Some(&BTreeSet::new())] {
            assert_eq!(may_start(Word::Enabled, "shop", enrolled), Err(Enrolled::Itself));
            assert_eq!(may_start(Word::Enabled, "kube-system", enrolled), Err(Enrolled::Itself));
            assert_eq!(may_start(Word::Disabled, "shop", enrolled), Ok(()));
        }
    }

    #[test]
    fn a_pod_that_says_nothing_does_as_its_namespace_did() {
        for word in [Word::Silent, Word::NotTold] {
            assert_eq!(may_start(word, "shop", Some(&shop())), Err(Enrolled::ByNamespace));
            assert_eq!(may_start(word, "other", Some(&shop())), Ok(()));
        }
    }

    #[test]
    fn nobody_else_is_kept_from_starting() {
        for word in [Word::Silent, Word::NotTold] {
            assert_eq!(may_start(word, "shop", None), Ok(()));
            assert_eq!(may_start(word, "kube-system", Some(&shop())), Ok(()));
        }
    }
}
