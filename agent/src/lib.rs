//! Weir's node agent: modules in the order in which one connection meets them.
//!
//! `run` wires them together; `cli` is the command line. Everything else is a part.

pub mod addr;
pub mod datapath;
pub mod proxy;
pub mod running;
pub mod tunnel;
pub mod turns;

pub mod identity;
mod interned;
pub mod places;
pub mod policy;
pub mod slices;
pub mod state;
pub mod traffic;
pub mod users;

pub mod crds;
pub mod source;
pub mod sync;

pub mod ca;
pub mod certs;
pub mod controller;

pub mod flows;
pub mod metrics;
pub mod observe;

pub mod admin;
pub mod check;
pub mod cli;
pub mod cni;
pub mod run;
pub mod serve;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
