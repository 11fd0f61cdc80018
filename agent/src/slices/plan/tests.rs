//! Whatever pods come and go, the slices that are written say them all, each once.

use std::{cell::Cell, net::Ipv4Addr};

use proptest::{collection::vec, prelude::*};

use super::*;

fn pod(namespace: u8, owner: u8, number: u16, version: u8) -> Arc<Pod> {
    Arc::new(Pod {
        key: NamespacedName::new(format!("ns-{namespace}"), format!("app-{owner}-{number}")),
        uid: format!("{version}").into(),
        kubelet_uid: format!("{version}").into(),
        owner: format!("app-{owner}").into(),
        owner_kind: "deployment",
        node: "node-1".into(),
        service_account: "default".into(),
        labels: Arc::default(),
        addresses: [Ipv4Addr::new(10, namespace, owner, version).into()].into(),
        host_network: false,
        finished: false,
        ready: false,
        named_ports: Default::default(),
        probe_ports: Vec::new(),
        settings: Arc::default(),
        sliced: true,
    })
}

/// A plan, the API server that its writes go to, and the pods that there are.
#[derive(Default)]
struct World {
    plan: Plan,
    server: BTreeMap<Arc<str>, Vec<Arc<Pod>>>,
    pods: BTreeMap<NamespacedName, Arc<Pod>>,
    names: Cell<u32>,
}

impl World {
    fn fresh(&self) -> String {
        self.names.set(self.names.get() + 1);
        format!("{:03}", self.names.get())
    }

    fn set(&mut self, pod: &Arc<Pod>, there: bool) {
        match there {
            true => drop(self.pods.insert(pod.key.clone(), pod.clone())),
            false => drop(self.pods.remove(&pod.key)),
        }
        let names = &self.names;
        self.plan.set(&pod.key, there.then(|| pod.clone()), || {
            names.set(names.get() + 1);
            format!("{:03}", names.get())
        });
    }

    /// Writes; every `nth` write fails. Says how many were tried.
    fn write(&mut self, nth: usize) -> usize {
        let writes = self.plan.writes();
        for (index, write) in writes.iter().enumerate() {
            if nth > 0 && index % nth == 0 {
                self.plan.failed(write);
                continue;
            }
            match write {
                Write::Put(name, spec) => {
                    self.server.insert(name.clone(), spec.pods().expect("what was packed"));
                }
                Write::Delete(name) => drop(self.server.remove(name)),
            }
        }
        writes.len()
    }

    fn told(&self, name: &str) -> Arc<WorkloadSlice> {
        let key = NamespacedName::new("weir-system", name);
        Arc::new(WorkloadSlice { key, complete: false, pods: self.server[name].clone() })
    }

    fn says_all(&self) {
        let said: Vec<&Arc<Pod>> = self.server.values().flatten().collect();
        let of: BTreeMap<_, _> = said.iter().map(|pod| (pod.key.clone(), (*pod).clone())).collect();
        assert_eq!(said.len(), of.len(), "a pod is said twice");
        assert_eq!(of, self.pods);
        assert!(self.server.values().all(|pods| !pods.is_empty() && pods.len() <= MOST_PODS));
        assert_eq!(self.plan.pods(), self.pods.len());
    }
}

#[test]
fn a_change_of_one_pod_writes_one_slice_and_no_change_writes_none() {
    let mut world = World::default();
    (0..250).for_each(|number| world.set(&pod(0, 0, number, 0), true));
    assert_eq!(world.write(0), 3);
    world.says_all();
    (0..250).for_each(|number| world.set(&pod(0, 0, number, 0), true));
    assert_eq!(world.write(0), 0);
    world.set(&pod(0, 0, 7, 1), true);
    assert_eq!(world.write(0), 1);
    world.set(&pod(1, 0, 7, 1), true);
    assert_eq!(world.write(0), 1, "another namespace has slices of its own");
    world.says_all();
}

#[test]
fn pods_of_one_owner_are_together_where_there_is_room() {
    let mut world = World::default();
    (0..60).for_each(|number| world.set(&pod(0, 1, number, 0), true));
    (0..60).for_each(|number| world.set(&pod(0, 2, number, 0), true));
    world.write(0);
    // A rollout of the first: its pods are replaced one by one.
    (0..60).for_each(|number| {
        world.set(&pod(0, 1, 100 + number, 0), true);
        world.set(&pod(0, 1, number, 0), false);
    });
    assert!(world.write(0) <= 2);
    world.says_all();
}

#[test]
fn small_slices_are_put_together_and_nothing_is_nowhere_meanwhile() {
    let mut world = World::default();
    (0..200).for_each(|number| world.set(&pod(0, 0, number, 0), true));
    world.write(0);
    assert_eq!(world.server.len(), 2);
    (10..190).for_each(|number| world.set(&pod(0, 0, number, 0), false));
    let writes = world.plan.writes();
    assert!(matches!(&writes[..], [Write::Put(..), Write::Delete(_)]), "{writes:?}");
}

#[test]
fn a_new_writer_leaves_what_is_right_and_mends_the_rest() {
    let mut world = World::default();
    (0..150).for_each(|number| world.set(&pod(0, 0, number, 0), true));
    world.write(0);
    let mut next = Plan::default();
    for name in world.server.keys() {
        next.told(name, Some(world.told(name)));
    }
    next.adopt();
    for pod in world.pods.values() {
        next.set(&pod.key, Some(pod.clone()), || world.fresh());
    }
    assert_eq!(next.writes(), []);
    // Somebody deletes one, and writes into another.
    let names: Vec<Arc<str>> = world.server.keys().cloned().collect();
    next.told(&names[0], None);
    let wrong = WorkloadSlice { pods: Vec::new(), ..(*world.told(&names[1])).clone() };
    next.told(&names[1], Some(Arc::new(wrong)));
    next.told(&"stray".into(), Some(world.told(&names[1])));
    let written: Vec<Arc<str>> = next.writes().iter().map(|write| write.name().clone()).collect();
    assert_eq!(written, [names[0].clone(), names[1].clone(), "stray".into()]);
}

proptest! {
    #[test]
    fn whatever_happens_the_slices_say_every_pod_once(
        steps in vec((0u8..2, 0u8..3, 0u16..150, 0u8..3, any::<bool>(), 0usize..12), 1..600),
    ) {
        let mut world = World::default();
        for (namespace, owner, number, version, there, then) in steps {
            world.set(&pod(namespace, owner, number, version), there);
            match then {
                0 => { world.write(0); },
                1 => { world.write(2); },
                2 => if let Some(name) = world.server.keys().next().cloned() {
                    let told = world.told(&name);
                    world.plan.told(&name, Some(told));
                },
                _ => {}
            }
        }
        world.write(0);
        world.write(0);
        world.says_all();
        prop_assert_eq!(world.write(0), 0);
    }
}
