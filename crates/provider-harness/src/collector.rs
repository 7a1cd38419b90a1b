//! A collector of OpenTelemetry metrics of the test's own.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{any_value, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point, Metric, NumberDataPoint};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A value of a gauge or of a counter.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// What it is about.
    pub attributes: BTreeMap<String, String>,
    /// Who says so.
    pub resource: BTreeMap<String, String>,
    /// The metric's unit.
    pub unit: String,
    /// Whether it is a counter's: a cumulative, monotonic sum.
    pub counter: bool,
    /// The value.
    pub value: f64,
}

/// Takes OTLP over HTTP, in protobuf, on a free port of the loopback, until it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    exports: Exports,
    task: JoinHandle<()>,
}

type Exports = Arc<Mutex<Vec<ExportMetricsServiceRequest>>>;

impl Collector {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// When there is no free port.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let exports = Exports::default();
        let taken = exports.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let taken = taken.clone();
                let answer = service_fn(move |request| {
                    let taken = taken.clone();
                    async move { Ok::<_, Infallible>(take(request, &taken).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answer),
                );
            }
        });
        Ok(Self {
            address,
            exports,
            task,
        })
    }

    /// Its endpoint for all signals.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many exports came.
    #[must_use]
    pub fn exports(&self) -> usize {
        lock(&self.exports).len()
    }

    /// The points of a metric in the last export.
    #[must_use]
    pub fn points(&self, name: &str) -> Vec<Point> {
        let exports = lock(&self.exports);
        let resources = exports
            .last()
            .into_iter()
            .flat_map(|all| &all.resource_metrics);
        let mut points = Vec::new();
        for of_resource in resources {
            let resource = of_resource.resource.iter().flat_map(|r| &r.attributes);
            let resource = texts(resource);
            let metrics = of_resource.scope_metrics.iter().flat_map(|s| &s.metrics);
            for metric in metrics.filter(|metric| metric.name == name) {
                points.extend(of_metric(metric, &resource));
            }
        }
        points
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(request: Request<Incoming>, exports: &Exports) -> Response<Full<Bytes>> {
    let wanted = request.method() == Method::POST && request.uri().path() == "/v1/metrics";
    let body = request.into_body().collect().await.ok();
    let export = body.and_then(|body| ExportMetricsServiceRequest::decode(body.to_bytes()).ok());
    let mut response = Response::default();
    match export {
        Some(export) if wanted => lock(exports).push(export),
        _ => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}

fn of_metric(metric: &Metric, resource: &BTreeMap<String, String>) -> Vec<Point> {
    let (points, counter) = match &metric.data {
        Some(metric::Data::Gauge(gauge)) => (&gauge.data_points[..], false),
        Some(metric::Data::Sum(sum)) => (&sum.data_points[..], sum.is_monotonic),
        _ => (&[][..], false),
    };
    let point = |point: &NumberDataPoint| {
        let value = match point.value? {
            number_data_point::Value::AsDouble(value) => value,
            // What a test counts is exact in 32 bits.
            number_data_point::Value::AsInt(value) => f64::from(u32::try_from(value).ok()?),
        };
        Some(Point {
            attributes: texts(&point.attributes),
            resource: resource.clone(),
            unit: metric.unit.clone(),
            counter,
            value,
        })
    };
    points.iter().filter_map(point).collect()
}

fn texts<'a>(attributes: impl IntoIterator<Item = &'a KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some((attribute.key.clone(), text.clone())),
        _ => None,
    };
    attributes.into_iter().filter_map(text).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
