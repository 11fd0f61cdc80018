//! A file of Kubernetes objects, from its text to the cluster's state.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_agent::fuzzing::objects(bytes));
