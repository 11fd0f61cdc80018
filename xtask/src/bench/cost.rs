//! What the agents cost: processor time and memory, as the kernel counts them.
//!
//! Entry points: [`Costs`], [`cpu`], [`resident`], [`peak`].

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result};

use super::figures::{Congestion, Place};

/// Ticks of /proc/PID/stat in a second: USER_HZ, 100 on every machine that Weir supports.
const TICKS: u64 = 100;

/// Bytes of each agent, node by node.
pub(super) type Memory = Vec<u64>;

/// What was found out about the agents beside what they carried.
#[derive(Default)]
pub(super) struct Costs {
    /// When they were ready.
    pub(super) at_start: Memory,
    /// After all rounds of the first phase.
    pub(super) right_after_load: Memory,
    /// The same, once the agents had come to rest.
    pub(super) after_load: Memory,
    pub(super) idle: Option<Idle>,
    poured: BTreeMap<(Place, usize, Congestion), (Duration, f64)>,
}

/// Connections that do nothing.
pub(super) struct Idle {
    pub(super) connections: usize,
    pub(super) before: Memory,
    pub(super) with_all: Memory,
    /// When the last one had ended, and the agents had come to rest.
    pub(super) after: Memory,
}

impl Idle {
    /// Bytes for each connection, in both agents together.
    pub(super) fn each(&self) -> f64 {
        let sum = |memory: &Memory| memory.iter().sum::<u64>() as f64;
        (sum(&self.with_all) - sum(&self.before)) / self.connections as f64
    }
}

impl Costs {
    /// Adds what the agents of a world used while so many bytes went through.
    pub(super) fn poured(
        &mut self,
        place: Place,
        streams: usize,
        congestion: Congestion,
        cpu: Duration,
        bytes: f64,
    ) {
        let sum = self.poured.entry((place, streams, congestion)).or_default();
        *sum = (sum.0 + cpu, sum.1 + bytes);
    }

    /// Seconds of processor time of all agents together for 10⁹ bytes.
    pub(super) fn cpu_per_gigabyte(
        &self,
        place: Place,
        streams: usize,
        congestion: Congestion,
    ) -> Option<f64> {
        let (cpu, bytes) = self.poured.get(&(place, streams, congestion))?;
        Some(cpu.as_secs_f64() / (bytes / 1e9))
    }
}

/// User and system time of a process and its threads.
pub(super) fn cpu(process: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("an agent has ended")?;
    // The name, in parentheses, may hold blanks.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    // proc_pid_stat(5): utime is field 14, stime 15; these begin with field 3.
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    let sum = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
    Ok(Duration::from_millis(sum.context("no times in /proc/PID/stat")? * 1000 / TICKS))
}

/// Resident memory of a process in bytes.
pub(super) fn resident(process: u32) -> Result<u64> {
    status(process, "VmRSS:")
}

/// The most that it was since [`forget_peak`], in bytes.
pub(super) fn peak(process: u32) -> Result<u64> {
    status(process, "VmHWM:")
}

/// Begins to look for a new peak of a process' resident memory (proc_pid_clear_refs(5): 5).
pub(super) fn forget_peak(process: u32) -> Result<()> {
    fs::write(format!("/proc/{process}/clear_refs"), "5").context("an agent has ended")
}

fn status(process: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("an agent has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context(name.to_owned())?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().context(name.to_owned())?;
    Ok(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_time() {
        let own = std::process::id();
        assert!(resident(own).expect("a status") > 100_000);
        assert!(cpu(own).expect("times") < Duration::from_secs(3600));
    }

    #[test]
    fn a_peak_is_remembered_until_it_is_forgotten() {
        let own = std::process::id();
        drop(std::hint::black_box(vec![1_u8; 64 << 20]));
        assert!(peak(own).expect("a status") > 64 << 20);
        forget_peak(own).expect("one may forget one's own");
        // Other tests of this program run beside this one, and take little.
        assert!(peak(own).expect("a status") < resident(own).expect("a status") + (32 << 20));
    }

    #[test]
    fn time_is_divided_by_all_bytes() {
        let mut costs = Costs::default();
        for _ in 0..2 {
            costs.poured(Place::FarTunnel, 1, Congestion::Bbr, Duration::from_millis(750), 5e8);
        }
        assert_eq!(costs.cpu_per_gigabyte(Place::FarTunnel, 1, Congestion::Bbr), Some(1.5));
        assert_eq!(costs.cpu_per_gigabyte(Place::Direct, 1, Congestion::Bbr), None);
    }
}
