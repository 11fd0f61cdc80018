//! What the kernel's hooks report: read from the ring, one by one.
//!
//! Entry point: [`Events::next`]. The ring is pinned: what was reported while no agent was there is read
//! by the next one.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;
use weir_common::Event;

use crate::addr::{canonical, from_octets};

/// How long events gather. The kernel wakes a reader only if it had read everything: one that reads at once
/// is woken for every connection on the node, and the connections pay for that.
const GATHER: Duration = Duration::from_millis(10);

/// The stream of events.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Reads `ring` from the runtime that this is called in.
    pub(super) fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        // SAFETY: the ring owns its descriptor and gives the same one as long as it lives, which is as long
        // as the registration does.
        Ok(Self { ring: unsafe { AsyncFd::register(ring) }? })
    }

    /// Waits for events and gives each of them to `take`, at most `most` at once.
    ///
    /// # Errors
    /// When the ring cannot be waited for.
    pub async fn next(&mut self, most: usize, mut take: impl FnMut(Event)) -> io::Result<()> {
        loop {
            // Readiness is cleared before the drain, so that an event which comes during it is not missed.
            let mut taken = 0;
            while taken < most
                && let Some(item) = self.ring.get_mut().next()
            {
                if let Some(event) = read(&item) {
                    take(event);
                }
                taken += 1;
            }
            if taken > 0 {
                return Ok(());
            }
            self.ring.readable().await?.clear_ready();
            tokio::time::sleep(GATHER).await;
        }
    }
}

fn read(bytes: &[u8]) -> Option<Event> {
    if bytes.len() < size_of::<Event>() {
        return None;
    }
    // SAFETY: long enough, and `Event` is plain data for which every bit pattern is a value.
    Some(unsafe { bytes.as_ptr().cast::<Event>().read_unaligned() })
}

/// An event's address and port.
pub fn socket(address: weir_common::Address, port: u16) -> SocketAddr {
    canonical(SocketAddr::new(from_octets(address.octets()), port))
}

/// CLOCK_MONOTONIC now, in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// The wall-clock time of a moment of CLOCK_MONOTONIC.
pub fn wall_time(monotonic: u64) -> SystemTime {
    let age = monotonic_ns().saturating_sub(monotonic);
    SystemTime::now() - Duration::from_nanos(age)
}
