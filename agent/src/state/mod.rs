//! The cluster's state as the mesh sees it: events in, changes and an immutable snapshot out.

pub mod model;
