//! Memory that is free but still the process's.
//!
//! Entry point: [`give_back`].

/// Gives the allocator's free pages back to the system. Takes each arena's lock for as long as it looks through
/// it, so this is for quiet moments: after loading, or when a burst is over.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
