//! What this process may do, and whether its clock can be believed.
//!
//! Pure functions of what the caller read of /proc (proc_pid_status(5)), but for the limit on open files.

use std::time::SystemTime;

use rustix::process::{Resource, getrlimit};
use time::{OffsetDateTime, macros::datetime};

use super::Item;

/// Bit, name and what it is for; bits of include/uapi/linux/capability.h.
const NEEDED: [(u32, &str, &str); 4] = [
    (12, "CAP_NET_ADMIN", "to close connections that are no longer allowed"),
    (CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "to enter pods' network namespaces"),
    (38, "CAP_PERFMON", "to load programs that use kernel types"),
    (39, "CAP_BPF", "to load programs and make maps"),
];
const CAP_SYS_ADMIN: u32 = 21;
/// Those for which CAP_SYS_ADMIN stands in (capabilities(7)).
const IMPLIED: [&str; 2] = ["CAP_PERFMON", "CAP_BPF"];

/// Two descriptors a connection, and room.
const ENOUGH_FILES: u64 = 65_536;

/// No certificate of this program's can be valid before it was written.
const WRITTEN: OffsetDateTime = datetime!(2026-11-01 0:00 UTC);
const NOT_SANE: OffsetDateTime = datetime!(2100-01-01 0:00 UTC);

/// Judges the effective capabilities of `status`, which count only in the first user namespace.
pub(super) fn capabilities(status: &str, uid_map: &str) -> Item {
    let name = "capabilities";
    let Some(effective) = effective(status) else {
        return Item::unknown(name, "/proc/self/status does not say");
    };
    if !is_first_user_namespace(uid_map) {
        return Item::fail(
            name,
            "this process is in a user namespace of its own, where capabilities do not reach the kernel",
            "run the agent in the first user namespace (as root, not in a rootless container)",
        );
    }
    let has = |bit: u32| effective & (1 << bit) != 0;
    let stood_in_for = |name: &str| has(CAP_SYS_ADMIN) && IMPLIED.contains(&name);
    let missing: Vec<_> = NEEDED.iter().filter(|(bit, name, _)| !has(*bit) && !stood_in_for(name)).collect();
    if missing.is_empty() {
        let names: Vec<&str> =
            NEEDED.iter().filter(|(bit, ..)| has(*bit)).map(|(_, name, _)| *name).collect();
        return Item::ok(name, names.join(", "));
    }
    let found: Vec<String> = missing.iter().map(|(_, name, purpose)| format!("{name} ({purpose})")).collect();
    let names: Vec<&str> = missing.iter().map(|(_, name, _)| *name).collect();
    Item::fail(
        name,
        format!("missing {}", found.join(", ")),
        format!(
            "run as root, or with AmbientCapabilities={} (systemd), or securityContext.capabilities (Kubernetes)",
            names.join(" ")
        ),
    )
}

/// Whether this process may mount a file system.
pub(super) fn may_mount(status: &str, uid_map: &str) -> bool {
    is_first_user_namespace(uid_map) && effective(status).is_some_and(|set| set & (1 << CAP_SYS_ADMIN) != 0)
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// user_namespaces(7): the first one maps every id to itself.
fn is_first_user_namespace(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Judges how many descriptors this process may have.
pub(super) fn open_files() -> Item {
    let limit = getrlimit(Resource::Nofile);
    judge_open_files(limit.current, limit.maximum)
}

/// The agent raises the soft limit to the hard one itself, so the hard one counts; `None` is no limit.
pub(super) fn judge_open_files(soft: Option<u64>, hard: Option<u64>) -> Item {
    let name = "open files";
    let show = |limit: Option<u64>| limit.map_or("unlimited".into(), |limit| limit.to_string());
    let found = format!("{} allowed, {} at most", show(soft), show(hard));
    if hard.is_none_or(|hard| hard >= ENOUGH_FILES) {
        return Item::ok(name, found);
    }
    let remedy =
        "raise the hard limit to 1048576: LimitNOFILE= (systemd), ulimit -Hn (shell), or the container's";
    Item::warn(name, format!("{found}; a connection takes two"), remedy)
}

/// Judges the time of day: a clock that was never set makes every certificate invalid.
pub(super) fn clock(now: SystemTime) -> Item {
    let (name, now) = ("clock", OffsetDateTime::from(now));
    let shown = format!("{} {:02}:{:02} UTC", now.date(), now.hour(), now.minute());
    if (WRITTEN..NOT_SANE).contains(&now) {
        return Item::ok(name, shown);
    }
    let found = format!("{shown} cannot be right; no certificate would be valid");
    Item::fail(name, found, "set the clock, and keep it set: chronyd, systemd-timesyncd")
}
