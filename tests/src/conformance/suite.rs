//! The suite's process: started, stopped after each test, and read.
//!
//! Entry points: [`Suite::start`], [`Suite::next`]. What it prints is the suite's own, but for the lines that say where it
//! stops (`tests/kube/conformance`).

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};

use crate::{api_server::ApiServer, process::Process, programs};

/// Where the suite stops first.
pub(super) const SETUP: &str = "setup";
/// What the suite gives its namespaces.
const ENROLLED: &str = "weir.dev/mesh=enabled";
/// What Weir says that it can, of what tests of a mesh ask for: what is not named here is skipped.
const FEATURES: [&str; 17] = [
    "Mesh",
    "HTTPRoute",
    "GRPCRoute",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteParentRefPort",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "MeshClusterIPMatching",
    "MeshConsumerRoute",
    "MeshHTTPRouteRewritePath",
    "MeshHTTPRouteSchemeRedirect",
    "MeshHTTPRouteRedirectPort",
    "MeshHTTPRouteRedirectPath",
    "MeshHTTPRouteBackendRequestHeaderModification",
    "MeshHTTPRouteQueryParamMatching",
    "MeshHTTPRouteNamedRouteRule",
];
/// What the report says of who ran it.
const IMPLEMENTATION: [&str; 5] = [
    "-organization=weir",
    "-project=weir",
    "-url=https://weir.dev",
    concat!("-version=v", env!("CARGO_PKG_VERSION")),
    "-contact=https://weir.dev",
];
/// How long a test may take: some wait half a minute for each of the requests that they make one after the other.
const TEST: Duration = Duration::from_secs(300);

/// The running suite.
pub(super) struct Suite {
    process: Process,
    stops: usize,
}

/// Where the suite waits.
pub(super) struct Stop {
    /// The test that it has just done, or [`SETUP`].
    pub(super) after: String,
    /// How many files of routes that has.
    pub(super) manifests: u64,
    /// How many answers it had since the stop before.
    pub(super) requests: u64,
}

/// What the suite says of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// Nobody knows.
    Skipped,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        })
    }
}

impl Suite {
    pub(super) fn start(api: &ApiServer, report: &Path, only: Option<&str>) -> Result<Self> {
        let mut words = vec![
            "env".to_owned(),
            format!("KUBECONFIG={}", api.kubeconfig().display()),
            programs::conformance("suite")?.display().to_string(),
            "-test.v".into(),
            "-conformance-profiles=MESH-HTTP,MESH-GRPC".into(),
            format!("-supported-features={}", FEATURES.join(",")),
            format!("-namespace-annotations={ENROLLED}"),
            format!("-report-output={}", report.display()),
            // The cluster goes with all that is in it.
            "-cleanup-base-resources=false".into(),
        ];
        words.extend(IMPLEMENTATION.map(str::to_owned));
        words.extend(only.map(|test| format!("-run-test={test}")));
        Ok(Self { process: api.host().spawn(words)?, stops: 0 })
    }

    /// Waits until it stops; `None` when it has come to its end.
    pub(super) fn next(&mut self) -> Result<Option<Stop>> {
        let mut passed = 0;
        let stopped = self.process.wait_line_within(TEST, "the suite's next test", |line| {
            let line = line.trim_end();
            if let Some(words) = line.strip_prefix("stop: ") {
                passed += 1;
                return (passed > self.stops).then(|| Some(words.to_owned()));
            }
            ["PASS", "FAIL"].contains(&line).then_some(None)
        })?;
        let Some(words) = stopped else { return Ok(None) };
        let (after, manifests) = words.split_once(' ').context("a stop without a number")?;
        let printed = self.process.stdout();
        let since = printed.split("\nstop: ").nth(self.stops).unwrap_or_default();
        self.stops += 1;
        let requests = since.lines().filter_map(answers).sum();
        Ok(Some(Stop { after: after.to_owned(), manifests: manifests.parse()?, requests }))
    }

    pub(super) fn go_on(&mut self) -> Result<()> {
        self.process.send_line("")
    }

    /// Its output, once it has ended.
    pub(super) fn finish(mut self) -> Result<String> {
        self.process.wait()?;
        let printed = self.process.stdout();
        if !printed.contains("--- PASS: TestConformance") && !printed.contains("--- FAIL: TestConformance") {
            bail!("the suite has run no test:\n{printed}{}", self.process.stderr());
        }
        Ok(printed)
    }
}

impl Outcome {
    /// What `log` says of a test; one that it does not name was not run.
    pub(super) fn of(log: &str, test: &str) -> Self {
        let line = |word: &str| log.contains(&format!("--- {word}: TestConformance/{test} ("));
        match (line("PASS"), line("FAIL")) {
            (_, true) => Self::Failed,
            (true, false) => Self::Passed,
            (false, false) => Self::Skipped,
        }
    }
}

/// How many answers a line of the suite's speaks of.
fn answers(line: &str) -> Option<u64> {
    if line.contains(": Got resp ") {
        return Some(1);
    }
    line.split_once(": Processed ")?.1.strip_suffix(" requests")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_the_log_does_not_name_was_skipped() {
        let log = "--- FAIL: TestConformance (2.00s)\n    --- PASS: TestConformance/MeshPorts (1.02s)\n    \
                   --- FAIL: TestConformance/MeshBasic (0.98s)\n    --- SKIP: TestConformance/MeshFrontend (0.00s)\n";
        assert_eq!(Outcome::of(log, "MeshPorts"), Outcome::Passed);
        assert_eq!(Outcome::of(log, "MeshBasic"), Outcome::Failed);
        assert_eq!(Outcome::of(log, "MeshFrontend"), Outcome::Skipped);
        assert_eq!(Outcome::of(log, "Mesh"), Outcome::Skipped);
    }

    #[test]
    fn answers_are_counted_one_by_one_and_by_the_batch() {
        assert_eq!(answers("    pod.go:63: 2026-01-02T03:04:05Z: Got resp RawContent: [0] GET"), Some(1));
        assert_eq!(answers("    pod.go:298: 2026-01-02T03:04:05Z: Processed 500 requests"), Some(500));
        assert_eq!(
            answers("    pod.go:58: 2026-01-02T03:04:05Z: Request [client] failed, not ready yet"),
            None
        );
    }
}
