//! Measures one thing after another; the machine does nothing else meanwhile.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;

use crate::ground::Ground;
use crate::load;
use crate::native;
use crate::plan::{Pace, Plan};
use crate::process::{self, Processors};
use crate::report::{Call, Design, Over, Page, Report, Section};
use crate::sample::Summary;
use crate::valkey;
use crate::wrpc::{repeat, Echo, Probe, Way};

/// For what a change of the delay finds in flight.
const SETTLE: Duration = Duration::from_millis(500);

/// A view of the naive design crosses the WAN for every key.
const NAIVE_PATIENCE: Duration = Duration::from_secs(40);

/// The whole report, but for what it is printed with.
pub async fn everything(plan: &Plan, ground: &Ground) -> anyhow::Result<Report> {
    let memory_at_rest = process::memory(&ground.status().await);
    let mut near = valkey::connect(ground.valkey).await?;
    let keys = valkey::preload(&mut near, plan.keys, &ground.regions).await?;
    let mut sections = Vec::new();
    for wan_ms in &plan.wan_ms {
        sections.push(section(plan, ground, *wan_ms, &keys).await?);
    }
    ground.set_wan(Duration::ZERO)?;
    // What the visits added is said, not hidden.
    let keys = valkey::list(&mut near).await?.len();
    for section in &mut sections {
        section.verdicts = section.judge(keys);
    }
    Ok(Report {
        region: ground.region.clone(),
        keys,
        seconds: plan.page.measure.as_secs_f64(),
        sections,
        memory_at_rest,
        memory_after: process::memory(&ground.status().await),
    })
}

async fn section(
    plan: &Plan,
    ground: &Ground,
    wan_ms: u64,
    keys: &[String],
) -> anyhow::Result<Section> {
    eprintln!("\n{wan_ms} ms between regions");
    ground.set_wan(Duration::from_millis(wan_ms))?;
    tokio::time::sleep(SETTLE).await;
    let mut section = Section {
        wan_ms,
        calls: calls(plan.call, ground, keys).await?,
        pages: Vec::new(),
        verdicts: Vec::new(),
        steps: BTreeMap::new(),
    };
    let store = valkey::connect(ground.far_valkey.local_addr().port()).await?;
    let native = native::serve(store, &ground.region).await?;
    let subjects = [
        (Design::CloudHello, ground.direct),
        (Design::Edge, ground.edge),
        (Design::Native, native.addr),
        (Design::Naive, ground.naive),
    ];
    for (design, addr) in subjects {
        let body = load::once(addr, "/")
            .await
            .with_context(|| format!("{design:?} has no page"))?;
        anyhow::ensure!(
            body.starts_with(b"<!"),
            "{design:?} answers something that is no page"
        );
        let paths: &[_] = if design == Design::Naive {
            &["/"]
        } else {
            &["/", "/health"]
        };
        for path in paths {
            for connections in &plan.connections {
                let mut pace = plan.page;
                if design == Design::Naive && wan_ms > 0 {
                    // One view takes seconds; waiting for many would be most of the run.
                    pace = Pace {
                        warm_up: Duration::ZERO,
                        least: 1,
                        patience: NAIVE_PATIENCE,
                        ..pace
                    };
                }
                let (page, steps) = page(ground, design, addr, path, *connections, pace).await?;
                if design == Design::CloudHello && page.path == "/" && page.connections == 1 {
                    section.steps = steps;
                }
                section.pages.push(page);
            }
        }
    }
    Ok(section)
}

async fn page(
    ground: &Ground,
    design: Design,
    addr: SocketAddr,
    path: &'static str,
    connections: usize,
    pace: Pace,
) -> anyhow::Result<(Page, BTreeMap<String, f64>)> {
    let before = ground.status().await;
    let processors = Processors::read(&before);
    let load = load::visit(addr, path, connections, pace).await?;
    let mut processor_us = processors.used_since();
    let after = ground.status().await.edge;
    // Warm-up included, as its work is in the times.
    let whole = pace.warm_up.as_secs_f64() + pace.measure.as_secs_f64();
    let answers = load.summary.per_second * whole;
    processor_us
        .values_mut()
        .for_each(|used| *used /= answers.max(1.0));
    let requests = after.requests.saturating_sub(before.edge.requests);
    let attempts = after
        .attempts_total
        .saturating_sub(before.edge.attempts_total);
    // Numbers of one run.
    #[allow(clippy::cast_precision_loss)]
    let attempts =
        (design == Design::Edge && requests > 0).then(|| attempts as f64 / requests as f64);
    progress(&format!("{design:?} {path} × {connections}"), &load.summary);
    if let Some(failure) = &load.failure {
        eprintln!("  first failure: {failure}");
    }
    let steps = load
        .steps
        .into_iter()
        .map(|(step, summary)| (step, summary.p50_us))
        .collect();
    let page = Page {
        design,
        path,
        connections,
        summary: load.summary,
        attempts,
        processor_us,
        failure: load.failure,
    };
    Ok((page, steps))
}

async fn calls(pace: Pace, ground: &Ground, keys: &[String]) -> anyhow::Result<Vec<Call>> {
    let own = keys.first().context("no keys")?;
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut calls = Calls(Vec::new());

    let store = valkey::connect(ground.far_valkey.local_addr().port()).await?;
    // A handle for each call, on the one connection.
    let store = || store.clone();
    calls.add(
        Over::Valkey,
        "list-keys",
        repeat(pace, || async { Ok(valkey::list(&mut store()).await?) }).await?,
    );
    calls.add(
        Over::Valkey,
        "get-many",
        repeat(pace, || async {
            Ok(valkey::get_many(&mut store(), keys).await?)
        })
        .await?,
    );
    calls.add(
        Over::Valkey,
        "increment",
        repeat(pace, || async {
            Ok(valkey::increment(&mut store(), own).await?)
        })
        .await?,
    );
    calls.add(
        Over::Valkey,
        "get",
        repeat(pace, || async { Ok(valkey::get(&mut store(), own).await?) }).await?,
    );

    let echo = Echo::start(&ground.nats).await?;
    calls.add(
        Over::Nats,
        "echo in the region",
        repeat(pace, || Echo::ask(&ground.nats)).await?,
    );
    drop(echo);
    let _echo = Echo::start(&ground.home_nats).await?;
    tokio::time::sleep(SETTLE).await;
    calls.add(
        Over::Nats,
        "echo at home",
        repeat(pace, || Echo::ask(&ground.nats)).await?,
    );

    for (over, way) in [(Over::Wrpc, Way::Kept), (Over::WrpcPerCall, Way::PerCall)] {
        let probe = Probe::new(&ground.nats, way).await?;
        calls.add(
            over,
            "metadata.get",
            repeat(pace, || probe.metadata()).await?,
        );
        calls.add(over, "list-keys", repeat(pace, || probe.list_keys()).await?);
        calls.add(
            over,
            "get-many",
            repeat(pace, || probe.get_many(&names)).await?,
        );
        calls.add(
            over,
            "increment",
            repeat(pace, || probe.increment(own)).await?,
        );
        calls.add(over, "get", repeat(pace, || probe.get(own)).await?);
    }
    Ok(calls.0)
}

struct Calls(Vec<Call>);

impl Calls {
    fn add(&mut self, over: Over, name: &'static str, summary: Summary) {
        progress(&format!("{over:?} {name}"), &summary);
        self.0.push(Call {
            over,
            name,
            summary,
        });
    }
}

fn progress(what: &str, summary: &Summary) {
    eprintln!(
        "  {what:<32} {:>8.0}/s  p50 {:>9.3} ms  ({} answers, {} failed)",
        summary.per_second,
        summary.p50_us / 1e3,
        summary.count,
        summary.failed
    );
}
