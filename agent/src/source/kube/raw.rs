//! An object as the API server gave it.
//!
//! Entry point: [`Raw`]. It is read whatever is in it: one object that cannot be understood must not end a watch.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Resource,
    core::{ApiResource, DynamicResourceScope},
};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use crate::{
    policy::FieldError,
    source::object::{self, read_served},
    state::{
        Kind, Object,
        annotations::{Carrier, MeshSettings, NETNS, fault},
        model::{NamespacedName, ObjectKey},
    },
};

/// An object, or why it is none, and what else is wrong.
pub(super) type Read = (Result<Object, Vec<FieldError>>, Vec<FieldError>);

/// Any object.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    metadata: ObjectMeta,
    value: Value,
}

impl Raw {
    /// Which object of `kind` it is.
    pub(super) fn key(&self, kind: Kind) -> ObjectKey {
        let text = |value: &Option<String>| value.as_deref().unwrap_or_default().into();
        let ObjectMeta { namespace, name, .. } = &self.metadata;
        ObjectKey { kind: kind.word().into(), namespace: text(namespace), name: text(name) }
    }

    /// Trimmed to what the mesh uses, and what is wrong with it though it can be used.
    pub(super) fn read(mut self, kind: Kind, api_version: &str) -> Read {
        let ObjectKey { namespace, name, .. } = self.key(kind);
        // The items of a list do not say what they are.
        if let Some(fields) = self.value.as_object_mut() {
            fields.insert("apiVersion".into(), api_version.into());
            fields.insert("kind".into(), kind.word().into());
        }
        let faults = self.mend_annotations(kind);
        (read_served(kind, NamespacedName::new(namespace, name), &self.value), faults)
    }

    /// Puts what is safe in place of annotations that make no sense.
    fn mend_annotations(&mut self, kind: Kind) -> Vec<FieldError> {
        let carrier = match kind {
            Kind::Namespace => Carrier::Namespace,
            Kind::Pod => Carrier::Pod,
            _ => return Vec::new(),
        };
        let Some(given) = &self.metadata.annotations else { return Vec::new() };
        let (mut mended, mut faults) = MeshSettings::mended(carrier, given);
        // Where a pod runs, its kubelet decides: who may write an annotation could name another's namespace.
        if let Some(value) = mended.remove(NETNS) {
            faults.push(fault(NETNS, &value, "is for pods that no kubelet runs; it counts as not set"));
        }
        if !faults.is_empty()
            && let Some(annotations) = self.value.pointer_mut("/metadata/annotations")
        {
            *annotations = mended.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
        }
        faults
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        let Some(metadata) = value.get_mut("metadata") else {
            return Err(D::Error::custom("an object without metadata"));
        };
        if let Some(fields) = metadata.as_object_mut() {
            // Often larger than the rest, and nothing to us.
            fields.remove("managedFields");
        }
        let metadata = ObjectMeta::deserialize(&*metadata).map_err(D::Error::custom)?;
        Ok(Self { metadata, value })
    }
}

impl Resource for Raw {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        of.kind.as_str().into()
    }

    fn group(of: &ApiResource) -> Cow<'_, str> {
        of.group.as_str().into()
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        of.version.as_str().into()
    }

    fn api_version(of: &ApiResource) -> Cow<'_, str> {
        of.api_version.as_str().into()
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        of.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The versions in which objects of `kind` may be served, the one to ask for first in front.
pub(super) fn resources(kind: Kind) -> Vec<ApiResource> {
    let plural = match kind {
        Kind::Namespace => "namespaces",
        Kind::Node => "nodes",
        Kind::Pod => "pods",
        Kind::WorkloadSlice => "workloadslices",
        Kind::Service => "services",
        Kind::EndpointSlice => "endpointslices",
        Kind::HttpRoute => "httproutes",
        Kind::GrpcRoute => "grpcroutes",
        Kind::ReferenceGrant => "referencegrants",
        Kind::AccessPolicy => "accesspolicies",
        Kind::RequestAuthentication => "requestauthentications",
        Kind::TrafficPolicy => "trafficpolicies",
    };
    let resource = |api_version: &&str| {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        ApiResource {
            group: group.into(),
            version: version.into(),
            api_version: (*api_version).into(),
            kind: kind.word().into(),
            plural: plural.into(),
        }
    };
    object::api_versions(kind).iter().map(resource).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(value: Value) -> Raw {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn an_item_of_a_list_is_read_as_what_it_is_asked_for() {
        let pod = json!({
            "metadata": {
                "name": "cart-0", "namespace": "shop", "uid": "u", "managedFields": [{"manager": "x"}],
                "annotations": {"weir.dev/netns": "/run/netns/pay-0"},
            },
            "spec": {"containers": [], "nodeName": "node-a", "aFieldOfTomorrow": {"x": 1}},
            "status": {"podIPs": [{"ip": "10.244.1.2"}]},
        });
        let pod = raw(pod);
        assert_eq!(pod.key(Kind::Pod).to_string(), "Pod shop/cart-0");
        assert!(pod.value.pointer("/metadata/managedFields").is_none());
        let (Ok(Object::Pod(pod)), faults) = pod.read(Kind::Pod, "v1") else { panic!("no pod") };
        assert_eq!((faults.len(), faults[0].value.as_str()), (1, "/run/netns/pay-0"));
        assert_eq!((&*pod.node, pod.addresses.len()), ("node-a", 1));
        assert_eq!(pod.settings.netns, None);
    }

    #[test]
    fn what_makes_no_sense_is_said_of_its_object() {
        let pod = raw(json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"containers": 5}}));
        let errors = pod.read(Kind::Pod, "v1").0.expect_err("no containers");
        assert_eq!((errors[0].field.as_str(), errors[0].value.as_str()), ("spec.containers", "5"));
        let policy = raw(json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"action": "perhaps"}}));
        let errors = policy.read(Kind::AccessPolicy, "weir.dev/v1alpha1").0.expect_err("no action");
        assert!(errors.iter().any(|error| error.field == "spec.action"), "{errors:?}");
    }

    #[test]
    fn every_kind_is_asked_for_by_its_plural() {
        for kind in Kind::ALL {
            let resources = resources(kind);
            assert!(resources[0].plural.starts_with(&kind.word()[..3].to_lowercase()), "{kind}");
        }
        let grants: Vec<_> =
            resources(Kind::ReferenceGrant).into_iter().map(|resource| resource.api_version).collect();
        assert_eq!(grants, ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"]);
    }
}
