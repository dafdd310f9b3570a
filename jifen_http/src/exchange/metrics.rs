//! Counters for Prometheus. Every label comes from a small fixed set: verbs, the router's own paths, classes of status.

use std::fmt::Write as _;
use std::time::Duration;

use http::Method;
use jifen_app::App;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

mod pipeline;

use pipeline::Pipeline;

/// Upper bounds of the latency histogram, in seconds.
const LATENCY_BUCKETS_SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// What the mall counts.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    latency: Family<RouteLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    database_up: Gauge,
    jobs_waiting: Gauge,
    jobs_failed: Gauge,
}

/// One answered request.
pub(crate) struct Exchange<'a> {
    pub(crate) verb: Verb,
    /// The pattern of the router, not the path.
    pub(crate) route: &'a str,
    pub(crate) status: u16,
}

/// Jobs, as the database counts them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobCounts {
    pub(crate) waiting: i64,
    pub(crate) failed: i64,
}

impl Metrics {
    /// With what the pipeline of `app` counts.
    pub(crate) fn new(app: App) -> Self {
        let mut metrics = Self::without_pipeline();
        metrics
            .registry
            .register_collector(Box::new(Pipeline(move || app.pipeline_counts())));
        metrics
    }

    fn without_pipeline() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("jifen"),
            requests: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS_SECONDS)),
            in_flight: Gauge::default(),
            database_up: Gauge::default(),
            jobs_waiting: Gauge::default(),
            jobs_failed: Gauge::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("http_requests", "Requests answered", self.requests.clone());
        let help = "Time from a request's head to the head of its answer";
        registry.register_with_unit(
            "http_request_duration",
            help,
            Unit::Seconds,
            self.latency.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "Requests in hand",
            self.in_flight.clone(),
        );
        registry.register(
            "database_up",
            "1 when the database answered this scrape",
            self.database_up.clone(),
        );
        registry.register(
            "jobs_waiting",
            "Follow-up jobs that are waiting, now or for later",
            self.jobs_waiting.clone(),
        );
        registry.register(
            "jobs_failed",
            "Follow-up jobs that were given up",
            self.jobs_failed.clone(),
        );
        self
    }

    /// A request comes in; it goes when the guard does, answered or not.
    pub(crate) fn enter(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight(&self.in_flight)
    }

    /// A request was answered.
    pub(crate) fn count(&self, exchange: &Exchange<'_>, latency: Duration) {
        let class = StatusClass::of(exchange.status);
        let route = exchange.route.to_owned();
        self.requests
            .get_or_create(&RequestLabels {
                method: exchange.verb,
                route,
                status: class,
            })
            .inc();
        self.latency
            .get_or_create(&RouteLabels {
                route: exchange.route.to_owned(),
            })
            .observe(latency.as_secs_f64());
    }

    /// Takes over what the database says; `None` when it does not answer.
    pub(crate) fn set_jobs(&self, counts: Option<JobCounts>) {
        self.database_up.set(i64::from(counts.is_some()));
        if let Some(counts) = counts {
            self.jobs_waiting.set(counts.waiting);
            self.jobs_failed.set(counts.failed);
        }
    }

    /// The text a scrape gets.
    pub(crate) fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// A request in hand.
pub(crate) struct InFlight<'a>(&'a Gauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: Verb,
    route: String,
    status: StatusClass,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

/// A method; those nobody serves are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verb {
    Get,
    Head,
    Post,
    Options,
    Other,
}

impl Verb {
    pub(crate) fn of(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::POST => Self::Post,
            Method::OPTIONS => Self::Options,
            _ => Self::Other,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Options => "OPTIONS",
            Self::Other => "other",
        }
    }
}

impl EncodeLabelValue for Verb {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(self.name())
    }
}

/// The first digit of a status: `2xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct StatusClass(u8);

impl StatusClass {
    fn of(status: u16) -> Self {
        Self(u8::try_from(status / 100).unwrap_or(0))
    }
}

impl EncodeLabelValue for StatusClass {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        write!(encoder, "{}xx", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_tells_what_was_counted() {
        let metrics = Metrics::without_pipeline();
        let exchange = Exchange {
            verb: Verb::of(&Method::POST),
            route: "/a/b",
            status: 422,
        };
        metrics.count(&exchange, Duration::from_millis(3));
        metrics.count(&exchange, Duration::from_millis(30));
        metrics.set_jobs(Some(JobCounts {
            waiting: 3,
            failed: 1,
        }));
        let guard = metrics.enter();
        let text = metrics.encode().unwrap();
        for line in [
            "jifen_http_requests_total{method=\"POST\",route=\"/a/b\",status=\"4xx\"} 2",
            "jifen_http_request_duration_seconds_bucket{le=\"0.005\",route=\"/a/b\"} 1",
            "jifen_http_request_duration_seconds_count{route=\"/a/b\"} 2",
            "jifen_http_requests_in_flight 1",
            "jifen_database_up 1",
            "jifen_jobs_waiting 3",
            "jifen_jobs_failed 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        drop(guard);
        metrics.set_jobs(None);
        let text = metrics.encode().unwrap();
        assert!(
            text.contains("jifen_http_requests_in_flight 0")
                && text.contains("jifen_database_up 0"),
            "{text}"
        );
    }

    #[test]
    fn methods_nobody_serves_share_one_label() {
        assert_eq!(
            Verb::of(&Method::from_bytes(b"BREW").unwrap()).name(),
            Verb::of(&Method::TRACE).name()
        );
    }
}
