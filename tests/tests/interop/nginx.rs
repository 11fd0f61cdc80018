//! nginx as the server of HTTP/1.1, and of HTTP/2 without TLS; curl as its client.

use std::{fs, path::Path};

use anyhow::{Result, bail};
use weir_tests::{Pod, Process, eventually};

use super::{Destination, PORT, World};

/// nginx in a pod, serving a file and answers of all kinds. `listen` says how it listens.
pub(crate) fn nginx(dir: &Path, pod: &Pod, listen: &str) -> Result<Process> {
    let own = dir.join(format!("nginx-{}", pod.name()));
    fs::create_dir_all(own.join("root"))?;
    fs::write(own.join("root/file.txt"), content())?;
    let config = format!(
        "daemon off; master_process off; pid pid; error_log stderr;
         events {{}}
         http {{
           access_log off; client_body_temp_path 1; proxy_temp_path 2; fastcgi_temp_path 3; uwsgi_temp_path 4;
           scgi_temp_path 5; keepalive_requests 100; client_max_body_size 100k;
           gzip on; gzip_types text/plain; gzip_min_length 1;
           server {{
             listen {PORT} {listen}; listen [::]:{PORT} {listen}; root {root};
             location /status/204 {{ return 204; }}
             location /small {{ return 200 \"small\\n\"; }}
             location /denied {{ return 200 \"not denied\\n\"; }}
             location /moved {{ return 301 /small; }}
           }}
         }}",
        root = own.join("root").display(),
    );
    fs::write(own.join("nginx.conf"), config)?;
    let [prefix, file] = [own.clone(), own.join("nginx.conf")].map(|path| path.display().to_string());
    let mut server = pod.spawn(["nginx", "-p", &prefix, "-c", &file])?;
    eventually("nginx to listen", || {
        if !server.is_running()? {
            bail!("nginx ended: {}", server.log());
        }
        Ok(pod.dial_with(format!("127.0.0.1:{PORT}").parse()?, &[])?.connected.then_some(()))
    })?;
    Ok(server)
}

/// 100 kB in which every line is another.
fn content() -> String {
    (0..20_000).map(|number| format!("{number}\n")).collect()
}

/// What curl prints for some paths of one destination. For each: status, size of the body, version, connections it
/// had to make. Over HTTP/1.1 one process fetches all and keeps its connection; over HTTP/2 curl 7.88 fails at the
/// second, with a mesh and without, so each has a process of its own.
fn fetch(world: &World, to: Destination, options: &[&str], paths: &[&str]) -> Result<Vec<String>> {
    if options[0] != "--http1.1" && paths.len() > 1 {
        let one = |path: &&str| fetch(world, to, options, &[*path]);
        return Ok(paths.iter().map(one).collect::<Result<Vec<_>>>()?.concat());
    }
    let form = "%{http_code} %{size_download} %{http_version} %{num_connects}\n";
    let mut words = vec!["curl", "-sS", "--globoff", "--max-time", "15", "-w", form];
    words.extend(options);
    let urls: Vec<String> = paths.iter().map(|path| format!("http://{}{path}", to.address)).collect();
    for url in &urls {
        words.extend(["-o", "/dev/null", url]);
    }
    Ok(world.client(words)?.lines().map(str::to_owned).collect())
}

#[test]
fn nginx_answers_curl_in_every_form_over_both_versions() -> Result<()> {
    for (listen, option, version, protocol) in
        [("", "--http1.1", "1.1", "http/1.1"), ("http2", "--http2-prior-knowledge", "2", "http/2")]
    {
        let mut world = World::new("http")?;
        let dir = world.stage.topology.dir();
        let _servers = [nginx(&dir, &world.stage.near, listen)?, nginx(&dir, &world.stage.far, listen)?];
        let whole = content();
        for to in world.destinations() {
            let mark = world.mark(to)?;
            let lines = |options: &[&str], paths: &[&str]| -> Result<Vec<String>> {
                let all: Vec<&str> = [option].iter().chain(options).copied().collect();
                fetch(&world, to, &all, paths)
            };
            // Over one connection, where curl keeps it: the denied one is no reason to end it.
            let again = u8::from(version == "2");
            let length = whole.len();
            assert_eq!(
                lines(&[], &["/file.txt", "/status/204", "/none", "/denied/x", "/moved", "/small"])?,
                [
                    format!("200 {length} {version} 1"),
                    format!("204 0 {version} {again}"),
                    format!("404 153 {version} {again}"),
                    format!(
                        "403 {} {version} {again}",
                        "denied by application shop/rules rule 0 (deny)\n".len()
                    ),
                    format!("301 169 {version} {again}"),
                    format!("200 6 {version} {again}"),
                ],
                "{to:?}"
            );
            assert_eq!(
                lines(&["--head"], &["/file.txt", "/small", "/denied/x"])?,
                [
                    format!("200 0 {version} 1"),
                    format!("200 0 {version} {again}"),
                    format!("403 0 {version} {again}")
                ],
                "{to:?}"
            );
            // Ranges: one, several, one that is not there.
            assert_eq!(lines(&["--range", "100-149"], &["/file.txt"])?, [format!("206 50 {version} 1")]);
            let several = lines(&["--range", "0-0,9-9"], &["/file.txt"])?;
            assert!(several[0].starts_with("206 "), "{several:?}");
            let beyond = lines(&["--range", "999999-"], &["/file.txt"])?;
            assert!(beyond[0].starts_with("416 "), "{beyond:?}");
            // Without a length, so in chunks over HTTP/1.1.
            let url = format!("http://{}/file.txt", to.address);
            let words = ["curl", "-sS", "-i", "--globoff", "--compressed", "--max-time", "15", option, &url];
            let answer = world.client(words)?.replace('\r', "");
            assert!(answer.contains("content-encoding: gzip"), "{answer:.600}");
            assert_eq!(answer.contains("transfer-encoding: chunked"), version == "1.1", "{answer:.600}");
            assert!(answer.ends_with(&format!("\n\n{whole}")), "{answer:.600}");
            // Nothing new since then.
            let tag =
                answer.lines().find_map(|line| line.strip_prefix("last-modified: ")).unwrap_or_default();
            let since = format!("if-modified-since: {tag}");
            assert_eq!(
                lines(&["-H", &since], &["/file.txt", "/small"])?,
                [format!("304 0 {version} 1"), format!("200 6 {version} {again}")],
                "{to:?}"
            );
            if version == "1.1" {
                // Refused before it is read. Over HTTP/2 curl 7.88 fails then, without a mesh too.
                let body = format!("@{}", dir.join("body").display());
                fs::write(dir.join("body"), vec![b'x'; 3_000_000])?;
                let refused = lines(&["--data-binary", &body], &["/small"])?;
                assert!(refused[0].starts_with("413 "), "{refused:?}");
                world.seen(to, mark, &[("http.method", "POST"), ("http.path", "/small")], 413)?;
            }

            for (method, path, status) in [
                ("GET", "/file.txt", 200),
                ("GET", "/file.txt", 206),
                ("GET", "/file.txt", 304),
                ("HEAD", "/file.txt", 200),
                ("GET", "/status/204", 204),
                ("GET", "/denied/x", 403),
            ] {
                let texts = [("protocol", protocol), ("http.method", method), ("http.path", path)];
                world.seen(to, mark, &texts, status)?;
            }
        }
    }
    Ok(())
}
