//! Two minutes of `make chaos`, with a seed of their own each time.
//!
//! `CHAOS_SEED` gives the seed; the report lies in `target/e2e/chaos`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Instant;

use chaos::ground::Ground;
use chaos::plan::Plan;
use chaos::{keep, print, run};
use e2e::stage::Tails;

const MINUTES: f64 = 2.0;

#[tokio::test(flavor = "multi_thread")]
async fn two_minutes_of_faults_lose_and_double_nothing() {
    let seed = match std::env::var("CHAOS_SEED") {
        Ok(seed) => seed.parse().expect("CHAOS_SEED is a number"),
        Err(_) => fastrand::u64(0..1_000_000),
    };
    // A run that goes on has claimed this one, not the one around it.
    let _ = e2e::emptied("chaos/lattice");
    let directory = e2e::emptied("chaos");
    let plan = Plan::new(MINUTES, seed, &e2e::root(), &directory);
    eprintln!("seed {seed}; again with: {}", plan.asked.again());
    let _tails = Tails(plan.state.clone());
    let started = Instant::now();
    let stage = |what: &str| eprintln!("{:>6.1} s  {what}", started.elapsed().as_secs_f64());
    let ground = Ground::prepare(&plan, &stage).await.unwrap();
    let ran = run::run(&plan, &ground).await;
    ground.lattice.stop().await;
    let ran = ran.unwrap();
    let page = keep(&ran, &plan).unwrap();
    print(&ran.report, &page);
    assert!(
        ran.report.passed,
        "{:#?}\n{:#?}\nagain with: {}",
        ran.report.violations, ran.report.vacuous, ran.report.again
    );
}
