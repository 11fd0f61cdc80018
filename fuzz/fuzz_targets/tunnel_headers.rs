//! What a peer says when it opens a stream of the tunnel, and when it refuses one.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_agent::fuzzing::tunnel_headers(bytes));
