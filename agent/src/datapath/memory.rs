//! Memory that is free but still the process's.
//!
//! Entry point: [`give_back`].

/// Gives the free pages of this thread's part of the allocator back to the system, which takes it milliseconds: for quiet
/// moments, after loading, or when a burst is over.
pub fn give_back() {
    // SAFETY: it may be called at any time, and touches only what is free.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
