//! Metrics: Istio's standard TCP names for what dashboards know, `weir_*` for the rest.
//!
//! Entry point: [`Metrics`], a cheap handle that every part may hold. A part asks it for the counter or
//! gauge of a definition in [`catalogue`], or gives it a function that is called at each scrape.
//! [`serve`](server::serve) answers `/metrics`, `/readyz` and `/livez`. Knows nothing of what it counts.

mod bounded;
pub mod catalogue;
pub mod flows;
pub mod histogram;
mod istio;
mod process;
pub mod readiness;
mod requests;
mod response_flags;
pub mod series;
pub mod server;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeCounterValue, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use self::{
    catalogue::{Definition, Kind},
    series::{Labels, MOST_SERIES},
};
pub use self::{histogram::Histogram, series::Series};

/// A counter: a cheap handle to one number that only grows.
pub type Counter = prometheus_client::metrics::counter::Counter<u64, AtomicU64>;

/// A gauge: a cheap handle to one number.
pub type Gauge = prometheus_client::metrics::gauge::Gauge<i64, AtomicI64>;

/// One value that was read at a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Label values, in the order of the metric's definition.
    pub labels: Vec<String>,
    /// The value; a counter's must not go down.
    pub value: f64,
}

impl Sample {
    /// `value` for these labels.
    pub fn new(labels: &[&str], value: f64) -> Self {
        Self { labels: labels.iter().map(|label| (*label).to_owned()).collect(), value }
    }
}

/// All metrics of the agent.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

#[derive(Default)]
struct Inner {
    families: Mutex<BTreeMap<&'static str, (&'static Definition, Family)>>,
    refusals: Mutex<Vec<Refusal>>,
    truncated: AtomicU64,
}

/// Whose bound it is, and how often it turned something away.
type Refusal = (&'static str, Arc<dyn Fn() -> u64 + Send + Sync>);

#[derive(Clone)]
enum Family {
    Counters(Arc<Series<Counter>>),
    Gauges(Arc<Series<Gauge>>),
    Read(Arc<dyn Fn() -> Vec<Sample> + Send + Sync>),
    Histograms(Arc<dyn Fn() -> Vec<(Vec<String>, Histogram)> + Send + Sync>),
}

impl Metrics {
    /// No metrics yet but the agent's own: build, start time, process, and what bounds turned away.
    pub fn new(version: &str) -> Self {
        let metrics = Self::default();
        let version = version.to_owned();
        metrics.read(&catalogue::BUILD_INFO, move || vec![Sample::new(&[&version], 1.0)]);
        process::register(&metrics);
        let inner = Arc::downgrade(&metrics.0);
        metrics.read(&catalogue::SERIES_REFUSED, move || {
            inner.upgrade().map_or_else(Vec::new, |inner| Metrics(inner).refusals())
        });
        metrics
    }

    /// The counter of a definition without labels.
    pub fn counter(&self, definition: &'static Definition) -> Counter {
        self.counters(definition).with(&[])
    }

    /// The counters of a definition with labels; a part that counts often keeps what
    /// [`Series::with`] gives it.
    pub fn counters(&self, definition: &'static Definition) -> Arc<Series<Counter>> {
        debug_assert_eq!(definition.kind(), Kind::Counter, "{}", definition.name());
        let new = || Family::Counters(Arc::new(Series::new(MOST_SERIES)));
        match self.family(definition, new) {
            Family::Counters(series) => series,
            // Registered as something else before: what is counted here will not be seen.
            _ => Arc::new(Series::new(MOST_SERIES)),
        }
    }

    /// The gauge of a definition without labels.
    pub fn gauge(&self, definition: &'static Definition) -> Gauge {
        self.gauges(definition).with(&[])
    }

    /// The gauges of a definition with labels.
    pub fn gauges(&self, definition: &'static Definition) -> Arc<Series<Gauge>> {
        debug_assert_eq!(definition.kind(), Kind::Gauge, "{}", definition.name());
        let new = || Family::Gauges(Arc::new(Series::new(MOST_SERIES)));
        match self.family(definition, new) {
            Family::Gauges(series) => series,
            _ => Arc::new(Series::new(MOST_SERIES)),
        }
    }

    /// Calls `read` at each scrape for all values of a definition, counter or gauge; it must be quick. A
    /// second call for the same definition replaces the first.
    pub fn read(
        &self,
        definition: &'static Definition,
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        self.lock().insert(definition.name(), (definition, Family::Read(Arc::new(read))));
    }

    /// Calls `read` at each scrape for the one value of a definition without labels.
    pub fn read_one(&self, definition: &'static Definition, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.read(definition, move || vec![Sample { labels: Vec::new(), value: read() }]);
    }

    /// Calls `read` at each scrape for the label values and values of a definition that is a histogram.
    pub fn read_histograms(
        &self,
        definition: &'static Definition,
        read: impl Fn() -> Vec<(Vec<String>, Histogram)> + Send + Sync + 'static,
    ) {
        self.lock().insert(definition.name(), (definition, Family::Histograms(Arc::new(read))));
    }

    /// All metrics in the OpenMetrics text format, version 1.0.
    pub fn text(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = text::encode(&mut out, &registry);
        out
    }

    fn family(&self, definition: &'static Definition, new: impl Fn() -> Family) -> Family {
        self.lock().entry(definition.name()).or_insert_with(|| (definition, new())).1.clone()
    }

    /// Adds a table of series, called `table`, to what `weir_metrics_series_refused_total` shows.
    fn also_refused(&self, table: &'static str, read: impl Fn() -> u64 + Send + Sync + 'static) {
        self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner).push((table, Arc::new(read)));
    }

    fn refusals(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        for (definition, family) in self.families() {
            let refused = match family {
                Family::Counters(series) => series.refused(),
                Family::Gauges(series) => series.refused(),
                Family::Read(_) | Family::Histograms(_) => 0,
            };
            if refused > 0 {
                samples.push(Sample::new(&[definition.name()], refused as f64));
            }
        }
        let tables = self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let tables = tables.iter().map(|(table, read)| (table, read())).filter(|(_, refused)| *refused > 0);
        samples.extend(tables.map(|(table, refused)| Sample::new(&[table], refused as f64)));
        let truncated = self.0.truncated.load(Ordering::Relaxed);
        if truncated > 0 {
            samples.push(Sample::new(&["read"], truncated as f64));
        }
        samples
    }

    /// A copy of what is registered, so that no lock is held while values are read.
    fn families(&self) -> Vec<(&'static Definition, Family)> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, (&'static Definition, Family)>> {
        self.0.families.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().keys()).finish()
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (definition, family) in self.families() {
            let kind = match definition.kind() {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            // The encoder appends a counter's suffix itself.
            let name = definition.name().strip_suffix("_total").unwrap_or(definition.name());
            let names = definition.labels();
            let mut metric = encoder.encode_descriptor(name, definition.help(), None, kind)?;
            match family {
                Family::Counters(series) => {
                    for (values, counter) in series.all() {
                        one(&mut metric, names, &values, |metric| count(metric, &counter.get()))?;
                    }
                }
                Family::Gauges(series) => {
                    for (values, gauge) in series.all() {
                        one(&mut metric, names, &values, |metric| metric.encode_gauge(&gauge.get()))?;
                    }
                }
                Family::Read(read) => {
                    let samples = read();
                    let beyond = samples.len().saturating_sub(MOST_SERIES) as u64;
                    self.0.truncated.fetch_add(beyond, Ordering::Relaxed);
                    for Sample { labels, value } in samples.iter().take(MOST_SERIES) {
                        one(&mut metric, names, labels, |metric| match definition.kind() {
                            Kind::Counter => count(metric, value),
                            Kind::Gauge | Kind::Histogram => metric.encode_gauge(value),
                        })?;
                    }
                }
                Family::Histograms(read) => {
                    for (labels, histogram) in read() {
                        one(&mut metric, names, &labels, |metric| distribution(metric, &histogram))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Encodes one series; a metric without labels has no braces either.
fn one<T: AsRef<str> + fmt::Debug>(
    metric: &mut MetricEncoder<'_>,
    names: &[&'static str],
    values: &[T],
    encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if values.is_empty() {
        return encode(metric);
    }
    encode(&mut metric.encode_family(&Labels { names, values })?)
}

fn count<V: EncodeCounterValue>(metric: &mut MetricEncoder<'_>, value: &V) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, _, u64>(value, None)
}

fn distribution(metric: &mut MetricEncoder<'_>, histogram: &Histogram) -> fmt::Result {
    let (sum, count) = (histogram.sum(), histogram.count());
    metric.encode_histogram::<NoLabelSet>(sum, count, &histogram.buckets(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_keeps_its_exact_name_and_labels_are_escaped() {
        let metrics = Metrics::new("1.2.3");
        metrics.counters(&catalogue::MAP_FULL).with(&["a\"b"]).inc_by(3);
        let text = metrics.text();
        assert!(text.contains("# TYPE weir_map_full counter\n"), "{text}");
        assert!(text.contains("\nweir_map_full_total{map=\"a\\\"b\"} 3\n"), "{text}");
        assert!(text.contains("\nweir_agent_build_info{version=\"1.2.3\"} 1"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn asking_twice_gives_the_same_counter() {
        let metrics = Metrics::new("0");
        metrics.counter(&catalogue::EVENTS_LOST).inc();
        metrics.counter(&catalogue::EVENTS_LOST).inc();
        assert!(metrics.text().contains("\nweir_events_lost_total 2\n"));
        assert_eq!(metrics.text().matches("# TYPE weir_events_lost ").count(), 1);
    }

    #[test]
    fn values_are_read_at_each_scrape_and_a_reader_may_use_metrics_itself() {
        let metrics = Metrics::new("0");
        let inner = metrics.clone();
        metrics.read(&catalogue::MAP_ENTRIES, move || {
            let seen = inner.counter(&catalogue::EVENTS_LOST);
            seen.inc();
            vec![Sample::new(&["enrolled"], seen.get() as f64)]
        });
        assert!(metrics.text().contains("weir_map_entries{map=\"enrolled\"} 1"));
        assert!(metrics.text().contains("weir_map_entries{map=\"enrolled\"} 2"));
    }

    #[test]
    fn what_a_bound_turned_away_is_a_metric() {
        let metrics = Metrics::new("0");
        let series = metrics.counters(&catalogue::MAP_FULL);
        for number in 0..MOST_SERIES + 5 {
            series.with(&[&number.to_string()]).inc();
        }
        assert!(
            metrics.text().contains("weir_metrics_series_refused_total{metric=\"weir_map_full_total\"} 5")
        );
    }
}
