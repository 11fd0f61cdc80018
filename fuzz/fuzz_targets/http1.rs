//! The HTTP/1 edge: heads, bodies, and what is sent on.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_agent::fuzzing::http1(bytes));
