//! What a cluster does to agents, and agents to a cluster, while pods talk: on a real Kubernetes of two nodes.

mod enrolment;
mod families;
mod outages;
mod pods;
mod policy;
mod shop;
