//! The same page without wasmCloud: hyper, the page's own code natively, and its calls straight
//! on Valkey. What is left of a page's time is what the platform adds.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cloud_hello::counter::CounterKey;
use cloud_hello::host::{
    Clock, Listing, Log, Metadata, MetadataError, Replication, Serving, Store, StoreError,
};
use cloud_hello::http::{Method, Request, Response};
use cloud_hello::region::RegionCode;
use cloud_hello::route;
use cloud_hello::user_agent::Visitor;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use redis::aio::MultiplexedConnection;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::valkey;

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    pub addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves cloud-hello's routes at a free port.
pub async fn serve(store: MultiplexedConnection, region: &str) -> anyhow::Result<Server> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let addr = listener.local_addr()?;
    let serving = Serving {
        region: RegionCode::normalise(region),
        name: region.to_owned(),
        city: None,
        instance: "native".into(),
        platform: "native".into(),
    };
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            // As with every server here; a failure would only cost time.
            let _ = stream.set_nodelay(true);
            let (store, serving) = (store.clone(), serving.clone());
            let service = service_fn(move |request: http::Request<Incoming>| {
                let (store, serving) = (store.clone(), serving.clone());
                async move { Ok::<_, Infallible>(answer(store, serving, &request).await) }
            });
            connections.spawn(async move {
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                // A visitor that leaves ends it early.
                let _ = connection.await;
            });
            while connections.try_join_next().is_some() {}
        }
    });
    Ok(Server { addr, task })
}

async fn answer(
    store: MultiplexedConnection,
    serving: Serving,
    request: &http::Request<Incoming>,
) -> http::Response<Full<Bytes>> {
    let header = |name| {
        request
            .headers()
            .get(name)
            .map(http::HeaderValue::as_bytes)
            .unwrap_or_default()
    };
    let request = Request {
        method: if request.method() == http::Method::GET {
            Method::Get
        } else {
            Method::Other
        },
        path_with_query: request.uri().path(),
        user_agent: header(http::header::USER_AGENT),
        if_none_match: header(http::header::IF_NONE_MATCH),
    };
    let mut host = Host {
        serving,
        fetched: None,
        started: Instant::now(),
    };
    if request.path() == "/" {
        host.fetched = host.fetch(store, &request).await.ok();
    }
    let mut response = http::Response::builder();
    let Response {
        status,
        headers,
        body,
        ..
    } = route::respond(&mut host, &request);
    response = response.status(status);
    for (name, value) in &headers {
        response = response.header(*name, value.as_ref());
    }
    let body = Full::new(Bytes::from(body.into_owned()));
    response.body(body).unwrap_or_default()
}

/// The page asks synchronously; the store is asked before, with the very commands it would need.
struct Host {
    serving: Serving,
    fetched: Option<Fetched>,
    started: Instant,
}

struct Fetched {
    keys: Vec<String>,
    values: HashMap<String, Vec<u8>>,
    count: u64,
}

impl Host {
    async fn fetch(
        &self,
        mut store: MultiplexedConnection,
        request: &Request<'_>,
    ) -> redis::RedisResult<Fetched> {
        let visitor = Visitor::from_user_agent(request.user_agent);
        let own = CounterKey {
            region: self.serving.region.clone(),
            browser: visitor.browser,
            os: visitor.os,
        }
        .to_string();
        let keys = valkey::list(&mut store).await?;
        let mut read = keys.clone();
        if !read.contains(&own) {
            read.push(own.clone());
        }
        let values = valkey::get_many(&mut store, &read).await?;
        let values = read
            .into_iter()
            .zip(values)
            .filter_map(|(key, value)| Some((key, value?)));
        Ok(Fetched {
            values: values.collect(),
            count: valkey::increment(&mut store, &own).await?,
            keys,
        })
    }

    fn fetched(&self) -> Result<&Fetched, StoreError> {
        self.fetched.as_ref().ok_or(StoreError::Other)
    }
}

impl Metadata for Host {
    fn metadata(&mut self) -> Result<Serving, MetadataError> {
        Ok(self.serving.clone())
    }
}

impl Store for Host {
    fn increment(&mut self, _: &str) -> Result<u64, StoreError> {
        Ok(self.fetched()?.count)
    }

    fn list_keys(&mut self) -> Result<Listing, StoreError> {
        Ok(Listing {
            keys: self.fetched()?.keys.clone(),
            more: false,
        })
    }

    fn get_many(&mut self, keys: &[String]) -> Result<Vec<Option<(String, Vec<u8>)>>, StoreError> {
        let values = &self.fetched()?.values;
        Ok(keys
            .iter()
            .map(|key| Some((key.clone(), values.get(key)?.clone())))
            .collect())
    }
}

impl Replication for Host {
    fn status(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        Err(StoreError::NoSuchStore)
    }
}

impl Clock for Host {
    fn now(&mut self) -> Duration {
        self.started.elapsed()
    }
}

impl Log for Host {
    fn warn(&mut self, _: &'static str) {}

    fn error(&mut self, _: &'static str) {}
}
