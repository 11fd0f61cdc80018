//! State as its readers see it: sentences about enrolment, Services, addresses, generations and order.

mod cluster;
mod convergence;
mod layer7;
mod scale;
mod services;
mod slices;
mod traffic;
mod users;
mod workloads;
