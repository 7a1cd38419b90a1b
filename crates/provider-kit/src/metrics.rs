//! Metrics over OTLP, when the host's settings ask for them.
//!
//! Whoever measures asks [`opentelemetry::global::meter`] for a meter when it starts; without such settings it gets
//! one that does nothing. A collector that is slow, wrong or away costs its metrics and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::{global, KeyValue};
use opentelemetry_otlp::{MetricExporter, Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::periodic_reader_with_async_runtime::PeriodicReader;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::{runtime, Resource};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, info, warn};
use wasmcloud_provider_sdk::core::{tls, OtelConfig, OtelProtocol};
use wasmcloud_provider_sdk::HostData;

/// How long a collector may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Why nothing is exported. Does not quote the endpoint, which may hold a password.
#[derive(Debug, thiserror::Error)]
enum MetricsError {
    #[error("the additional CA certificates cannot be read")]
    Certificates,
    #[error("the HTTP client cannot be made")]
    Client,
    #[error("the endpoint, or one of the OTEL_EXPORTER_OTLP_* variables, is not valid")]
    Exporter,
}

/// The process's export of metrics, if there is any.
pub(crate) struct Metrics(Option<SdkMeterProvider>);

impl Metrics {
    /// Starts it within the current runtime if the host wants metrics: `OTEL_METRIC_EXPORT_INTERVAL` milliseconds
    /// apart, with `OTEL_RESOURCE_ATTRIBUTES` and the provider's name as `service.name`. Otherwise does nothing.
    pub(crate) fn install(name: &'static str, host: &HostData) -> Self {
        if !host.otel_config.metrics_enabled() {
            return Self(None);
        }
        let exporter = match exporter(&host.otel_config) {
            Ok(exporter) => exporter,
            Err(error) => {
                warn!(%error, "no metrics are exported");
                return Self(None);
            }
        };
        let exporter = Watched {
            exporter,
            failing: AtomicBool::new(false),
        };
        let resource = Resource::builder_empty()
            .with_detector(Box::new(EnvResourceDetector::new()))
            .with_attributes([
                KeyValue::new("service.name", name),
                KeyValue::new("service.instance.id", host.instance_id.clone()),
            ]);
        let provider = SdkMeterProvider::builder()
            .with_resource(resource.build())
            .with_reader(PeriodicReader::builder(exporter, runtime::Tokio).build())
            .build();
        global::set_meter_provider(provider.clone());
        Self(Some(provider))
    }

    /// Exports what was measured last, if that is done within `limit`.
    pub(crate) async fn flush(self, limit: Duration) {
        let Some(provider) = self.0 else {
            return;
        };
        // The SDK blocks until the export is over; how it went is logged by the exporter.
        let flushed = spawn_blocking(move || provider.force_flush());
        if timeout(limit, flushed).await.is_err() {
            debug!("the last metrics were not taken in time");
        }
    }
}

fn exporter(config: &OtelConfig) -> Result<MetricExporter, MetricsError> {
    let endpoint = config.metrics_endpoint();
    let built = match config.protocol {
        OtelProtocol::Http => MetricExporter::builder()
            .with_http()
            .with_http_client(client(config, &endpoint)?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .build(),
        OtelProtocol::Grpc => MetricExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(ANSWER)
            .build(),
    };
    built.map_err(|_| MetricsError::Exporter)
}

fn client(config: &OtelConfig, endpoint: &str) -> Result<reqwest::Client, MetricsError> {
    let mut builder = reqwest::Client::builder().timeout(ANSWER);
    if endpoint.starts_with("https:") {
        let more = tls::load_certs_from_paths(&config.additional_ca_paths)
            .map_err(|_| MetricsError::Certificates)?;
        for certificate in tls::NATIVE_ROOTS.iter().chain(&more) {
            // The system's store may hold what this client cannot use.
            if let Ok(certificate) = reqwest::Certificate::from_der(certificate) {
                builder = builder.add_root_certificate(certificate);
            }
        }
    }
    builder.build().map_err(|_| MetricsError::Client)
}

/// An exporter that says so when its collector goes away and when it is back. Why is not said: the reasons quote
/// the endpoint.
struct Watched {
    exporter: MetricExporter,
    failing: AtomicBool,
}

impl PushMetricExporter for Watched {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let exported = self.exporter.export(metrics).await;
        let fails = exported.is_err();
        match (self.failing.swap(fails, Ordering::Relaxed), fails) {
            (false, true) => warn!("the collector does not take the metrics"),
            (true, false) => info!("the collector takes the metrics again"),
            _ => {}
        }
        exported
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_settings_no_metrics_and_no_runtime_needed() {
        assert!(Metrics::install("test", &HostData::default()).0.is_none());
    }

    #[test]
    fn an_endpoint_that_is_none_is_refused_without_being_quoted() {
        let config = OtelConfig {
            metrics_endpoint: Some("http://user:hunter2@[".to_owned()),
            ..OtelConfig::default()
        };
        let error = exporter(&config).unwrap_err();
        assert!(matches!(error, MetricsError::Exporter));
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
