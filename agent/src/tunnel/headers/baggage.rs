//! What the source's node says about the source workload (W3C Baggage with OpenTelemetry's names).
//!
//! Entry point: [`Baggage`], which writes itself by `Display` and reads itself by [`Baggage::parse`].
//! A claim for telemetry: whoever decides something must look at the verified identity instead.

use std::{fmt, sync::Arc};

use http::{HeaderValue, header::GetAll};

use super::{
    HeaderError,
    percent::{decode, encode, is_visible},
};

/// Longest `baggage` that is read, in bytes (W3C Baggage §3.3.2 asks for at least as much).
const TOTAL: usize = 8192;
/// Most members that are read (W3C Baggage §3.3.2: at least 64).
const MEMBERS: usize = 64;
/// Longest value that is kept: a DNS subdomain, the longest Kubernetes name.
const VALUE: usize = 253;

/// The kind of object that owns the source pod, as `k8s.<kind>.name` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkloadType {
    /// A Deployment.
    Deployment,
    /// A bare pod, or one whose owner is of no other kind here.
    Pod,
    /// A Job.
    Job,
    /// A CronJob.
    CronJob,
}

impl WorkloadType {
    const ALL: [Self; 4] = [Self::Deployment, Self::Pod, Self::Job, Self::CronJob];

    /// The member's name.
    fn key(self) -> &'static str {
        match self {
            Self::Deployment => "k8s.deployment.name",
            Self::Pod => "k8s.pod.name",
            Self::Job => "k8s.job.name",
            Self::CronJob => "k8s.cronjob.name",
        }
    }
}

/// The source workload in words; absent members are not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baggage {
    /// `k8s.cluster.name`
    pub cluster: Option<Arc<str>>,
    /// `k8s.namespace.name`
    pub namespace: Option<Arc<str>>,
    /// `k8s.deployment.name`, `k8s.pod.name`, `k8s.job.name` or `k8s.cronjob.name`
    pub workload: Option<(WorkloadType, Arc<str>)>,
    /// `service.name`
    pub service: Option<Arc<str>>,
    /// `service.version`
    pub version: Option<Arc<str>>,
    /// `cloud.region`
    pub region: Option<Arc<str>>,
    /// `cloud.availability_zone`
    pub zone: Option<Arc<str>>,
}

impl fmt::Display for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workload = self.workload.as_ref().map(|(kind, name)| (kind.key(), name));
        let members = [
            self.cluster.as_ref().map(|value| ("k8s.cluster.name", value)),
            self.namespace.as_ref().map(|value| ("k8s.namespace.name", value)),
            workload,
            self.service.as_ref().map(|value| ("service.name", value)),
            self.version.as_ref().map(|value| ("service.version", value)),
            self.region.as_ref().map(|value| ("cloud.region", value)),
            self.zone.as_ref().map(|value| ("cloud.availability_zone", value)),
        ];
        for (index, (key, value)) in members.into_iter().flatten().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{key}={}", encode(value, is_baggage_octet))?;
        }
        Ok(())
    }
}

impl Baggage {
    /// Reads the header; unknown members are skipped, of a repeated one the last is taken.
    pub(super) fn parse(values: GetAll<'_, HeaderValue>) -> Result<Self, HeaderError> {
        let mut baggage = Self::default();
        let (mut total, mut members) = (0, 0);
        for value in values {
            total += value.len();
            if total > TOTAL {
                return Err(HeaderError::Baggage("longer than 8192 bytes"));
            }
            let text = value.to_str().map_err(|_| HeaderError::Baggage("not ASCII"))?;
            for member in text.split(',').map(str::trim).filter(|member| !member.is_empty()) {
                members += 1;
                if members > MEMBERS {
                    return Err(HeaderError::Baggage("more than 64 members"));
                }
                baggage.take(member)?;
            }
        }
        Ok(baggage)
    }

    fn take(&mut self, member: &str) -> Result<(), HeaderError> {
        // Properties after a semicolon say nothing that is used here (W3C Baggage §3.2.2).
        let pair = member.split(';').next().unwrap_or_default();
        let (key, value) = pair.split_once('=').ok_or(HeaderError::Baggage("a member without '='"))?;
        let value = decode(value.trim());
        if value.len() > VALUE {
            return Err(HeaderError::Baggage("a value longer than 253 bytes"));
        }
        let value: Option<Arc<str>> = (!value.is_empty()).then(|| value.into());
        match key.trim() {
            "k8s.cluster.name" => self.cluster = value,
            "k8s.namespace.name" => self.namespace = value,
            "service.name" => self.service = value,
            "service.version" => self.version = value,
            "cloud.region" => self.region = value,
            "cloud.availability_zone" => self.zone = value,
            key => {
                let kind = WorkloadType::ALL.into_iter().find(|kind| kind.key() == key);
                if let Some(workload) = kind.zip(value) {
                    self.workload = Some(workload);
                }
            }
        }
        Ok(())
    }
}

/// `baggage-octet` of W3C Baggage §3.2.1.
fn is_baggage_octet(byte: u8) -> bool {
    is_visible(byte) && !matches!(byte, b'"' | b',' | b';' | b'\\')
}
