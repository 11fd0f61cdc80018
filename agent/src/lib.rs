//! Weir's node agent: modules in the order in which one connection meets them.
//!
//! `run` wires them together; `cli` is the command line. Everything else is a part.

pub mod addr;
pub mod admin;
pub mod cli;
pub mod flows;
pub mod identity;
pub mod metrics;
mod serve;
pub mod state;
