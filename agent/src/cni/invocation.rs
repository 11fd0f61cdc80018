//! What the container runtime tells the plugin: the environment, and the configuration on standard input (CNI 1.1).
//!
//! Entry point: [`Invocation::read`]. Pure. What is Weir's own in the configuration and makes no sense counts as not there: a
//! broken configuration must not keep pods from starting that have nothing to do with the mesh.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde_json::Value;

use super::{
    STATE,
    fallback::Word,
    reply::{Fault, VERSION, VERSIONS},
};
use crate::{cli::args::SOCKET, state::annotations};

/// The capability by which a runtime gives the annotations of the pod (containerd 1.5, CRI-O 1.29).
pub const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

/// `CNI_COMMAND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A pod's network was made.
    Add,
    /// Is it still as it was made?
    Check,
    /// It is taken away.
    Del,
    /// All that is not named is gone.
    Gc,
    /// Could a network be made now?
    Status,
    /// Which versions of CNI are known?
    Version,
}

/// One run of the plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    /// What is to be done.
    pub command: Command,
    /// `cniVersion` of the configuration.
    pub version: String,
    /// The pod; absent when this is not for a pod of a Kubernetes.
    pub pod: Option<PodName>,
    /// `CNI_CONTAINERID`: the pod's sandbox.
    pub sandbox: String,
    /// `CNI_NETNS`.
    pub netns: PathBuf,
    /// What the pod's own annotation says of the mesh.
    pub word: Word,
    /// What the plugins before this one have made.
    pub previous: Option<Value>,
    /// The agent's socket.
    pub socket: PathBuf,
    /// Where the agent leaves what must outlive it.
    pub state: PathBuf,
}

/// Which pod it is, in `CNI_ARGS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    /// `K8S_POD_NAMESPACE`.
    pub namespace: String,
    /// `K8S_POD_NAME`.
    pub name: String,
    /// `K8S_POD_UID`: as its kubelet knows it.
    pub uid: String,
}

impl Invocation {
    /// Makes sense of an environment, variable by variable, and of standard input.
    ///
    /// # Errors
    /// With the codes of the specification; nothing was done then.
    pub fn read(variable: impl Fn(&str) -> Option<String>, input: &[u8]) -> Result<Self, Fault> {
        let command = command(&variable("CNI_COMMAND").unwrap_or_default())?;
        let config: Value = match (command, serde_json::from_slice(input)) {
            (_, Ok(config @ Value::Object(_))) => config,
            (Command::Version, _) => Value::Null,
            (_, Ok(_)) => return Err(Fault::undecodable("the configuration is no JSON object")),
            (_, Err(error)) => {
                return Err(Fault::undecodable(format!("the configuration is not JSON: {error}")));
            }
        };
        let text = |name: &str| config[name].as_str().filter(|text| !text.is_empty());
        let path = |name: &str, default: &str| {
            let given = text(name).filter(|path| Path::new(path).is_absolute());
            PathBuf::from(given.unwrap_or(default))
        };
        let version = text("cniVersion").unwrap_or(VERSION).to_owned();
        if command != Command::Version && !VERSIONS.contains(&version.as_str()) {
            return Err(Fault::version(&version));
        }
        Ok(Self {
            command,
            version,
            pod: pod(&variable("CNI_ARGS").unwrap_or_default()),
            sandbox: variable("CNI_CONTAINERID").unwrap_or_default(),
            netns: variable("CNI_NETNS").unwrap_or_default().into(),
            word: word(&config["runtimeConfig"]),
            previous: Some(&config["prevResult"]).filter(|result| result.is_object()).cloned(),
            socket: path("socket", SOCKET),
            state: path("state", STATE),
        })
    }

    /// The addresses that the pod was given: the first of each family, as its `status.podIPs` will have them.
    ///
    /// # Errors
    /// When the result of the plugins before this one cannot be read.
    pub fn addresses(&self) -> Result<Vec<IpAddr>, Fault> {
        let listed = self.previous.as_ref().map_or(&Value::Null, |result| &result["ips"]);
        let mut addresses: Vec<IpAddr> = Vec::new();
        for entry in listed.as_array().into_iter().flatten() {
            let text = entry["address"].as_str().unwrap_or_default();
            let net: IpNet = text.parse().map_err(|_| {
                Fault::config(format!("prevResult.ips: {entry}: address must be a CIDR like 10.244.1.2/24"))
            })?;
            if addresses.iter().all(|other| other.is_ipv4() != net.addr().is_ipv4()) {
                addresses.push(net.addr());
            }
        }
        Ok(addresses)
    }
}

fn command(text: &str) -> Result<Command, Fault> {
    Ok(match text {
        "ADD" => Command::Add,
        "CHECK" => Command::Check,
        "DEL" => Command::Del,
        "GC" => Command::Gc,
        "STATUS" => Command::Status,
        "VERSION" => Command::Version,
        _ => {
            return Err(Fault::environment(format!(
                "CNI_COMMAND: {text:?}: must be ADD, CHECK, DEL, GC, STATUS or VERSION; a container runtime sets it"
            )));
        }
    })
}

/// `KEY=VALUE;KEY=VALUE`; what is none of a pod's is passed over.
fn pod(arguments: &str) -> Option<PodName> {
    let of = |key: &str| {
        let mut pairs = arguments.split(';').filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(name, _)| *name == key).map(|(_, value)| value.trim().to_owned());
        found.filter(|value| !value.is_empty())
    };
    Some(PodName {
        namespace: of("K8S_POD_NAMESPACE")?,
        name: of("K8S_POD_NAME")?,
        uid: of("K8S_POD_UID").unwrap_or_default(),
    })
}

fn word(runtime_config: &Value) -> Word {
    match runtime_config.get(ANNOTATIONS) {
        None => Word::NotTold,
        Some(all) => match all.get(annotations::MESH) {
            None => Word::Silent,
            // As the agent reads it: a typo opens nothing.
            Some(value) if value.as_str().map(str::trim) == Some("disabled") => Word::Disabled,
            Some(_) => Word::Enabled,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(variables: &[(&str, &str)], config: &Value) -> Result<Invocation, Fault> {
        let variable = |name: &str| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
        };
        Invocation::read(variable, config.to_string().as_bytes())
    }

    fn added(config: &Value) -> Invocation {
        let arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart;\
                         K8S_POD_INFRA_CONTAINER_ID=1a2b;K8S_POD_UID=8dbc";
        let variables = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "1a2b"),
            ("CNI_NETNS", "/var/run/netns/cni-1"),
            ("CNI_ARGS", arguments),
        ];
        read(&variables, config).expect("an invocation")
    }

    #[test]
    fn what_a_runtime_tells_of_a_pod_is_read() {
        let previous = json!({"ips": [
            {"address": "10.244.1.2/24"}, {"address": "fd10::2/64"}, {"address": "10.244.9.9/24"},
        ]});
        let invocation = added(&json!({
            "cniVersion": "1.0.0", "name": "pods", "type": "weir-cni", "prevResult": previous,
            "socket": "/run/other.sock", "state": "/var/other",
            "runtimeConfig": {ANNOTATIONS: {"weir.dev/mesh": " disabled ", "a": "b"}},
        }));
        let pod = PodName { namespace: "shop".into(), name: "cart".into(), uid: "8dbc".into() };
        assert_eq!((invocation.pod.clone(), invocation.word), (Some(pod), Word::Disabled));
        assert_eq!((&*invocation.sandbox, &*invocation.version), ("1a2b", "1.0.0"));
        assert_eq!(invocation.netns, Path::new("/var/run/netns/cni-1"));
        assert_eq!(
            (&*invocation.socket, &*invocation.state),
            ("/run/other.sock".as_ref(), "/var/other".as_ref())
        );
        let wanted: [IpAddr; 2] = ["10.244.1.2".parse().expect("ip"), "fd10::2".parse().expect("ip")];
        assert_eq!(invocation.addresses().expect("addresses"), wanted);
        assert_eq!(invocation.previous, Some(previous));
    }

    #[test]
    fn what_is_broken_of_the_plugins_own_configuration_counts_as_not_there() {
        for (socket, state) in [(json!(7), json!(null)), (json!("run/x"), json!("")), (json!(""), json!([]))]
        {
            let invocation = added(&json!({"socket": socket, "state": state, "runtimeConfig": "?"}));
            assert_eq!((&*invocation.socket, &*invocation.state), (SOCKET.as_ref(), STATE.as_ref()));
            assert_eq!(invocation.word, Word::NotTold);
            assert_eq!(invocation.addresses().expect("none"), [] as [IpAddr; 0]);
        }
    }

    #[test]
    fn the_word_of_the_annotation_is_what_the_agent_would_make_of_it() {
        for (annotations, word) in [
            (json!(null), Word::Silent),
            (json!({}), Word::Silent),
            (json!({"weir.dev/mesh": "enabled"}), Word::Enabled),
            (json!({"weir.dev/mesh": "disabled"}), Word::Disabled),
            (json!({"weir.dev/mesh": "disable"}), Word::Enabled),
            (json!({"weir.dev/mesh": 1}), Word::Enabled),
        ] {
            let found = added(&json!({"runtimeConfig": {ANNOTATIONS: annotations}})).word;
            assert_eq!(found, word, "{annotations}");
        }
        assert_eq!(added(&json!({"runtimeConfig": {}})).word, Word::NotTold);
    }

    #[test]
    fn what_is_no_pod_has_none() {
        for arguments in ["", "IgnoreUnknown=1", "K8S_POD_NAME=cart", "K8S_POD_NAMESPACE=;K8S_POD_NAME=x"] {
            let variables = [("CNI_COMMAND", "ADD"), ("CNI_ARGS", arguments)];
            assert_eq!(read(&variables, &json!({})).expect("an invocation").pod, None, "{arguments}");
        }
    }

    #[test]
    fn what_no_runtime_would_say_is_refused_with_the_codes_of_the_specification() {
        let code = |command: &str, input: &str| {
            let variable = |name: &str| (name == "CNI_COMMAND").then(|| command.to_owned());
            Invocation::read(variable, input.as_bytes()).map_err(|fault| fault.code)
        };
        assert_eq!(code("ADDD", "{}"), Err(4));
        assert_eq!(code("ADD", "{"), Err(6));
        assert_eq!(code("ADD", "[]"), Err(6));
        assert_eq!(code("ADD", r#"{"cniVersion":"0.2.0"}"#), Err(1));
        assert!(code("VERSION", "").is_ok());
        assert!(code("VERSION", r#"{"cniVersion":"9.0.0"}"#).is_ok());
        let bad = added(&json!({"prevResult": {"ips": [{"address": "10.244.1.2"}]}}));
        assert_eq!(bad.addresses().expect_err("no CIDR").code, 7);
    }
}
