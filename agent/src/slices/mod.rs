//! Pods as all nodes have to know them, many of them in one object: WorkloadSlices.
//!
//! Entry points: [`spec`] for what such an object says, [`Plan`] for which pods are in which object. The controller writes
//! them, agents read them in place of every Pod of the cluster: a Pod changes five to eight times as it comes and goes, and
//! says of itself twenty times as much. Pure.

mod form;
pub mod plan;
pub mod spec;

pub use plan::Plan;
pub use spec::{WorkloadSliceSpec, face};

/// Most pods in one object. A change of one of them sends all of them to every node.
pub const MOST_PODS: usize = 100;

/// The object that says that every pod has been written once. Until it is there nobody knows which pods there are.
pub const COMPLETE: &str = "complete";
