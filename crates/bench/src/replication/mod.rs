//! Replication: what it costs a call, and how soon every region has a write.
//!
//! * [`plan`]: what is measured, and for how long;
//! * [`ground`] runs regions ([`server`] their servers, [`caller`] calls a provider over wRPC);
//! * [`operation`]: calls in plain and in replicated mode, beside Valkey itself;
//! * [`lag`], [`heal`]: until other regions have a write, and until they have all after a cut;
//! * [`memory`], [`cost`]: what a key weighs, and what a write costs in groups of several sizes;
//! * [`report`] is the result and holds it to what is promised, [`table`] prints it.

mod caller;
mod cost;
mod ground;
mod heal;
mod lag;
mod memory;
mod operation;
mod plan;
pub mod report;
mod server;
pub mod table;

use std::path::Path;
use std::time::Duration;

pub use plan::Plan;
use report::Report;

use self::ground::Ground;
use crate::sample::Summary;

/// Regions of everything but the cost of larger groups.
const REGIONS: usize = 3;

/// Measures one thing after another. What it starts ends with it, finished or dropped.
pub async fn everything(root: &Path, plan: &Plan) -> anyhow::Result<Report> {
    eprintln!("\nreplication between {REGIONS} regions");
    let weights = memory::measure(root, REGIONS, plan.weighed).await?;
    let mut ground = Ground::start(root, REGIONS).await?;
    let plain = ground.plain().await?;
    let points = operation::measure(plan, &ground, &plain).await?;
    let (mut lags, mut heals) = (Vec::new(), Vec::new());
    for wan_ms in &plan.wan_ms {
        for busy in [false, true] {
            lags.push(lag::measure(&ground, *wan_ms, plan.lags, busy).await?);
        }
    }
    for wan_ms in &plan.wan_ms {
        for keys in &plan.healed {
            heals.push(heal::measure(&ground, *wan_ms, *keys, plan.cut).await?);
        }
    }
    ground.set_wan(Duration::ZERO);
    let plain_cost = cost::plain(plan, &ground, &plain).await?;
    drop((ground, plain));
    let mut costs = Vec::new();
    for regions in &plan.groups {
        costs.push(cost::measure(root, plan, *regions).await?);
    }
    Ok(Report::new(points, lags, heals, weights, costs, plain_cost))
}

fn progress(what: &str, summary: &Summary) {
    eprintln!(
        "  {what:<32} {:>8.0}/s  p50 {:>9.3} ms  p99 {:>9.3} ms  ({} answers, {} failed)",
        summary.per_second,
        summary.p50_us / 1e3,
        summary.p99_us / 1e3,
        summary.count,
        summary.failed
    );
}
