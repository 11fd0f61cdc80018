//! The agent's own socket: root's alone, whatever becomes of the file's mode.

use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::Result;

use crate::mesh::{Mesh, PORT};

const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

#[test]
fn no_one_but_root_reads_an_agent_s_flows_even_when_the_socket_s_file_is_open_to_all() -> Result<()> {
    let mesh = Mesh::new("permissive", &[])?;
    assert!(mesh.cart.dial(mesh.pay.v4(PORT))?.connected);
    let socket = mesh.a.node().socket();
    assert_eq!(fs::metadata(&socket)?.permissions().mode() & 0o777, 0o600);
    let ask = |path: &str| {
        let url = format!("http://weir{path}");
        let socket = socket.display().to_string();
        let curl = ["curl", "--silent", "--show-error", "--max-time", "10", "--unix-socket", &socket, &url];
        mesh.cart.run(NOBODY.iter().chain(&curl))
    };

    assert!(!ask("/v1/flows")?.status.success(), "mode 0600 keeps others out");
    for directory in socket.ancestors().skip(1).take(2) {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    }
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
    for path in ["/v1/flows", "/v1/status", "/v1/policy/audit"] {
        let refused = ask(path)?;
        assert!(!refused.stdout.contains("shop"), "{path}: {}", refused.stdout);
    }

    mesh.a.wait_metric("weir_http_connections_refused_total", &[("server", "admin")], 3.0)?;
    // Root, by the same way, is answered.
    let status = mesh.cart.run([
        "curl",
        "-sS",
        "--unix-socket",
        &socket.display().to_string(),
        "http://weir/v1/status",
    ])?;
    assert!(status.success()?.contains("shop"));
    Ok(())
}
