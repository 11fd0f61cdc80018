//! Each security invariant of the design, attacked: as root with every capability inside an enrolled pod,
//! from a pod beside it that is not enrolled, or from the node. See `docs/architecture.md`.

mod admin;
mod certificates;
mod claims;
mod exemption;
mod forged_address;
mod mesh;
mod plaintext;
mod tunnel_port;
