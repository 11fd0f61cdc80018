//! Every check, on machines that are right and machines that are wrong.

use std::{
    io::{self, ErrorKind},
    net::TcpListener,
    os::unix::net::UnixListener,
    time::Duration,
};

use rustix::io::Errno;

use super::{mounts::Kind, *};

const V2_ONLY: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
const FIRST_NAMESPACE: &str = "         0          0 4294967295\n";
const ROOT: &str = "Name:\tweir\nCapEff:\t000001ffffffffff\nCapBnd:\t000001ffffffffff\n";

/// What must hold of any item that is not right: it says what, and how to mend it, in one line.
fn is(item: &Item, outcome: Outcome, words: &str) {
    assert_eq!(item.outcome, outcome, "{item:?}");
    assert!(item.line().contains(words), "{:?} is not in {:?}", words, item.line());
    assert!(!item.line().contains('\n'));
    let to_mend = matches!(item.outcome, Outcome::Warn | Outcome::Fail);
    assert_eq!(item.remedy.as_ref().is_some_and(|remedy| !remedy.is_empty()), to_mend, "{item:?}");
}

fn nothing_special(_: &Path) -> io::Result<Kind> {
    Ok(Kind::Other)
}

#[test]
fn kernels_are_told_apart_by_number_and_not_by_text() {
    for (release, outcome, words) in [
        ("6.18.44-fc-v657", Outcome::Ok, "6.18.44"),
        ("6.1.0-18-amd64", Outcome::Ok, "6.1.0"),
        ("10.0", Outcome::Ok, "10.0"),
        ("5.15.0-1-generic", Outcome::Warn, "6.1 or newer"),
        ("6.0.9", Outcome::Warn, "6.1 or newer"),
        ("5.9.0", Outcome::Fail, "too old: run kernel 5.15"),
        ("4.19.0", Outcome::Fail, "too old"),
        ("", Outcome::Unknown, "is not a version that can be read"),
        ("linux", Outcome::Unknown, "is not a version that can be read"),
        ("6", Outcome::Unknown, "is not a version that can be read"),
        ("99999999999.1", Outcome::Unknown, "is not a version that can be read"),
    ] {
        is(&kernel::version(release), outcome, words);
    }
}

#[test]
fn a_kernel_without_type_information_fails() {
    is(&kernel::btf(Err(ErrorKind::NotFound.into())), Outcome::Fail, "CONFIG_DEBUG_INFO_BTF");
    is(&kernel::btf(fs::metadata("/")), Outcome::Fail, "not a file");
    is(&kernel::btf(fs::metadata("/proc/self/status")), Outcome::Ok, "vmlinux");
}

#[test]
fn the_cgroup2_root_is_found_alone_and_beside_the_old_hierarchies() {
    assert_eq!(cgroup2_root(V2_ONLY), Some("/sys/fs/cgroup".into()));
    assert_eq!(cgroup2_root(HYBRID), Some("/sys/fs/cgroup/unified".into()));
    assert_eq!(
        cgroup2_root("1 2 0:3 / /mnt/a\\040b\\134c rw - cgroup2 none rw\n"),
        Some("/mnt/a b\\c".into())
    );
    for nothing in
        ["", "\n", "x", " - cgroup2", "1 2 - cgroup2", "1 2 3 / - cgroup2 x y", "1 2 3 4 / /x - ext4 y z"]
    {
        assert_eq!(cgroup2_root(nothing), None, "{nothing:?}");
    }
}

#[test]
fn a_path_in_mountinfo_with_a_broken_escape_is_taken_as_it_is() {
    for path in ["/a\\", "/a\\0", "/a\\999", "/a\\04é"] {
        let line = format!("1 2 0:3 / {path} rw - cgroup2 none rw\n");
        assert_eq!(cgroup2_root(&line), Some(path.into()), "{path:?}");
    }
}

#[test]
fn cgroup2_is_judged_by_the_path_given_or_by_what_is_mounted() {
    let v2 = |_: &Path| Ok(Kind::Cgroup2);
    let missing = |_: &Path| Err(ErrorKind::NotFound.into());
    let given = Some(Path::new("/sys/fs/cgroup/weir"));
    is(&mounts::cgroup2(given, V2_ONLY, v2), Outcome::Ok, "/sys/fs/cgroup/weir");
    is(&mounts::cgroup2(given, HYBRID, nothing_special), Outcome::Fail, "below /sys/fs/cgroup/unified");
    is(&mounts::cgroup2(given, "", nothing_special), Outcome::Fail, "mount -t cgroup2");
    is(&mounts::cgroup2(given, V2_ONLY, missing), Outcome::Fail, "make that cgroup");
    is(&mounts::cgroup2(None, HYBRID, missing), Outcome::Ok, "/sys/fs/cgroup/unified");
    is(&mounts::cgroup2(None, "", v2), Outcome::Fail, "not mounted: mkdir");
    let part = "9 8 0:26 /kubepods/pod1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
    is(&mounts::cgroup2(None, part, v2), Outcome::Warn, "only /kubepods/pod1 of it");
}

#[test]
fn bpffs_is_judged_by_the_nearest_directory_that_exists() {
    let directory = Path::new("/sys/fs/bpf/weir");
    let mounted_at = |mount: &'static str| {
        move |path: &Path| match path {
            path if path == Path::new(mount) => Ok(Kind::Bpf),
            path if path.starts_with(mount) => Err(ErrorKind::NotFound.into()),
            _ => Ok(Kind::Other),
        }
    };
    let bpf = "nodev\tbpf\n\text4\n";
    is(&mounts::bpffs(directory, bpf, false, mounted_at("/sys/fs/bpf/weir")), Outcome::Ok, "weir");
    is(
        &mounts::bpffs(directory, bpf, false, mounted_at("/sys/fs/bpf")),
        Outcome::Ok,
        "can be made in /sys/fs/bpf",
    );
    is(&mounts::bpffs(directory, bpf, true, nothing_special), Outcome::Ok, "the agent mounts one");
    is(&mounts::bpffs(directory, bpf, false, nothing_special), Outcome::Fail, "mount -t bpf");
    is(
        &mounts::bpffs(directory, "nodev\tnotbpf\n", true, nothing_special),
        Outcome::Fail,
        "CONFIG_BPF_SYSCALL",
    );
    let nothing_exists = |_: &Path| Err(ErrorKind::NotFound.into());
    is(&mounts::bpffs(directory, bpf, false, nothing_exists), Outcome::Fail, "mount -t bpf");
}

#[test]
fn real_file_systems_are_told_apart() {
    assert_eq!(mounts::kind(Path::new("/proc")).expect("there"), Kind::Other);
    assert!(mounts::kind(Path::new("/proc/no/such/thing")).is_err());
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("readable");
    if let Some(root) = cgroup2_root(&mountinfo) {
        assert_eq!(mounts::kind(&root).expect("there"), Kind::Cgroup2);
    }
}

#[test]
fn capabilities_are_named_and_the_missing_ones_with_their_purpose() {
    let with = |set: u64| process::capabilities(&format!("CapEff:\t{set:016x}\n"), FIRST_NAMESPACE);
    let (net, sys, perf, bpf) = (1 << 12, 1 << 21, 1 << 38, 1 << 39);
    is(
        &process::capabilities(ROOT, FIRST_NAMESPACE),
        Outcome::Ok,
        "CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF",
    );
    is(&with(net | sys | perf | bpf), Outcome::Ok, "CAP_BPF");
    is(&with(net | sys), Outcome::Ok, "CAP_NET_ADMIN, CAP_SYS_ADMIN");
    is(&with(net | perf | bpf), Outcome::Fail, "missing CAP_SYS_ADMIN (to enter");
    is(&with(net), Outcome::Fail, "AmbientCapabilities=CAP_SYS_ADMIN CAP_PERFMON CAP_BPF");
    is(&with(sys), Outcome::Fail, "missing CAP_NET_ADMIN (");
    is(&with(0), Outcome::Fail, "CAP_NET_ADMIN CAP_SYS_ADMIN CAP_PERFMON CAP_BPF");
}

#[test]
fn capabilities_in_a_user_namespace_do_not_count() {
    is(&process::capabilities(ROOT, "0 1000 1\n"), Outcome::Fail, "user namespace of its own");
    is(&process::capabilities(ROOT, ""), Outcome::Fail, "user namespace");
    assert!(process::may_mount(ROOT, FIRST_NAMESPACE));
    assert!(!process::may_mount(ROOT, "0 1000 1\n"));
    assert!(!process::may_mount("CapEff:\t0000000000001000\n", FIRST_NAMESPACE));
}

#[test]
fn capabilities_that_cannot_be_read_are_unknown_and_allow_nothing() {
    for status in ["", "CapEff:", "CapEff:\tzz\n", "CapPrm:\t000001ffffffffff\n"] {
        is(&process::capabilities(status, FIRST_NAMESPACE), Outcome::Unknown, "does not say");
        assert!(!process::may_mount(status, FIRST_NAMESPACE));
    }
}

#[test]
fn the_hard_limit_on_open_files_is_what_counts() {
    is(&process::judge_open_files(Some(1024), Some(1 << 20)), Outcome::Ok, "1024 allowed, 1048576 at most");
    is(&process::judge_open_files(None, None), Outcome::Ok, "unlimited");
    is(&process::judge_open_files(Some(1024), Some(4096)), Outcome::Warn, "LimitNOFILE=");
}

#[test]
fn a_clock_that_was_never_set_fails() {
    let at = |seconds| process::clock(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    is(&at(0), Outcome::Fail, "1970-01-01 00:00 UTC cannot be right");
    is(&at(1_700_000_000), Outcome::Fail, "chronyd");
    is(&at(1_800_000_000), Outcome::Ok, "2027-01-15 08:00 UTC");
    is(&at(5_000_000_000), Outcome::Fail, "2128");
}

#[test]
fn a_socket_path_is_free_stale_answered_or_taken() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("agent.sock");
    let look = || network::agent_socket(&path);
    is(&look().item, Outcome::Ok, "is free");

    let listener = UnixListener::bind(&path).expect("bound");
    let running = look();
    is(&running.item, Outcome::Ok, "takes over");
    assert!(running.answers);

    drop(listener);
    let stale = look();
    is(&stale.item, Outcome::Ok, "left by an agent that ended");
    assert!(!stale.answers);

    fs::remove_file(&path).expect("removed");
    fs::write(&path, "").expect("written");
    is(&look().item, Outcome::Fail, "is not a socket: remove it");
    fs::remove_file(&path).expect("removed");
    std::os::unix::fs::symlink("/etc/passwd", &path).expect("linked");
    is(&look().item, Outcome::Fail, "is not a socket");
}

#[test]
fn a_socket_whose_queue_is_full_still_answers_and_nobody_waits_for_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("agent.sock");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&socket2::SockAddr::unix(&path).expect("a path")).expect("bound");
    socket.listen(0).expect("listening");
    for _ in 0..3 {
        assert!(network::agent_socket(&path).answers);
    }
}

#[test]
fn a_socket_path_that_cannot_be_made_says_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("run/weir/agent.sock");
    is(&network::agent_socket(&missing).item, Outcome::Ok, "is free");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("written");
    is(&network::agent_socket(&file.join("agent.sock")).item, Outcome::Fail, "Not a directory");
    let long = directory.path().join("x".repeat(200));
    is(&network::agent_socket(&long).item, Outcome::Fail, "shorter path");
}

#[test]
fn a_port_is_free_or_says_who_to_look_for() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    let remedy = format!("ss -ltnp sport = :{}", address.port());
    is(&network::metrics_port(address, false), Outcome::Fail, &remedy);
    is(&network::metrics_port(address, true), Outcome::Ok, "while an agent runs");
    is(&network::metrics_port("127.0.0.1:0".parse().expect("an address"), false), Outcome::Ok, "is free");
    let foreign = "198.51.100.1:15020".parse().expect("an address");
    is(&network::metrics_port(foreign, false), Outcome::Fail, "does not have the address 198.51.100.1");
    let denied = Err(ErrorKind::PermissionDenied.into());
    is(&network::judge_port(foreign, true, denied), Outcome::Fail, "another address");
}

#[test]
fn the_port_range_must_leave_ports_for_capture() {
    is(&network::port_range(Some("32768\t60999\n")), Outcome::Ok, "leave 36280 for capture");
    is(&network::port_range(Some("1024\t65535\n")), Outcome::Warn, "leave 0 for capture");
    is(&network::port_range(Some("1\t65535\n")), Outcome::Warn, "ip_local_port_range=");
    is(&network::port_range(Some("1024 65000")), Outcome::Warn, "leave 535 ");
    for odd in [None, Some(""), Some("1"), Some("a b"), Some("1 99999"), Some("1 2 3")] {
        is(&network::port_range(odd), Outcome::Unknown, "cannot be read");
    }
}

#[test]
fn a_kernel_without_ipv6_is_told() {
    is(&network::ipv6(true), Outcome::Ok, "available");
    is(&network::ipv6(false), Outcome::Warn, "ipv6.disable");
}

#[test]
fn whether_the_kernel_can_close_sockets_is_read_from_its_answer() {
    is(&sock_diag::judge(Ok(Ok(()))), Outcome::Ok, "can close");
    is(&sock_diag::judge(Ok(Err(Errno::OPNOTSUPP))), Outcome::Warn, "CONFIG_INET_DIAG_DESTROY");
    is(&sock_diag::judge(Ok(Err(Errno::NOENT))), Outcome::Warn, "modprobe tcp_diag");
    is(&sock_diag::judge(Ok(Err(Errno::PERM))), Outcome::Unknown, "CAP_NET_ADMIN");
    is(&sock_diag::judge(Err(ErrorKind::WouldBlock.into())), Outcome::Unknown, "cannot be asked");
}

#[test]
fn a_netlink_answer_is_a_success_an_error_or_nothing() {
    let answer = |kind: u16, code: i32| {
        let mut message = vec![0; 16];
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message.extend(code.to_ne_bytes());
        message
    };
    assert_eq!(sock_diag::read_answer(&answer(2, -116)), Some(Err(Errno::STALE)));
    assert_eq!(sock_diag::read_answer(&answer(2, 0)), Some(Ok(())));
    for nothing in [answer(2, 5), answer(2, i32::MIN), answer(3, -95), vec![], vec![0; 19]] {
        assert_eq!(sock_diag::read_answer(&nothing), None);
    }
}

#[test]
fn asking_whether_sockets_can_be_closed_closes_nobodys() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    let client = std::net::TcpStream::connect(address).expect("connected");
    let (server, _) = listener.accept().expect("accepted");
    let item = sock_diag::destroy();
    assert_ne!(item.outcome, Outcome::Fail, "{item:?}");
    for stream in [&client, &server] {
        assert!(stream.take_error().expect("readable").is_none());
        assert!(stream.peer_addr().is_ok());
    }
    std::net::TcpStream::connect(address).expect("the listener is still there");
}

#[test]
fn this_machine_is_judged_without_a_panic_and_what_the_caller_adds_is_shown_last() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = CheckOptions {
        socket: directory.path().join("agent.sock"),
        metrics: SocketAddr::from(([127, 0, 0, 1], 0)),
        extra: vec![Item::warn("other programs", "cilium is attached at the root", "see the documents")],
        ..Default::default()
    };
    let report = run(&options);
    let names: Vec<&str> = report.items().iter().map(|item| item.name.as_ref()).collect();
    assert_eq!(
        names,
        [
            "kernel",
            "btf",
            "cgroup2",
            "bpffs",
            "capabilities",
            "metrics port",
            "agent socket",
            "open files",
            "clock",
            "port range",
            "ipv6",
            "socket destroy",
            "other programs"
        ]
    );
    assert!(report.items().iter().all(|item| !item.found.is_empty()));
    let start: Vec<String> =
        run_at_start(&options).items().iter().map(|item| item.name.to_string()).collect();
    assert_eq!(start, ["kernel", "btf", "cgroup2", "bpffs", "capabilities", "clock", "other programs"]);
}

#[test]
fn a_report_fails_by_its_first_failure_alone() {
    let fine = Report::new(vec![Item::ok("a", "b"), Item::warn("c", "d", "e"), Item::unknown("f", "g")]);
    assert!(!fine.failed());
    assert_eq!(fine.first_failure(), None);
    let bad = Report::new(vec![Item::ok("a", "b"), Item::fail("c", "d", "e"), Item::fail("f", "g", "h")]);
    assert!(bad.failed());
    assert_eq!(bad.first_failure().map(Item::line), Some("c: d: e".into()));
}

#[test]
fn the_json_form_has_words_and_leaves_out_what_is_absent() {
    let report = Report::new(vec![Item::ok("kernel", "6.1"), Item::fail("btf", "none", "another kernel")]);
    let json = serde_json::to_value(&report).expect("JSON");
    let expected = serde_json::json!({"failed": true, "items": [
        {"name": "kernel", "outcome": "ok", "found": "6.1"},
        {"name": "btf", "outcome": "fail", "found": "none", "remedy": "another kernel"},
    ]});
    assert_eq!(json, expected);
}

#[test]
fn the_table_is_read_at_a_glance() {
    let report = Report::new(vec![
        Item::ok("kernel", "6.18.44"),
        Item::fail("cgroup2", "not mounted", "mount it"),
        Item::unknown("clock", "who knows"),
    ]);
    let expected = "\
CHECK    RESULT   FOUND
kernel   ok       6.18.44
cgroup2  fail     not mounted
                  to mend it: mount it
clock    unknown  who knows
Weir cannot run here: 3 checks, 1 failed, 0 to mind, 1 unknown
";
    assert_eq!(report.table(), expected);
}

#[test]
fn no_line_of_the_table_is_wider_than_120_columns_whatever_was_found() {
    let long = "words ".repeat(60) + &"x".repeat(500);
    let report = Report::new(vec![
        Item::fail(long.clone(), long.clone(), long),
        Item::warn("é".repeat(24), "ü".repeat(400), "ö ".repeat(400)),
        Item::ok("", ""),
        Item::ok("path", "a\nb\tc\u{1b}[31mred"),
    ]);
    let table = report.table();
    for line in table.lines() {
        assert!(line.chars().count() <= 120, "{} columns: {line}", line.chars().count());
        assert!(!line.chars().any(char::is_control) && !line.ends_with(' '), "{line:?}");
    }
    assert_eq!(table.matches('x').count(), 3 * 500, "nothing is lost");
    assert_eq!(table.matches('ü').count(), 400);
    assert!(table.ends_with('\n'));
}
