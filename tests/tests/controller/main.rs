//! The controller beside a real API server: who gets which certificate, and what becomes of the authority's key.
//!
//! There is no kubelet: pods are what a test says, and tokens what the API server makes for them.

mod annotations;
mod authority;
mod mesh;
mod statuses;
