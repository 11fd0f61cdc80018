//! What many objects of a cluster have in common, held once.
//!
//! Entry point: [`Common::share`]. A cluster has a hundred times as many pods as names of nodes, and their labels are those of
//! the Deployment.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    interned::Interned,
    state::{Object, input::Pod},
};

/// The texts of one kind's objects.
#[derive(Debug, Default)]
pub(super) struct Common {
    texts: Interned<Arc<str>>,
    labels: Interned<Arc<BTreeMap<String, String>>>,
}

impl Common {
    /// Puts what is known already in place of what is equal to it in `object`, which nobody else holds yet.
    pub(super) fn share(&mut self, object: &mut Object) {
        match object {
            Object::Pod(pod) => self.share_pod(pod),
            Object::WorkloadSlice(slice) => {
                Arc::make_mut(slice).pods.iter_mut().for_each(|pod| self.share_pod(pod));
            }
            _ => {}
        }
    }

    fn share_pod(&mut self, pod: &mut Arc<Pod>) {
        let pod = Arc::make_mut(pod);
        self.labels.share(&mut pod.labels);
        for text in [&mut pod.key.namespace, &mut pod.node, &mut pod.owner, &mut pod.service_account] {
            self.texts.share(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        slices::spec::{GroupSpec, PodSpec, WorkloadSliceSpec},
        state::{input::WorkloadSlice, model::NamespacedName},
    };

    fn slice(name: &str) -> Object {
        let pod = PodSpec { name: name.into(), uid: name.into(), node: "a".into(), addresses: Vec::new() };
        let group = GroupSpec {
            service_account: "cart".into(),
            owner: Some("cart".into()),
            owner_kind: "deployment".into(),
            labels: [("app".into(), "cart".into())].into(),
            annotations: None,
            pods: vec![pod],
        };
        let spec = WorkloadSliceSpec { namespace: "shop".into(), complete: None, groups: vec![group] };
        let pods = spec.pods().expect("pods");
        WorkloadSlice { key: NamespacedName::new("weir-system", name), complete: false, pods }.into()
    }

    #[test]
    fn two_pods_that_are_alike_hold_one_text_of_each() {
        let mut common = Common::default();
        let shared = ["a", "b"].map(|name| {
            let mut object = slice(name);
            common.share(&mut object);
            assert_eq!(object, slice(name), "it says what it said");
            let Object::WorkloadSlice(slice) = object else { panic!("no slice") };
            slice.pods[0].clone()
        });
        let [a, b] = &shared;
        assert!(Arc::ptr_eq(&a.labels, &b.labels));
        for text in [
            |pod: &Pod| pod.key.namespace.clone(),
            |pod: &Pod| pod.node.clone(),
            |pod: &Pod| pod.owner.clone(),
        ] {
            assert!(Arc::ptr_eq(&text(a), &text(b)));
        }
        assert!(!Arc::ptr_eq(&a.uid, &b.uid));
    }
}
