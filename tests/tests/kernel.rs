//! This machine's own kernel, by the same self-test that `cargo xtask kernels` runs on the others.

#[path = "../selftest/mod.rs"]
mod selftest;

/// The only test of this program: it moves the whole process into a cgroup of its own.
#[test]
fn the_running_kernel_does_what_the_programs_need() {
    assert!(selftest::run(), "some checks failed; they are listed above");
}
