//! Loaded, attached, pinned, adopted, taken away.
//!
//! Entry points: [`FIRST`], after which all is attached, and [`LAST`], after which nothing is.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use weir_agent::datapath::{bpffs, uninstall::uninstall};

use super::{
    Check,
    machine::{Machine, accept, carry},
    same,
};

/// Attaches everything.
pub(super) const FIRST: &[Check] = &[
    ("a BPF file system is mounted where there is none", mounts_bpffs),
    ("a namespace is known by its cookie", cookies_differ),
    ("the programs load, attach and are pinned", opens),
    ("a second agent adopts the links and puts its own programs behind them", adopts),
    ("a link that is gone is made again", attaches_again),
    ("the maps keep their entries from one agent to the next", maps_stay),
    ("each pod's namespace gets a program of its own", steers),
    ("a pod that is not enrolled is left alone", unenrolled_is_untouched),
];

/// Removes everything.
pub(super) const LAST: &[Check] = &[
    ("a namespace is let go of", unsteers),
    ("nothing is left after uninstalling, and pods talk", uninstalls),
];

fn mounts_bpffs(machine: &mut Machine) -> Result<()> {
    let name = machine.bpffs().file_name().context("a name")?.to_owned();
    let elsewhere = Path::new("/run").join(name);
    bpffs::prepare(&elsewhere)?;
    let mounted = bpffs::is_bpffs(&elsewhere);
    rustix::mount::unmount(&elsewhere, rustix::mount::UnmountFlags::empty())?;
    fs::remove_dir(&elsewhere)?;
    ensure!(mounted, "no bpffs at {}", elsewhere.display());
    Ok(())
}

fn cookies_differ(machine: &mut Machine) -> Result<()> {
    let (client, server) = (machine.client.cookie(), machine.server.cookie());
    ensure!(client != server && client != 0 && server != 0, "{client} and {server}");
    Ok(())
}

fn opens(machine: &mut Machine) -> Result<()> {
    let datapath = machine.open()?;
    ensure!(datapath.is_attached(), "a program is not attached");
    same("programs", datapath.programs().len(), 7)?;
    ensure!(datapath.programs().iter().all(|program| !program.adopted && program.id != 0), "adopted?");
    Ok(())
}

fn adopts(machine: &mut Machine) -> Result<()> {
    let first: Vec<u32> = machine.datapath()?.programs().iter().map(|program| program.id).collect();
    let second = machine.open()?.programs();
    ensure!(second.iter().all(|program| program.adopted), "{second:?}");
    ensure!(second.iter().all(|program| !first.contains(&program.id)), "the first one's programs are there");
    Ok(())
}

fn attaches_again(machine: &mut Machine) -> Result<()> {
    let links = machine.bpffs().join(format!("v{}/links", weir_common::ABI));
    fs::remove_file(links.join("weir_connect4"))?;
    let datapath = machine.datapath()?;
    ensure!(!datapath.is_attached(), "it is not seen");
    same("made again", datapath.attach_again()?, 1)?;
    ensure!(datapath.is_attached(), "it is not attached");
    Ok(())
}

fn maps_stay(machine: &mut Machine) -> Result<()> {
    machine.enrol_client(0)?;
    let (cookie, port) = (machine.client.cookie(), machine.client.virtual_port);
    let found = machine.open()?.tables.workloads.actual();
    // The next one knows it only from the kernel: it is not in what it ought to hold.
    machine.datapath()?.tables.workloads.repair()?;
    same("the virtual port", found.get(&cookie).map(|workload| workload.virtual_port), Some(port))
}

fn steers(machine: &mut Machine) -> Result<()> {
    machine.steer()?;
    machine.steer()?;
    let (client, server) = (machine.client.cookie(), machine.server.cookie());
    let mut steered = machine.datapath()?.steered();
    steered.sort_unstable();
    same("namespaces", steered, Vec::from([client.min(server), client.max(server)]))
}

fn unenrolled_is_untouched(machine: &mut Machine) -> Result<()> {
    let listener = machine.server.listen(8080)?;
    for ip in [machine.server.v4(), machine.server.v6()] {
        let stream = machine.client.connect(ip, 8080)?;
        carry(&stream, &accept(&listener)?, "plain")?;
        same("the peer", stream.peer_addr()?.ip(), ip)?;
    }
    Ok(())
}

fn unsteers(machine: &mut Machine) -> Result<()> {
    let (client, server) = (machine.client.cookie(), machine.server.cookie());
    let datapath = machine.datapath()?;
    datapath.unsteer(client);
    same("namespaces", datapath.steered(), Vec::from([server]))
}

fn uninstalls(machine: &mut Machine) -> Result<()> {
    machine.enrol_client(0)?;
    machine.enrol_server(weir_common::workload::STRICT)?;
    machine.mesh_server(false)?;
    machine.close();
    let removed = uninstall(&machine.bpffs())?;
    // Seven links, one namespace, and the maps.
    ensure!(removed > 20, "only {removed} pins removed");
    ensure!(!machine.bpffs().exists(), "{} is there", machine.bpffs().display());
    let listener = machine.server.listen(8080)?;
    let stream = machine.client.connect(machine.server.v4(), 8080)?;
    carry(&stream, &accept(&listener)?, "plain")
}
