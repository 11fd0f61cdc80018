//! HTTP through the agent: strict on the wire, judged request by request, forwarded without being held.
//!
//! Entry point: [`inbound`], for a connection to a pod of this node whose policy looks at requests.

mod body;
mod exchange;
mod forward;
mod h2;
pub(super) mod inbound;
mod io;
mod message;
mod parse;
mod serve;
mod sniff;
