//! Memory, CPU time and descriptors of this process, from `/proc/self` (proc(5)).
//!
//! Entry point: [`register`].

use std::{fs, time::SystemTime};

use super::{Metrics, Sample, catalogue};

/// The unit of times in `/proc/self/stat`: USER_HZ, 100 on every architecture that Linux shares with us.
const TICKS_PER_SECOND: f64 = 100.0;

/// Registers the process's metrics; a value that cannot be read is left out of the scrape.
pub(super) fn register(metrics: &Metrics) {
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    metrics.read_one(&catalogue::START_TIME, move || started.as_secs_f64());
    metrics.read(&catalogue::RESIDENT_MEMORY, || samples(resident_bytes()));
    metrics.read(&catalogue::CPU_SECONDS, || samples(cpu_seconds()));
    metrics.read(&catalogue::OPEN_FDS, || samples(open_descriptors()));
}

fn samples(value: Option<f64>) -> Vec<Sample> {
    value.map(|value| Sample::new(&[], value)).into_iter().collect()
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some((kibibytes * 1024) as f64)
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the command's name in parentheses, may hold spaces and parentheses.
    let mut after_name = stat.rsplit_once(") ")?.1.split(' ');
    let user: u64 = after_name.nth(11)?.parse().ok()?;
    let system: u64 = after_name.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

fn open_descriptors() -> Option<f64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_cpu_time_and_descriptors() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000.0));
        assert!(cpu_seconds().is_some_and(|seconds| (0.0..3600.0).contains(&seconds)));
        assert!(open_descriptors().is_some_and(|count| count >= 3.0));
    }
}
