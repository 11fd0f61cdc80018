//! Flow records: what they hold, where they are kept, who may read them.
//!
//! [`Recorder`] takes them in and never waits; a collector task puts them into a bounded ring and
//! tells metrics; [`Flows`] reads the ring, once or as a follower.

pub mod audit;
pub mod filter;
mod packed;
mod policy_ref;
pub mod read;
pub mod record;
pub mod recorder;
mod request;
mod ring;
mod status;
pub mod words;

pub use filter::FlowFilter;
pub use read::{FlowQuery, Flows};
pub use recorder::{Collector, Recorder, RecorderOptions, start};
pub use ring::RingLimit;
