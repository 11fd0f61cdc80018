//! Capture on a real kernel: which sockets, which destinations, which pods, and what of it an application
//! notices.
//!
//! By noun: the client's socket, its destination, the pod, the pod's namespace.

mod mesh;

mod sockets;

mod same_node;
mod services;
mod skips;
mod untouched;

mod enrolment;
mod namespaces;
