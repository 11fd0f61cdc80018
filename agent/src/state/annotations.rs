//! What the annotations `weir.dev/…` of a Namespace or Pod ask of the mesh, parsed once.
//!
//! Entry points: [`MeshSettings::parse`], [`MeshSettings::mended`]. Text becomes types here and nowhere else: a bad value is an
//! error that names the annotation and the value. An annotation of Weir's group that nobody knows is
//! an error too, since `weir.dev/mlts: strict` must not quietly mean permissive.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    str::FromStr,
    sync::{Arc, LazyLock},
};

use ipnet::IpNet;

use super::model::{Mtls, Skip};
use crate::policy::{
    FieldError,
    field::{LONGEST_VALUE, cut},
};

/// Ports or networks that one `skip-*` annotation can list.
pub const LONGEST_SKIP_LIST: usize = 64;

const GROUP: &str = "weir.dev/";
pub(crate) const MESH: &str = "weir.dev/mesh";
const MTLS: &str = "weir.dev/mtls";
/// Where a pod runs that no kubelet runs.
pub(crate) const NETNS: &str = "weir.dev/netns";
const SKIP_INBOUND_PORTS: &str = "weir.dev/skip-inbound-ports";
const SKIP_OUTBOUND_CIDRS: &str = "weir.dev/skip-outbound-cidrs";
const SKIP_OUTBOUND_PORTS: &str = "weir.dev/skip-outbound-ports";
const KNOWN: [&str; 6] = [MESH, MTLS, NETNS, SKIP_INBOUND_PORTS, SKIP_OUTBOUND_CIDRS, SKIP_OUTBOUND_PORTS];

/// The kind of object that carries the annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Its settings are what its pods get unless they say otherwise.
    Namespace,
    /// Each of its settings replaces that of its Namespace.
    Pod,
}

/// The settings of one Namespace or Pod; `None` is "not said here".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshSettings {
    /// `weir.dev/mesh`: `enabled` or `disabled`.
    pub mesh: Option<bool>,
    /// `weir.dev/mtls`: `permissive` or `strict`.
    pub mtls: Option<Mtls>,
    /// `weir.dev/skip-outbound-ports`, sorted.
    pub skip_outbound_ports: Option<Vec<u16>>,
    /// `weir.dev/skip-inbound-ports`, sorted.
    pub skip_inbound_ports: Option<Vec<u16>>,
    /// `weir.dev/skip-outbound-cidrs`, sorted.
    pub skip_outbound_cidrs: Option<Vec<IpNet>>,
    /// `weir.dev/netns`, on a Pod only.
    pub netns: Option<PathBuf>,
}

impl MeshSettings {
    /// Reads the annotations of an object of kind `carrier`; those of other groups are not looked at.
    ///
    /// # Errors
    /// Every bad value and every unknown annotation of Weir's group, in the order of their names.
    pub fn parse(carrier: Carrier, annotations: &BTreeMap<String, String>) -> Result<Self, Vec<FieldError>> {
        let mut settings = Self::default();
        let mut errors = Vec::new();
        for (name, value) in annotations.iter().filter(|(name, _)| name.starts_with(GROUP)) {
            if let Err(message) = settings.set(carrier, name, value.trim()) {
                errors.push(fault(name, value, message));
            }
        }
        if errors.is_empty() { Ok(settings) } else { Err(errors) }
    }

    /// The annotations of an object that is in force whatever they say, with what is safe in place of what makes no
    /// sense: a word that is none puts the pods into the mesh, and asks for mutual TLS; what cannot be skipped is not.
    /// With them, what was wrong.
    pub fn mended(
        carrier: Carrier,
        annotations: &BTreeMap<String, String>,
    ) -> (BTreeMap<String, String>, Vec<FieldError>) {
        let (mut mended, mut faults) = (annotations.clone(), Vec::new());
        for (name, value) in annotations.iter().filter(|(name, _)| name.starts_with(GROUP)) {
            let Err(message) = Self::default().set(carrier, name, value.trim()) else { continue };
            let instead = match name.as_str() {
                MESH => Some("enabled"),
                MTLS => Some("strict"),
                _ => None,
            };
            let message = match instead {
                Some(word) => format!("{message}; it counts as {word}"),
                None if KNOWN.contains(&name.as_str()) => format!("{message}; it counts as not set"),
                None => message,
            };
            match instead {
                Some(word) => mended.insert(name.clone(), word.into()),
                None => mended.remove(name),
            };
            faults.push(fault(name, value, message));
        }
        (mended, faults)
    }

    /// For many pods: most of them say nothing.
    pub fn shared(self) -> Arc<Self> {
        static NOTHING: LazyLock<Arc<MeshSettings>> = LazyLock::new(Arc::default);
        if self == **NOTHING { NOTHING.clone() } else { self.into() }
    }

    /// The annotations that say them.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        fn list<T: ToString>(items: &[T]) -> String {
            items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
        let mesh = self.mesh.map(|mesh| if mesh { "enabled" } else { "disabled" }.to_owned());
        let mtls = self.mtls.map(|mtls| match mtls {
            Mtls::Permissive => "permissive".to_owned(),
            Mtls::Strict => "strict".to_owned(),
        });
        let said = [
            (MESH, mesh),
            (MTLS, mtls),
            (SKIP_OUTBOUND_PORTS, self.skip_outbound_ports.as_deref().map(list)),
            (SKIP_INBOUND_PORTS, self.skip_inbound_ports.as_deref().map(list)),
            (SKIP_OUTBOUND_CIDRS, self.skip_outbound_cidrs.as_deref().map(list)),
            (NETNS, self.netns.as_ref().map(|path| path.display().to_string())),
        ];
        said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    fn set(&mut self, carrier: Carrier, name: &str, value: &str) -> Result<(), String> {
        match name {
            MESH => self.mesh = Some(word(value, [("enabled", true), ("disabled", false)])?),
            MTLS => {
                self.mtls = Some(word(value, [("permissive", Mtls::Permissive), ("strict", Mtls::Strict)])?);
            }
            SKIP_OUTBOUND_PORTS => self.skip_outbound_ports = Some(list(value, port)?),
            SKIP_INBOUND_PORTS => self.skip_inbound_ports = Some(list(value, port)?),
            SKIP_OUTBOUND_CIDRS => self.skip_outbound_cidrs = Some(list(value, network)?),
            NETNS if carrier == Carrier::Pod => self.netns = Some(netns(value)?),
            NETNS => return Err("belongs on a Pod: a Namespace has no network namespace of its own".into()),
            _ => {
                return Err(format!("unknown annotation; known: {}", KNOWN.join(", ")));
            }
        }
        Ok(())
    }

    /// What capture leaves alone when these are a Pod's settings and `namespace` those around it.
    pub(super) fn skip(&self, namespace: &MeshSettings) -> Arc<Skip> {
        static NOTHING: LazyLock<Arc<Skip>> = LazyLock::new(Arc::default);
        fn pick<T: Clone>(own: &Option<Vec<T>>, outer: &Option<Vec<T>>) -> Vec<T> {
            own.as_ref().or(outer.as_ref()).cloned().unwrap_or_default()
        }
        let skip = Skip {
            outbound_ports: pick(&self.skip_outbound_ports, &namespace.skip_outbound_ports),
            inbound_ports: pick(&self.skip_inbound_ports, &namespace.skip_inbound_ports),
            outbound_cidrs: pick(&self.skip_outbound_cidrs, &namespace.skip_outbound_cidrs),
        };
        if skip == **NOTHING { NOTHING.clone() } else { skip.into() }
    }
}

/// What is wrong with the annotation `name`, which was given as `value`.
pub(crate) fn fault(name: &str, value: &str, message: impl Into<String>) -> FieldError {
    FieldError { field: field(name), value: cut(value.into(), LONGEST_VALUE), message: message.into() }
}

/// Which of Weir's annotations a fault's field names, `unknown` for one that is none; `None` for any other field.
pub(crate) fn annotation_of(named: &str) -> Option<&'static str> {
    let known = KNOWN.into_iter().find(|name| named == field(name));
    known.or_else(|| named.starts_with(&format!("metadata.annotations[\"{GROUP}")).then_some("unknown"))
}

fn field(name: &str) -> String {
    format!("metadata.annotations[{name:?}]")
}

fn word<T, const N: usize>(value: &str, words: [(&str, T); N]) -> Result<T, String> {
    let known = words.each_ref().map(|(word, _)| *word).join(" or ");
    let found = words.into_iter().find(|(word, _)| *word == value);
    found.map(|(_, meaning)| meaning).ok_or_else(|| format!("must be {known}"))
}

/// A list separated by commas; an empty text is an empty list, with which a Pod takes back its
/// Namespace's.
fn list<T: Ord>(value: &str, item: fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let mut items = value.split(',').map(|text| item(text.trim())).collect::<Result<Vec<T>, String>>()?;
    items.sort();
    items.dedup();
    if items.len() > LONGEST_SKIP_LIST {
        return Err(format!("lists {} values; at most {LONGEST_SKIP_LIST} are kept", items.len()));
    }
    Ok(items)
}

fn port(text: &str) -> Result<u16, String> {
    match u16::from_str(text) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("{text:?} is not a port: numbers from 1 to 65535, separated by commas")),
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = IpNet::from_str(text).map_err(|_| {
        format!("{text:?} is not a network: CIDRs like 10.0.0.0/8 or fd00::/8, separated by commas")
    })?;
    if network.trunc() != network {
        return Err(format!("{text:?} has host bits set; the network is {}", network.trunc()));
    }
    Ok(network)
}

fn netns(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || text.contains('\0') {
        return Err("must be an absolute path without .., like /run/netns/cart-0".into());
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(carrier: Carrier, annotations: &[(&str, &str)]) -> Result<MeshSettings, Vec<FieldError>> {
        let annotations = annotations.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        MeshSettings::parse(carrier, &annotations)
    }

    #[test]
    fn what_makes_no_sense_opens_nothing() {
        let given = [
            ("weir.dev/mesh", "Enabled!"),
            ("weir.dev/mtls", "strct"),
            ("weir.dev/skip-inbound-ports", "80, http"),
            ("weir.dev/skip-outbound-ports", "25"),
            ("weir.dev/mlts", "strict"),
            ("other.dev/mesh", "?"),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let (mended, faults) = MeshSettings::mended(Carrier::Pod, &given);
        let settings = MeshSettings::parse(Carrier::Pod, &mended).expect("mended");
        let wanted = MeshSettings {
            mesh: Some(true),
            mtls: Some(Mtls::Strict),
            skip_outbound_ports: Some(vec![25]),
            ..MeshSettings::default()
        };
        assert_eq!(settings, wanted);
        let named: Vec<&str> = faults.iter().map(|fault| fault.value.as_str()).collect();
        assert_eq!(named, ["Enabled!", "strict", "strct", "80, http"]);
        assert!(faults[0].message.ends_with("it counts as enabled"), "{faults:?}");
        assert!(faults[2].message.ends_with("it counts as strict"), "{faults:?}");
        assert!(faults[3].message.ends_with("it counts as not set"), "{faults:?}");
        let annotations = faults.iter().map(|fault| annotation_of(&fault.field));
        assert!(annotations.eq([Some(MESH), Some("unknown"), Some(MTLS), Some(SKIP_INBOUND_PORTS)]));
        assert_eq!(annotation_of("metadata.labels[\"weir.dev/mesh\"]"), None);
        assert_eq!(mended.get("other.dev/mesh").map(String::as_str), Some("?"));
    }

    #[test]
    fn every_setting_is_read_and_other_groups_are_left_alone() {
        let settings = parse(
            Carrier::Pod,
            &[
                ("weir.dev/mesh", "enabled"),
                ("weir.dev/mtls", "strict"),
                ("weir.dev/netns", "/run/netns/cart-0"),
                ("weir.dev/skip-inbound-ports", "9100, 22,22"),
                ("weir.dev/skip-outbound-cidrs", "10.1.0.0/16,fd00::/8"),
                ("weir.dev/skip-outbound-ports", ""),
                ("example.com/mesh", "whatever"),
            ],
        );
        let wanted = MeshSettings {
            mesh: Some(true),
            mtls: Some(Mtls::Strict),
            skip_outbound_ports: Some(vec![]),
            skip_inbound_ports: Some(vec![22, 9100]),
            skip_outbound_cidrs: Some(vec![
                "10.1.0.0/16".parse().expect("a network"),
                "fd00::/8".parse().expect("a network"),
            ]),
            netns: Some("/run/netns/cart-0".into()),
        };
        assert_eq!(settings, Ok(wanted));
    }

    #[test]
    fn a_bad_value_is_refused_with_its_annotation_and_value() {
        for (name, value) in [
            ("weir.dev/mesh", "yes"),
            ("weir.dev/mesh", "Enabled"),
            ("weir.dev/mtls", "off"),
            ("weir.dev/netns", "netns/x"),
            ("weir.dev/netns", "/run/netns/../x"),
            ("weir.dev/skip-inbound-ports", "http"),
            ("weir.dev/skip-inbound-ports", "0"),
            ("weir.dev/skip-outbound-ports", "1,,2"),
            ("weir.dev/skip-outbound-ports", "65536"),
            ("weir.dev/skip-outbound-cidrs", "10.0.0.1/8"),
            ("weir.dev/skip-outbound-cidrs", "10.0.0.0"),
            ("weir.dev/mlts", "strict"),
        ] {
            let errors = parse(Carrier::Pod, &[(name, value)]).expect_err(value);
            assert_eq!(errors.len(), 1, "{name}={value}");
            assert_eq!(errors[0].field, format!("metadata.annotations[\"{name}\"]"));
            assert_eq!(errors[0].value, value);
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let errors = parse(Carrier::Pod, &[("weir.dev/mesh", "on"), ("weir.dev/mtls", "off")]);
        assert_eq!(errors.expect_err("two bad values").len(), 2);
    }

    #[test]
    fn a_namespace_names_no_network_namespace() {
        assert!(parse(Carrier::Namespace, &[("weir.dev/netns", "/run/netns/x")]).is_err());
    }

    #[test]
    fn a_skip_list_is_bounded() {
        let ports = |n: usize| (1..=n).map(|p| p.to_string()).collect::<Vec<_>>().join(",");
        let parse = |text: &str| parse(Carrier::Pod, &[("weir.dev/skip-outbound-ports", text)]);
        assert!(parse(&ports(LONGEST_SKIP_LIST)).is_ok());
        assert!(parse(&ports(LONGEST_SKIP_LIST + 1)).is_err());
    }

    #[test]
    fn an_empty_list_on_a_pod_takes_back_the_list_of_its_namespace() {
        let namespace = MeshSettings { skip_outbound_ports: Some(vec![3306]), ..Default::default() };
        let silent = MeshSettings::default();
        assert_eq!(silent.skip(&namespace).outbound_ports, [3306]);
        let empty = MeshSettings { skip_outbound_ports: Some(vec![]), ..Default::default() };
        assert!(empty.skip(&namespace).outbound_ports.is_empty());
    }
}
