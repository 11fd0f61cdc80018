//! The `spec` of a WorkloadSlice: what it says, from pods and back.
//!
//! Entry points: [`pack`], [`WorkloadSliceSpec::pods`]. A pod in it has what other nodes ask of it and no more; pods that
//! differ in nothing but their names, places and addresses, as those of a Deployment do, say the rest once.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::form;
use crate::{
    policy::FieldError,
    state::{
        annotations::{Carrier, MeshSettings},
        input::Pod,
        model::{NamespacedName, OWNER_KINDS},
    },
};

/// Pods as every node has to know them. Written by the controller; whatever else writes it is overwritten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct WorkloadSliceSpec {
    /// The namespace of all its pods.
    #[schemars(with = "form::Namespace")]
    pub namespace: String,
    /// Whether every pod of the cluster is in some slice. Said by one slice, which has no pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete: Option<bool>,
    /// Its pods: those that are alike together.
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub groups: Vec<GroupSpec>,
}

/// Pods that are alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct GroupSpec {
    /// The service account under which they run.
    #[schemars(with = "form::Name")]
    pub service_account: String,
    /// What owns them: a Deployment rather than its ReplicaSet. Left out: each is its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<form::Name>")]
    pub owner: Option<String>,
    /// Of what kind that is, in lower case.
    #[schemars(with = "form::OwnerKind")]
    pub owner_kind: String,
    /// Their labels.
    #[schemars(with = "form::Labels")]
    pub labels: BTreeMap<String, String>,
    /// Those of their annotations that are of the group weir.dev.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<form::Annotations>")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// The pods.
    #[schemars(length(min = 1, max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub pods: Vec<PodSpec>,
}

/// One pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct PodSpec {
    /// Its name.
    #[schemars(with = "form::Name")]
    pub name: String,
    /// Its UID.
    #[schemars(with = "form::Uid")]
    pub uid: String,
    /// The node on which it runs.
    #[schemars(with = "form::Name")]
    pub node: String,
    /// Its addresses, one of each family at most.
    #[schemars(with = "Vec<form::Address>", length(min = 1, max = 2), extend("x-kubernetes-list-type" = "atomic"))]
    pub addresses: Vec<IpAddr>,
}

/// A pod as other nodes know it; none when they have nothing to know.
pub fn face(pod: &Pod) -> Option<Pod> {
    let is_somewhere = !pod.finished && !pod.node.is_empty() && !pod.addresses.is_empty();
    (is_somewhere && !pod.host_network).then(|| Pod {
        kubelet_uid: pod.uid.clone(),
        // That, EndpointSlices say; of what a pod's own node needs, nothing is said.
        ready: false,
        named_ports: BTreeMap::new(),
        probe_ports: Vec::new(),
        settings: match pod.settings.netns {
            Some(_) => MeshSettings { netns: None, ..(*pod.settings).clone() }.shared(),
            None => pod.settings.clone(),
        },
        sliced: true,
        ..pod.clone()
    })
}

/// What says all of `pods`, which are of one namespace.
pub fn pack<'a>(namespace: &str, pods: impl IntoIterator<Item = &'a Pod>) -> WorkloadSliceSpec {
    let mut groups: BTreeMap<GroupSpec, Vec<PodSpec>> = BTreeMap::new();
    for pod in pods {
        let own = pod.owner == pod.key.name;
        let annotations = pod.settings.annotations();
        let group = GroupSpec {
            service_account: pod.service_account.to_string(),
            owner: (!own).then(|| pod.owner.to_string()),
            owner_kind: pod.owner_kind.to_owned(),
            labels: (*pod.labels).clone(),
            annotations: (!annotations.is_empty()).then_some(annotations),
            pods: Vec::new(),
        };
        groups.entry(group).or_default().push(PodSpec {
            name: pod.key.name.to_string(),
            uid: pod.uid.to_string(),
            node: pod.node.to_string(),
            addresses: pod.addresses.to_vec(),
        });
    }
    let groups = groups.into_iter().map(|(group, pods)| GroupSpec { pods, ..group }).collect();
    WorkloadSliceSpec { namespace: namespace.to_owned(), complete: None, groups }
}

impl WorkloadSliceSpec {
    /// Its pods.
    ///
    /// # Errors
    /// Every field that makes no sense.
    pub fn pods(&self) -> Result<Vec<Arc<Pod>>, Vec<FieldError>> {
        let namespace: Arc<str> = self.namespace.as_str().into();
        let none = BTreeMap::new();
        let (mut pods, mut faults) = (Vec::new(), Vec::new());
        for (index, group) in self.groups.iter().enumerate() {
            let at = |field: &str| format!("spec.groups[{index}].{field}");
            let Some(owner_kind) = OWNER_KINDS.into_iter().find(|kind| *kind == group.owner_kind) else {
                let message = format!("must be one of {}", OWNER_KINDS.join(", "));
                faults.push(FieldError { field: at("ownerKind"), value: group.owner_kind.clone(), message });
                continue;
            };
            let annotations = group.annotations.as_ref().unwrap_or(&none);
            let settings = MeshSettings::parse(Carrier::Pod, annotations).unwrap_or_else(|errors| {
                faults.extend(errors.into_iter().map(|error| {
                    let field = error.field.replacen("metadata", &format!("spec.groups[{index}]"), 1);
                    FieldError { field, ..error }
                }));
                MeshSettings::default()
            });
            let settings = settings.shared();
            let (labels, account) = (Arc::new(group.labels.clone()), Arc::from(&*group.service_account));
            let owner: Option<Arc<str>> = group.owner.as_deref().map(Arc::from);
            for (nth, pod) in group.pods.iter().enumerate() {
                let missing = [("name", &pod.name), ("uid", &pod.uid), ("node", &pod.node)];
                faults.extend(missing.into_iter().filter(|(_, text)| text.is_empty()).map(|(field, _)| {
                    let field = at(&format!("pods[{nth}].{field}"));
                    FieldError { field, value: String::new(), message: "is missing".into() }
                }));
                let (name, uid): (Arc<str>, Arc<str>) = (pod.name.as_str().into(), pod.uid.as_str().into());
                pods.push(Arc::new(Pod {
                    owner: owner.clone().unwrap_or_else(|| name.clone()),
                    key: NamespacedName::new(namespace.clone(), name),
                    kubelet_uid: uid.clone(),
                    uid,
                    owner_kind,
                    node: pod.node.as_str().into(),
                    service_account: Arc::clone(&account),
                    labels: labels.clone(),
                    addresses: pod.addresses.iter().map(IpAddr::to_canonical).collect(),
                    host_network: false,
                    finished: false,
                    ready: false,
                    named_ports: BTreeMap::new(),
                    probe_ports: Vec::new(),
                    settings: settings.clone(),
                    sliced: true,
                }));
            }
        }
        if faults.is_empty() { Ok(pods) } else { Err(faults) }
    }
}

#[cfg(test)]
mod tests;
