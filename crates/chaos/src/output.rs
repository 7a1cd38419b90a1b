//! What a run leaves in files and says on the terminal.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::html;
use crate::plan::Plan;
use crate::report::Report;
use crate::run::Ran;

/// Writes `report.json` and `report.html`, and `history.jsonl` if the run did not pass or it was asked for; else
/// the one of an earlier run is removed.
///
/// # Errors
///
/// A file cannot be written.
pub fn keep(ran: &Ran, plan: &Plan) -> anyhow::Result<PathBuf> {
    let out = plan.out.as_path();
    std::fs::create_dir_all(out).with_context(|| format!("failed to create {}", out.display()))?;
    let json = serde_json::to_string_pretty(&ran.report)?;
    write(&out.join("report.json"), &json)?;
    let page = out.join("report.html");
    write(&page, &html::page(&ran.report))?;
    let history = out.join("history.jsonl");
    if ran.report.passed && !plan.keep_history {
        match std::fs::remove_file(&history) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    } else {
        let file = File::create(&history)
            .with_context(|| format!("failed to create {}", history.display()))?;
        ran.history.write(BufWriter::new(file))?;
    }
    Ok(page)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

/// Prints what came of a run.
pub fn print(report: &Report, page: &Path) {
    for round in &report.rounds {
        let names: Vec<String> = round
            .happened
            .struck
            .iter()
            .map(|struck| struck.fault.to_string())
            .collect();
        let gap = |costs: &std::collections::BTreeMap<String, crate::measure::Cost>| {
            let gaps = costs
                .iter()
                .map(|(place, cost)| format!("{place} {}", cost.gap_ms));
            gaps.collect::<Vec<_>>().join(", ")
        };
        println!(
            "{:>3}  {:<40}  gap ms: store {}; page {}  converged ms: {}",
            round.happened.number,
            names.join(", and "),
            gap(&round.store),
            gap(&round.page),
            round
                .converged_ms
                .map_or("never".into(), |ms| ms.to_string()),
        );
    }
    let figures = &report.figures;
    println!(
        "\n{} calls acknowledged, {} without effect, {} unknown; {} visits; {} deletes had to hold",
        figures.acknowledged, figures.failed, figures.unknown, figures.visits, figures.deletes
    );
    println!("lost {}, doubled {}", report.lost, report.doubled);
    for violation in &report.violations {
        println!("VIOLATION  {violation}");
    }
    for reason in &report.vacuous {
        println!("VACUOUS    {reason}");
    }
    println!("report: {}", page.display());
    if !report.passed {
        println!(
            "history: {}",
            page.with_file_name("history.jsonl").display()
        );
        println!("again with: {}", report.again);
    }
}

/// What the lattice itself has to say goes where its processes' logs are.
///
/// # Errors
///
/// The file cannot be made.
pub(crate) fn log_to(state: &Path) -> anyhow::Result<()> {
    let path = lattice::workspace::log_path(state, "home", "lattice");
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let filter = EnvFilter::new("warn,lattice=info,wrpc_transport_nats=off");
    // Whoever runs this may have set another one.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Mutex::new(File::create(path)?))
        .try_init();
    Ok(())
}
