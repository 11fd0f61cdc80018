//! One connection through the agent: accept, decide, carry, record.

pub mod copy;
