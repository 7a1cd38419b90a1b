//! The page where every region has a store: what the distance between regions costs it.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::ground::Ground;
use crate::load;
use crate::plan::Plan;
use crate::report::Design;
use crate::sample::Summary;
use crate::valkey;

/// How much longer a page may take between distant regions than between near ones.
pub const PROMISED: f64 = 1.2;
/// Each delay is measured this often, in turns.
const ROUNDS: usize = 3;
/// For what a change of the delay finds in flight.
const SETTLE: Duration = Duration::from_millis(500);

/// The page with a store in every region, one connection.
#[derive(Debug, Serialize)]
pub struct Local {
    pub keys: usize,
    pub pages: Vec<Page>,
    pub verdicts: Vec<Verdict>,
}

/// A page at one round trip between regions.
#[derive(Debug, Serialize)]
pub struct Page {
    pub design: Design,
    pub wan_ms: u64,
    /// The median of the rounds' medians.
    pub p50_us: f64,
    pub rounds: Vec<Summary>,
}

/// A page between distant regions beside the same one between near ones.
#[derive(Debug, Serialize)]
pub struct Verdict {
    pub design: Design,
    pub near_ms: u64,
    pub far_ms: u64,
    pub ratio: f64,
    pub kept: bool,
}

/// Measures the page at each of the plan's delays, in turns.
pub async fn everything(plan: &Plan, ground: &Ground) -> anyhow::Result<Local> {
    eprintln!("\na store in every region");
    let mut keys = 0;
    // Behind the providers' backs: every store gets the same.
    for port in ground.store_ports() {
        let mut store = valkey::connect(port).await?;
        keys = valkey::preload(&mut store, plan.keys, &ground.regions)
            .await?
            .len();
    }
    let designs = [
        (Design::CloudHello, ground.direct),
        (Design::Edge, ground.edge),
    ];
    let mut pages: Vec<Page> = Vec::new();
    for _ in 0..ROUNDS {
        for wan_ms in &plan.wan_ms {
            ground.set_wan(Duration::from_millis(*wan_ms))?;
            tokio::time::sleep(SETTLE).await;
            for (design, addr) in designs {
                let summary = view(plan, addr).await?;
                eprintln!("  {design:?} at {wan_ms} ms: p50 {:.0} µs", summary.p50_us);
                let known = pages
                    .iter_mut()
                    .find(|page| page.design == design && page.wan_ms == *wan_ms);
                match known {
                    Some(page) => page.rounds.push(summary),
                    None => pages.push(Page {
                        design,
                        wan_ms: *wan_ms,
                        p50_us: f64::NAN,
                        rounds: vec![summary],
                    }),
                }
            }
        }
    }
    ground.set_wan(Duration::ZERO)?;
    for page in &mut pages {
        page.p50_us = median(page.rounds.iter().map(|round| round.p50_us).collect());
    }
    let verdicts = designs
        .iter()
        .filter_map(|(design, _)| judge(&pages, *design))
        .collect();
    Ok(Local {
        keys,
        pages,
        verdicts,
    })
}

async fn view(plan: &Plan, addr: SocketAddr) -> anyhow::Result<Summary> {
    let load = load::visit(addr, "/", 1, plan.page).await?;
    // wRPC loses an answer now and then (docs/performance.md); the page then hangs.
    if let Some(failure) = &load.failure {
        eprintln!("  {} views failed, first: {failure}", load.summary.failed);
    }
    Ok(load.summary)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The farthest beside the nearest; nothing where there is one delay only.
fn judge(pages: &[Page], design: Design) -> Option<Verdict> {
    let of = || pages.iter().filter(|page| page.design == design);
    let near = of().min_by_key(|page| page.wan_ms)?;
    let far = of().max_by_key(|page| page.wan_ms)?;
    let ratio = far.p50_us / near.p50_us;
    (near.wan_ms < far.wan_ms).then_some(Verdict {
        design,
        near_ms: near.wan_ms,
        far_ms: far.wan_ms,
        ratio,
        kept: ratio <= PROMISED,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(wan_ms: u64, p50_us: f64) -> Page {
        Page {
            design: Design::CloudHello,
            wan_ms,
            p50_us,
            rounds: Vec::new(),
        }
    }

    #[test]
    fn the_farthest_is_set_beside_the_nearest() {
        let pages = [page(80, 13_000.0), page(0, 10_000.0), page(20, 90_000.0)];
        let verdict = judge(&pages, Design::CloudHello).unwrap();
        assert_eq!((verdict.near_ms, verdict.far_ms), (0, 80));
        assert!((verdict.ratio - 1.3).abs() < 1e-9 && !verdict.kept);
        assert!(judge(&pages[..1], Design::CloudHello).is_none());
        assert!(judge(&pages, Design::Edge).is_none());
    }

    #[test]
    fn a_median_is_the_one_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
    }
}
