//! Counters for operators. No label carries a name, an id or a path.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use placet_core::entry::Kind;
use placet_core::request::Status;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// The counters of a process. Registering the few fixed names cannot fail; if it did, a counter would be missing from
/// the page and nothing else.
pub(crate) struct Metrics {
    registry: Registry,
    calls: Option<IntCounterVec>,
    seconds: Option<HistogramVec>,
    connections: Option<IntGaugeVec>,
    requests: Option<IntGaugeVec>,
    entries: Option<IntCounterVec>,
    /// Up to where the entries were counted.
    counted: Mutex<u64>,
    log_size: Option<IntGauge>,
    ready: Option<IntGauge>,
}

/// Upper bounds in seconds: from a cached read to the longest wait.
const BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0];

impl Metrics {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let calls = Opts::new("placet_http_calls_total", "Calls by door, method and status.");
        let seconds =
            HistogramOpts::new("placet_http_call_seconds", "Time until the answer began, waits included.");
        let connections = Opts::new("placet_http_connections", "Open connections by listener.");
        let requests = Opts::new("placet_requests", "Action requests by state.");
        let entries = Opts::new(
            "placet_entries_total",
            "Ledger entries by kind: decisions, votes, executions, refusals and all else that happened.",
        );
        Metrics {
            calls: registered(&registry, IntCounterVec::new(calls, &["door", "method", "status"])),
            seconds: registered(&registry, HistogramVec::new(seconds.buckets(BUCKETS.to_vec()), &["door"])),
            connections: registered(&registry, IntGaugeVec::new(connections, &["listener"])),
            requests: registered(&registry, IntGaugeVec::new(requests, &["state"])),
            entries: registered(&registry, IntCounterVec::new(entries, &["kind"])),
            counted: Mutex::new(0),
            log_size: registered(&registry, IntGauge::new("placet_log_size", "Entries in the ledger.")),
            ready: registered(&registry, IntGauge::new("placet_ready", "Whether calls would be served.")),
            registry,
        }
    }

    /// A call was answered.
    pub(crate) fn called(&self, door: &'static str, method: &Method, status: StatusCode, took: Duration) {
        if let Some(calls) = &self.calls {
            calls.with_label_values(&[door, word_of(method), status.as_str()]).inc();
        }
        if let Some(seconds) = &self.seconds {
            seconds.with_label_values(&[door]).observe(took.as_secs_f64());
        }
    }

    /// The number of open connections of a listener.
    pub(crate) fn connections(&self, listener: &str) -> Option<IntGauge> {
        self.connections.as_ref().map(|gauge| gauge.with_label_values(&[listener]))
    }

    /// From where on entries were not counted yet.
    pub(crate) fn uncounted(&self) -> u64 {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the entries that came since this index. Of two that count at once, one is left out.
    pub(crate) fn count(&self, from: u64, counts: &BTreeMap<Kind, u64>) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if *counted != from {
            return;
        }
        for (kind, count) in counts {
            *counted = counted.saturating_add(*count);
            if let Some(entries) = &self.entries {
                entries.with_label_values(&[kind.as_str()]).inc_by(*count);
            }
        }
    }

    /// What was counted in the store just now.
    pub(crate) fn stored(&self, counts: &BTreeMap<Status, u64>, log_size: u64, ready: bool) {
        if let Some(requests) = &self.requests {
            for status in Status::ALL {
                let count = counts.get(&status).copied().unwrap_or(0);
                requests.with_label_values(&[status.as_str()]).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        if let Some(size) = &self.log_size {
            size.set(i64::try_from(log_size).unwrap_or(i64::MAX));
        }
        if let Some(gauge) = &self.ready {
            gauge.set(i64::from(ready));
        }
    }

    /// All of them, in Prometheus' text format.
    pub(crate) fn text(&self) -> String {
        let mut out = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            Ok(()) => String::from_utf8(out).unwrap_or_default(),
            Err(error) => format!("# {error}\n"),
        }
    }
}

/// The name of a method for labels and logs. A caller may invent methods; it may not write there.
pub(crate) fn word_of(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn registered<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> Option<C> {
    let collector = made.ok()?;
    registry.register(Box::new(collector.clone())).ok()?;
    Some(collector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_registered_and_invented_methods_are_not_labels() {
        let metrics = Metrics::new();
        let method = Method::from_bytes(b"PWN").unwrap();
        metrics.called("agents", &method, StatusCode::OK, Duration::from_millis(3));
        metrics.connections("agents").unwrap().inc();
        metrics.stored(&BTreeMap::from([(Status::Pending, 2)]), 7, true);
        let counts = BTreeMap::from([(Kind::VoteCast, 2), (Kind::VoteRefused, 1)]);
        metrics.count(0, &counts);
        metrics.count(0, &counts);
        assert_eq!(metrics.uncounted(), 3, "counted once");
        let text = metrics.text();
        for line in [
            "placet_http_calls_total{door=\"agents\",method=\"other\",status=\"200\"} 1",
            "placet_http_call_seconds_count{door=\"agents\"} 1",
            "placet_http_connections{listener=\"agents\"} 1",
            "placet_requests{state=\"pending\"} 2",
            "placet_entries_total{kind=\"vote.cast\"} 2",
            "placet_log_size 7",
            "placet_ready 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
