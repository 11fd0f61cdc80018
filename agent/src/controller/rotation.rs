//! Which root is trusted, which signer signs, and when the next takes its place.
//!
//! Entry point: [`plan`]. Pure: what is known and the time in, what should be out. The rule behind all of it: nobody
//! signs with a root before every agent has had time to hear of it, and no root is forgotten before the last certificate
//! under it has expired. So a rotation breaks no connection, whoever began it.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Until every agent has heard of a root and holds certificates that come with it.
    pub(super) spread: Duration,
    /// How long a certificate lives at most.
    pub(super) lifetime: Duration,
}

/// A root that is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) root: CertificateDer<'static>,
    /// Since when.
    pub(super) since: SystemTime,
    /// Until when; not told while a signer has it.
    pub(super) until: Option<SystemTime>,
}

/// What may sign.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    /// The roots by which what it signs is known.
    pub(super) roots: &'a [CertificateDer<'static>],
    pub(super) expires: SystemTime,
}

/// What there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation<'a> {
    /// The one that should sign.
    pub(super) active: Candidate<'a>,
    /// The one that should take its place.
    pub(super) next: Option<Candidate<'a>>,
    /// The one that has signed until now, where the active one was put in its place at once.
    pub(super) former: Option<Candidate<'a>>,
    pub(super) published: &'a [Published],
}

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Active,
    Former,
    /// Nobody: no root of theirs is trusted yet.
    Nobody,
}

/// What should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The roots that should be trusted.
    pub(super) published: Vec<Published>,
    pub(super) choice: Choice,
    /// Whether the next one should take the active one's place.
    pub(super) promote: bool,
}

/// What should be at `now`.
pub(super) fn plan(situation: &Situation<'_>, times: Times, now: SystemTime) -> Plan {
    let Situation { active, next, former, published } = *situation;
    let known = |candidate: Candidate<'_>, for_long: bool| {
        candidate.roots.iter().all(|root| {
            let of = published.iter().find(|published| published.root == *root);
            of.is_some_and(|of| !for_long || of.since + times.spread <= now)
        })
    };
    let choice = if known(active, true) {
        Choice::Active
    } else if former.is_some_and(|former| former.expires > now && known(former, false)) {
        Choice::Former
    } else if known(active, false) {
        Choice::Active
    } else {
        Choice::Nobody
    };
    let promote = next.is_some_and(|next| next.expires > now && known(next, true));
    Plan { published: publish(situation, times, now), choice, promote }
}

fn publish(situation: &Situation<'_>, times: Times, now: SystemTime) -> Vec<Published> {
    let Situation { active, next, published, .. } = *situation;
    let wanted = || active.roots.iter().chain(next.into_iter().flat_map(|next| next.roots));
    let mut all = Vec::new();
    for old in published {
        let wanted = wanted().any(|root| *root == old.root);
        let until = match (wanted, old.until) {
            (true, _) => None,
            (false, Some(until)) if until <= now => continue,
            (false, Some(until)) => Some(until),
            // Signed with to the end of the spread, if it was put aside at once.
            (false, None) => Some(now + times.spread + times.lifetime),
        };
        all.push(Published { until, ..old.clone() });
    }
    // Where nothing was trusted before, no certificate is out that could be refused.
    let first = published.is_empty();
    for (root, since) in active
        .roots
        .iter()
        .map(|root| (root, if first { SystemTime::UNIX_EPOCH } else { now }))
        .chain(next.into_iter().flat_map(|next| next.roots).map(|root| (root, now)))
    {
        if !all.iter().any(|known| known.root == *root) {
            all.push(Published { root: root.clone(), since, until: None });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { spread: Duration::from_secs(600), lifetime: Duration::from_secs(24 * 3600) };

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn root(name: u8) -> [CertificateDer<'static>; 1] {
        [CertificateDer::from(vec![name])]
    }

    fn of<'a>(roots: &'a [CertificateDer<'static>]) -> Candidate<'a> {
        Candidate { roots, expires: at(1_000_000) }
    }

    fn names(published: &[Published]) -> Vec<u8> {
        published.iter().map(|published| published.root[0]).collect()
    }

    #[test]
    fn the_first_root_is_published_and_then_signed_with_at_once() {
        let a = root(b'a');
        let begin = Situation { active: of(&a), next: None, former: None, published: &[] };
        let first = plan(&begin, TIMES, at(0));
        assert_eq!((first.choice, names(&first.published)), (Choice::Nobody, vec![b'a']));
        let second = plan(&Situation { published: &first.published, ..begin }, TIMES, at(1));
        assert_eq!((second.choice, second.promote), (Choice::Active, false));
        assert_eq!(second.published, first.published);
    }

    #[test]
    fn the_next_root_is_trusted_first_and_takes_over_when_all_know_it() {
        let (a, b) = (root(b'a'), root(b'b'));
        let alone = Situation { active: of(&a), next: None, former: None, published: &[] };
        let published = plan(&alone, TIMES, at(0)).published;
        let both = Situation { next: Some(of(&b)), published: &published, ..alone };
        let begun = plan(&both, TIMES, at(100));
        assert_eq!((begun.choice, begun.promote), (Choice::Active, false));
        assert_eq!(names(&begun.published), [b'a', b'b']);
        let waiting = Situation { published: &begun.published, ..both };
        assert!(!plan(&waiting, TIMES, at(699)).promote);
        assert!(plan(&waiting, TIMES, at(700)).promote);
        // It was promoted: it signs, and the other is trusted until what it signed has expired.
        let after =
            Situation { active: of(&b), next: None, former: Some(of(&a)), published: &begun.published };
        let done = plan(&after, TIMES, at(701));
        assert_eq!((done.choice, names(&done.published)), (Choice::Active, vec![b'a', b'b']));
        let rest = Situation { published: &done.published, ..after };
        assert_eq!(names(&plan(&rest, TIMES, at(701 + 86_400)).published), [b'a', b'b']);
        assert_eq!(names(&plan(&rest, TIMES, at(701 + 600 + 86_400)).published), [b'b']);
    }

    #[test]
    fn one_that_was_put_in_place_at_once_waits_while_the_former_signs() {
        let (a, b) = (root(b'a'), root(b'b'));
        let published =
            plan(&Situation { active: of(&a), next: None, former: None, published: &[] }, TIMES, at(0))
                .published;
        let put = Situation { active: of(&b), next: None, former: Some(of(&a)), published: &published };
        let first = plan(&put, TIMES, at(100));
        assert_eq!((first.choice, names(&first.published)), (Choice::Former, vec![b'a', b'b']));
        let put = Situation { published: &first.published, ..put };
        assert_eq!(plan(&put, TIMES, at(699)).choice, Choice::Former);
        assert_eq!(plan(&put, TIMES, at(700)).choice, Choice::Active);
        // Who does not have the former one any more signs with what there is, once it is trusted at all.
        assert_eq!(plan(&Situation { former: None, ..put }, TIMES, at(101)).choice, Choice::Active);
        assert_eq!(
            plan(&Situation { former: None, published: &published, ..put }, TIMES, at(101)).choice,
            Choice::Nobody
        );
    }

    #[test]
    fn an_expired_former_does_not_sign() {
        let (a, b) = (root(b'a'), root(b'b'));
        let published =
            [b'a', b'b'].map(|name| Published { root: root(name)[0].clone(), since: at(0), until: None });
        let former = Candidate { roots: &a, expires: at(5) };
        let put = Situation { active: of(&b), next: None, former: Some(former), published: &published };
        assert_eq!(plan(&put, TIMES, at(4)).choice, Choice::Former);
        assert_eq!(plan(&put, TIMES, at(5)).choice, Choice::Active);
    }

    #[test]
    fn a_new_intermediate_under_the_same_root_signs_at_once() {
        let a = root(b'a');
        let published = [Published { root: a[0].clone(), since: at(0), until: Some(at(900)) }];
        let put = Situation { active: of(&a), next: None, former: Some(of(&a)), published: &published };
        let plan = plan(&put, TIMES, at(700));
        assert_eq!((plan.choice, plan.published[0].until), (Choice::Active, None));
    }
}
