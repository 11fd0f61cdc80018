//! One connection through the agent: accept, decide, carry, record.
//!
//! Entry point: [`Workers`]. A connection reads top to bottom in [`outbound`] or [`inbound`].

pub mod context;
pub mod copy;
pub mod dial;
mod http;
pub mod inbound;
pub mod judge;
pub mod live;
pub mod outbound;
pub mod outcome;
pub mod pod;
pub mod report;
mod workers;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use http::fuzzing as http1;

pub use context::{Context, ProxyCounters, ProxyOptions, seed};
pub use http::Limits;
pub use workers::{Listeners, Workers};
