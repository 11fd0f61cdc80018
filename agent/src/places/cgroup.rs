//! The pod's UID in the path of a cgroup, as the kubelet writes it.
//!
//! Entry point: [`pod`]. Pure. With the cgroup driver `cgroupfs` a pod's folder is `podUID`; with `systemd` it is
//! `kubepods-QOS-podUID.slice`, where the UID has `_` for `-`, behind the name of the kubelet's own root where it has one.
//! What lies below is the runtime's: a folder or scope for each container and, with CRI-O, for the `conmon` that watches it.

/// The UID of the pod that a process is in, from its `/proc/PID/cgroup`.
pub(super) fn pod(text: &str) -> Option<String> {
    // `HIERARCHY:CONTROLLERS:PATH`; on a machine with both versions the pod is in the path of each.
    text.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        let mut folders = path.split('/');
        // A container could make folders of any name below its own.
        let found = folders.find_map(uid)?;
        // It is older than the pod, and in the node's network.
        let watches = folders.next().is_some_and(|folder| folder.starts_with("crio-conmon-"));
        (!watches).then_some(found)
    })
}

fn uid(folder: &str) -> Option<String> {
    let found = match folder.strip_suffix(".slice") {
        Some(slice) if slice.split('-').any(|part| part == "kubepods") => {
            slice.rsplit_once("-pod")?.1.replace('_', "-")
        }
        Some(_) => return None,
        None => folder.strip_prefix("pod")?.to_owned(),
    };
    let good = found.len() >= 8 && found.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    good.then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "8dbc8ad9-57a6-4d0f-b7b1-2c7a7b6a1d11";

    #[test]
    fn the_uid_is_found_as_either_driver_writes_it() {
        let systemd = UID.replace('-', "_");
        for text in [
            format!("0::/kubepods/burstable/pod{UID}/1a2b"),
            format!("0::/kubepods/pod{UID}"),
            format!("0::/../../besteffort/pod{UID}/1a2b"),
            format!("12:pids:/kubepods/besteffort/pod{UID}/x\n0::/kubepods/besteffort/pod{UID}/x"),
            format!(
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{systemd}.slice/cri-containerd-1a.scope"
            ),
            format!("0::/kubepods.slice/kubepods-pod{systemd}.slice/crio-1a.scope"),
            format!("0::/kubepods.slice/kubepods-pod{systemd}.slice/crio-1a.scope/container"),
            format!("0::/kubepods/besteffort/pod{UID}/crio-1a"),
            // With a `cgroupRoot` of the kubelet's own, and as it looks from a sibling's cgroup namespace.
            format!(
                "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{systemd}.slice/cri-containerd-1a.scope"
            ),
            format!("0::/kubelet/kubepods/besteffort/pod{UID}/1a2b"),
            format!("0::/../kubelet-kubepods-besteffort-pod{systemd}.slice/cri-containerd-1a.scope"),
        ] {
            assert_eq!(pod(&text).as_deref(), Some(UID), "{text}");
        }
        // A static pod's is a hash.
        let hash = "1f0ad3e8b7c24f6e9f1d9a4f8a7d2c3b";
        assert_eq!(pod(&format!("0::/kubepods/pod{hash}/x")).as_deref(), Some(hash));
    }

    #[test]
    fn what_is_no_pod_has_none() {
        for text in [
            "0::/",
            "0::/user.slice/user-0.slice",
            "0::/my-kubepodsx-pod12345678.slice",
            "0::/system.slice/podman.service",
            "0::/pods/x",
            "",
            "x",
        ] {
            assert_eq!(pod(text), None, "{text}");
        }
    }

    #[test]
    fn what_watches_a_pods_containers_is_not_the_pod() {
        let systemd = UID.replace('-', "_");
        let slice = format!("0::/kubepods.slice/kubepods-pod{systemd}.slice");
        assert_eq!(pod(&format!("{slice}/crio-conmon-1a.scope")), None);
        assert_eq!(pod(&format!("0::/kubepods/pod{UID}/crio-conmon-1a")), None);
        // What a container makes below its own folder does not hide it.
        assert_eq!(pod(&format!("{slice}/crio-1a.scope/crio-conmon-1a")).as_deref(), Some(UID));
    }

    #[test]
    fn a_pod_cannot_say_that_it_is_another() {
        let other = "00000000-0000-0000-0000-000000000000";
        assert_eq!(pod(&format!("0::/kubepods/pod{UID}/1a2b/pod{other}")).as_deref(), Some(UID));
    }
}
