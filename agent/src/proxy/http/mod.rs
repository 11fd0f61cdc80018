//! HTTP through the agent: strict on the wire, judged request by request, forwarded without being held.
//!
//! Entry points: [`inbound`], for a connection to a pod of this node whose requests are looked at; [`outbound`], for one
//! that a pod of this node makes to a Service with routes. Between them and the wire: `serve` takes requests from a
//! client's connection and gives each to an `app`, which has it answered over a `link`; `exchange` passes bodies on.

mod app;
mod body;
mod direct;
mod exchange;
mod flood;
mod forward;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod h1;
mod h2;
pub(super) mod inbound;
mod io;
mod kept;
mod limits;
mod link;
mod message;
pub(super) mod outbound;
mod parse;
mod record;
mod serve;
mod sniff;
#[cfg(test)]
mod testing;
mod trace;

pub(super) use forward::Client;
pub use limits::Limits;
pub(super) use serve::Ends;
