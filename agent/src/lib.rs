//! Weir's node agent: modules in the order in which one connection meets them.
//!
//! `run` wires them together; `cli` is the command line. Everything else is a part.

pub mod addr;
pub mod admin;
pub mod ca;
pub mod certs;

pub mod datapath;
pub mod flows;
pub mod identity;
pub mod metrics;
pub mod policy;
pub mod proxy;
pub mod serve;
pub mod state;
pub mod sync;
pub mod tunnel;
