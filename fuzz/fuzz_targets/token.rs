//! Tokens and key sets of issuers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_agent::fuzzing::token(bytes));
