//! What clients know after they have counted for a while.

#![allow(dead_code)] // every test binary uses its own part of this

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::site::{Site, Went};
use crate::support::eventually;
use crate::support::region::SOON;

/// What a client knows after it has counted for a while.
#[derive(Debug, Default)]
pub struct Tally {
    counted: AtomicU64,
    unknown: AtomicU64,
}

impl Tally {
    /// Counts until told to stop.
    pub async fn count(&self, site: &Site, key: &str, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            match site.increment(key).await {
                Went::Well(_) => self.counted.fetch_add(1, Ordering::Relaxed),
                went if went.did_nothing() => {
                    // Give others a chance to run.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    0
                }
                _ => self.unknown.fetch_add(1, Ordering::Relaxed),
            };
        }
    }

    pub fn read(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.counted), read(&self.unknown))
    }
}

/// Waits until all sites show the same number, and returns it.
pub async fn agreed(sites: &[&Site], key: &str, least: u64) -> u64 {
    let sum = AtomicU64::new(0);
    eventually("all regions agree", SOON, || async {
        let values = sites.iter().map(|site| site.get("default", key));
        let values = futures::future::join_all(values).await;
        let Some(Some(first)) = values.first() else {
            return false;
        };
        sum.store(first.parse().unwrap(), Ordering::Relaxed);
        sum.load(Ordering::Relaxed) >= least
            && values.iter().all(|value| value.as_ref() == Some(first))
    })
    .await;
    sum.into_inner()
}
