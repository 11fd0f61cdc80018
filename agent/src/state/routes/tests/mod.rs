//! Tests of routes, from the words of the specification.

mod attaching;
mod conditions;
mod fixtures;
mod grpc;
mod matching;
mod precedence;
mod reading;
mod scale;
