//! What a policy does that its author may not expect, though nothing in it is wrong.
//!
//! Entry point: [`warnings`]. Looks at one policy alone; that two name one Service, the index knows.

use super::{
    outlier::least_endpoints,
    settings::{Percent, Retry, Traffic},
};
use crate::policy::Warning;

/// The warnings of a policy that asks for this, in the order of its fields.
pub(super) fn warnings(traffic: &Traffic) -> Vec<Warning> {
    let mut found = Vec::new();
    if let Some(retry) = &traffic.retry {
        found.extend(of_retry(retry));
    }
    if let Some(outlier) = &traffic.outlier {
        if let Some(rates) = &outlier.success_rate {
            let least = least_endpoints(rates.deviations);
            if rates.min_endpoints < least {
                let message =
                    format!("a single endpoint can be so far below the mean only among {least} or more");
                found.push(warning("spec.outlier.successRate.deviations", message));
            }
        }
        if outlier.max_ejected == Percent::ALL {
            let message = "when all endpoints are ejected, all of them get requests again";
            found.push(warning("spec.outlier.maxEjectedPercent", message));
        }
    }
    if traffic.fault.delay.is_some() || traffic.fault.abort.is_some() {
        found.push(warning("spec.fault", "does harm on purpose to requests of every client"));
    }
    found
}

fn of_retry(retry: &Retry) -> Vec<Warning> {
    let mut found = Vec::new();
    if !retry.methods.is_empty() {
        let message = format!("{} may then come twice to the application", retry.methods.join(" and "));
        found.push(warning("spec.retry.methods", message));
    }
    if !retry.on_grpc.is_empty() {
        found.push(warning("spec.retry.onGrpc", "every gRPC call may then come twice to the application"));
    }
    if retry.budget.share > Percent::of_hundred(20) {
        let message = format!("an overloaded Service gets up to {} more requests", retry.budget.share);
        found.push(warning("spec.retry.budget.percent", message));
    }
    found
}

fn warning(field: &str, message: impl Into<String>) -> Warning {
    Warning { field: field.into(), message: message.into() }
}
