//! Entry points for the fuzzer (`cargo xtask fuzz`): any bytes, and what must hold of them.
//!
//! Each panics where something does not hold. Built with the feature `fuzzing` and for this crate's own tests, which
//! run them on the seeds; no agent has them.

use std::sync::Arc;

use crate::{
    proxy::http1,
    source::{lint, yaml::Catalogue},
    state::{
        Event, Settings, Snapshot, State,
        model::{Service, Workload},
    },
    tunnel, users,
};

/// The HTTP/1 edge: see `proxy/http/fuzzing.rs`.
pub fn http1(bytes: &[u8]) {
    http1::http1(bytes);
}

/// The headers of HBONE: see `tunnel/fuzzing.rs`.
pub fn tunnel_headers(bytes: &[u8]) {
    tunnel::fuzzing::headers(bytes);
}

/// Tokens and key sets: see `users/fuzzing.rs`.
pub fn token(bytes: &[u8]) {
    users::fuzzing::token(bytes);
}

/// A file of YAML objects: what it amounts to does not depend on the order of its objects, reading it twice changes
/// nothing, and when it goes, so does all of it.
pub fn objects(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = lint::text("fuzz.yaml", text);
    let mut catalogue = Catalogue::default();
    let file = || [("fuzz.yaml".to_owned(), Ok(text.to_owned()))];
    let scan = catalogue.update(file());
    let again = catalogue.update(file());
    assert!(again.events.is_empty(), "reading it twice changes something");
    assert_eq!(again.problems, scan.problems);

    let mut state = State::new(Settings::default());
    state.apply_all(scan.events.clone());
    let mut other = State::new(Settings::default());
    for event in scan.events.into_iter().rev() {
        other.apply(event);
    }
    let (snapshot, other) = (state.snapshot(), other.snapshot());
    assert_eq!(face(&snapshot), face(&other), "the order of objects matters");
    ask(&snapshot);

    let gone = catalogue.update([]);
    assert!(gone.events.iter().all(|event| matches!(event, Event::Delete(_))));
    state.apply_all(gone.events);
    let left = state.snapshot();
    assert_eq!(face(&left), face(&State::new(Settings::default()).snapshot()), "something is left");
    assert!(left.policies().is_empty() && left.authentications().is_empty());
    assert!(left.traffic_policies().is_empty() && left.route_statuses().next().is_none());
}

/// What can be compared of a snapshot.
fn face(snapshot: &Snapshot) -> (Vec<&Arc<Workload>>, Vec<&Arc<Service>>, usize) {
    (snapshot.workloads().collect(), snapshot.services().collect(), snapshot.conflicts().len())
}

/// Asks everything that a connection asks.
fn ask(snapshot: &Snapshot) {
    for workload in snapshot.workloads() {
        let _ = (snapshot.applicable(workload), snapshot.authentication(workload));
        let _ = snapshot.declared_at(workload, 8080);
        for address in workload.addresses.iter() {
            let owner = snapshot.workload_by_address(*address);
            assert!(owner.is_none_or(|owner| owner.addresses.contains(address)));
        }
    }
    for service in snapshot.services() {
        for port in &service.ports {
            assert!(port.endpoints.is_sorted(), "looked up by halving");
            let _ = snapshot.layer7("shop", service, port);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// One of the functions above.
    type Target = fn(&[u8]);

    #[test]
    fn what_the_fuzzer_starts_from_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        let targets: [(&str, Target); 4] =
            [("http1", http1), ("tunnel_headers", tunnel_headers), ("token", token), ("objects", objects)];
        for (name, target) in targets {
            let mut seeds = 0;
            for seed in fs::read_dir(corpus.join(name)).expect("its seeds").map(|seed| seed.expect("a seed"))
            {
                let bytes = fs::read(seed.path()).expect("a readable seed");
                if std::panic::catch_unwind(|| target(&bytes)).is_err() {
                    panic!("{}", seed.path().display());
                }
                seeds += 1;
            }
            assert!(seeds >= 3, "{name} has {seeds} seeds");
        }
    }
}
