//! What `weir controller` takes.
//!
//! Entry point: [`ControllerArgs`].

use std::{net::SocketAddr, str::FromStr};

use clap::Args;

use super::LogFormat;
use crate::identity::TrustDomain;

/// `weir controller`.
#[derive(Debug, Args)]
pub struct ControllerArgs {
    /// Work with the Kubernetes API, as this pod's service account or as KUBECONFIG says; there is no other way yet
    #[arg(long, env = "WEIR_KUBE")]
    pub kube: bool,
    /// The namespace of the objects that the controller keeps
    #[arg(long, env = "WEIR_NAMESPACE", value_name = "NS", default_value = "weir-system")]
    pub namespace: String,
    /// Write WorkloadSlices, for agents with --pods slices
    #[arg(long, env = "WEIR_SLICES")]
    pub slices: bool,
    /// Address of the certificate authority
    #[arg(long, env = "WEIR_LISTEN", value_name = "ADDR:PORT", default_value = "0.0.0.0:15012")]
    pub listen: SocketAddr,
    /// Address for /metrics, /readyz and /livez
    #[arg(long, env = "WEIR_METRICS", value_name = "ADDR:PORT", default_value = "0.0.0.0:15020")]
    pub metrics: SocketAddr,
    /// The Service by which agents reach the authority
    #[arg(long, env = "WEIR_SERVICE", value_name = "NAME", default_value = "weir-controller")]
    pub service: String,
    /// More DNS names by which agents may know the authority, between commas
    #[arg(long, env = "WEIR_DNS_NAMES", value_name = "NAME,…", value_delimiter = ',')]
    pub dns_names: Vec<String>,
    /// The Secret with the authority's certificate and key (tls.crt, tls.key, ca.crt); made where there is none
    #[arg(long, env = "WEIR_CA_SECRET", value_name = "NAME", default_value = "weir-ca")]
    pub ca_secret: String,
    /// The ConfigMap in which the roots are published
    #[arg(long, env = "WEIR_CA_ROOTS", value_name = "NAME", default_value = "weir-ca-roots")]
    pub ca_roots: String,
    /// The service account as which agents run
    #[arg(long, env = "WEIR_AGENT", value_name = "NS/NAME", default_value = "weir-system/weir-agent")]
    pub agent: ServiceAccount,
    /// The trust domain of this mesh's identities
    #[arg(long, env = "WEIR_TRUST_DOMAIN", value_name = "NAME", default_value = "cluster.local")]
    pub trust_domain: TrustDomain,
    /// Seconds that a certificate lives
    #[arg(long, env = "WEIR_CERTIFICATE_LIFETIME", value_name = "SECONDS", default_value_t = 86_400,
          value_parser = clap::value_parser!(u32).range(60..=2_592_000))]
    pub certificate_lifetime: u32,
    /// Seconds that a new root is published before anything is signed under it
    #[arg(long, env = "WEIR_ROTATION_SPREAD", value_name = "SECONDS", default_value_t = 900,
          value_parser = clap::value_parser!(u32).range(1..=604_800))]
    pub rotation_spread: u32,
    /// How the log is written
    #[arg(long, env = "WEIR_LOG_FORMAT", value_name = "FORM", default_value = "text")]
    pub log_format: LogFormat,
    /// What is logged: a level, or targets with levels
    #[arg(long, env = "WEIR_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
}

/// A service account: namespace and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount(pub (String, String));

impl FromStr for ServiceAccount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self((namespace.into(), name.into())))
            }
            _ => Err("NS/NAME is needed".into()),
        }
    }
}
