//! The README's own commands for two pods, run as a newcomer would: in a machine of their own as far as network, mounts
//! and `/run` go. Those for a cluster are run by `install.rs`.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The README's blocks marked `sh`, without the build, which has been done.
fn commands(readme: &str) -> String {
    let mut script = String::new();
    let mut inside = false;
    for line in readme.lines().skip_while(|line| !line.starts_with("## Your own two pods")) {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside && !line.starts_with("cargo xtask") && !line.starts_with("export PATH") => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    script
}

#[test]
fn the_readmes_two_pods_talk_and_are_refused_as_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout");
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    let weir: PathBuf = weir_tests::weir().expect("a built agent");
    let directory = weir.parent().expect("a directory");
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap_or_default());
    // Job control, because the README ends its background jobs by name.
    let prologue = "set -eum; mount -t tmpfs tmpfs /run; mkdir -p /run/netns; ip link set lo up\n";
    let mut shell = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash"])
        .current_dir(root)
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare");
    let script = format!("{prologue}{}", commands(&readme));
    shell.stdin.take().expect("piped").write_all(script.as_bytes()).expect("a shell that reads");
    let output = shell.wait_with_output().expect("an end");
    let text = format!(
        "{}\n--- stderr\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    let statuses: Vec<&str> =
        text.lines().filter(|line| line.len() == 3 && line.parse::<u16>().is_ok()).collect();
    let (first, limited) = statuses.split_at(6.min(statuses.len()));
    assert_eq!(first, ["200", "200", "301", "200", "403", "200"], "{text}");
    // How many there are of each is a matter of time.
    assert_eq!(limited.len(), 9, "{text}");
    assert!(limited.iter().all(|status| ["200", "429"].contains(status)), "{text}");
    assert!(limited.contains(&"200") && limited.contains(&"429"), "{text}");
    for expected in [
        "shop/cart",
        "captured",
        "direct",
        "route shop/pay/v1",
        "user ann",
        "denied    application default",
        "removed",
    ] {
        assert!(text.contains(expected), "no {expected:?} in:\n{text}");
    }
}
