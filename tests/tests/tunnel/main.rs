//! Connections between nodes, through the tunnel: bytes whole and in order both ways, ends as applications
//! see them, many at once, and nobody held up by anybody else.

mod bytes;
mod endings;
mod pair;
mod sessions;
