//! The report as one page that needs nothing beside it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::measure::Cost;
use crate::report::Report;
use crate::round::Judged;
use crate::timeline;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2330; --soft: #667085; --paper: #fff; --line: #d8dde6; --good: #1a7f4e; --bad: #c0392b; --fault: rgba(192,57,43,.16); --mend: rgba(217,151,34,.14) }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf2; --soft: #98a2b3; --paper: #12161d; --line: #2c3442; --good: #4cc38a; --bad: #ff7a6b } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1240px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.verdict { font-size: 1.2rem; font-weight: 600 } .good { color: var(--good) } .bad-text { color: var(--bad) } .soft { color: var(--soft) }
.figures { display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin: 1rem 0; padding: 0 } .figures div { min-width: 6rem } .figures b { display: block; font-size: 1.5rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top } th { color: var(--soft); font-weight: 500 } td.n { white-space: nowrap; font-variant-numeric: tabular-nums }
.wide { overflow-x: auto } svg { width: 100%; min-width: 640px; height: auto } svg text { fill: var(--ink) } svg .tick { fill: var(--soft); font-size: 11px } svg .base { stroke: var(--line) }
.fault { fill: var(--fault) } .mend { fill: var(--mend) } .kill { fill: #c0392b } .pause { fill: #8e5bd0 } .cut { fill: #d98a00 } .ok { fill: var(--good); opacity: .75 } .bad { fill: var(--bad) }
code { font-size: .9em } .key span { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; margin: 0 .3rem 0 1rem; vertical-align: -1px }
";

/// The page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut out = String::from("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">");
    let _ = write!(
        out,
        "<title>Chaos, seed {}</title><style>{STYLE}</style><h1>Chaos, seed {}</h1>",
        report.asked.seed, report.asked.seed
    );
    verdict(&mut out, report);
    out.push_str("<h2>What happened</h2><p class=\"key soft\">Calls and pages a second<span class=\"swatch\" style=\"background:var(--good)\"></span>good<span style=\"background:var(--bad)\"></span>refused or without an answer<span style=\"background:#c0392b\"></span>killed<span style=\"background:#8e5bd0\"></span>paused<span style=\"background:#d98a00\"></span>cut off<span style=\"background:var(--fault)\"></span>a fault lasts<span style=\"background:var(--mend)\"></span>it is mended</p>");
    let _ = write!(out, "<div class=\"wide\">{}</div>", timeline::svg(report));
    rounds(&mut out, report);
    figures(&mut out, report);
    let _ = write!(
        out,
        "<p class=\"soft\">The same faults again: <code>{}</code></p></html>",
        escape(&report.again)
    );
    out
}

fn verdict(out: &mut String, report: &Report) {
    let (class, text) = if report.passed {
        (
            "good",
            "Nothing lost, nothing doubled, nothing back from the dead",
        )
    } else if report.violations.is_empty() {
        ("bad-text", "This run proves nothing")
    } else {
        ("bad-text", "A promise was broken")
    };
    let _ = write!(
        out,
        "<p class=\"verdict {class}\">{text}</p><div class=\"figures\">"
    );
    let faults: usize = report
        .rounds
        .iter()
        .map(|round| round.happened.struck.len())
        .sum();
    let converged = report
        .rounds
        .iter()
        .filter_map(|round| round.converged_ms)
        .max();
    for (name, value) in [
        ("lost", report.lost.to_string()),
        ("doubled", report.doubled.to_string()),
        ("violations", report.violations.len().to_string()),
        ("faults", faults.to_string()),
        ("slowest to converge", converged.map_or("-".into(), ms)),
        (
            "store calls acknowledged",
            report.figures.acknowledged.to_string(),
        ),
        ("visits acknowledged", report.figures.visits.to_string()),
    ] {
        let _ = write!(
            out,
            "<div><b>{value}</b><span class=\"soft\">{name}</span></div>"
        );
    }
    out.push_str("</div>");
    for (title, lines) in [
        (
            "Violations",
            report
                .violations
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
        ),
        ("Why it proves nothing", report.vacuous.clone()),
    ] {
        if lines.is_empty() {
            continue;
        }
        let _ = write!(out, "<h2>{title}</h2><ul>");
        for line in lines {
            let _ = write!(out, "<li>{}</li>", escape(&line));
        }
        out.push_str("</ul>");
    }
}

fn rounds(out: &mut String, report: &Report) {
    out.push_str("<h2>Faults</h2><div class=\"wide\"><table><tr><th>#</th><th>At</th><th>Fault</th><th>What shows it</th><th>Lasted</th><th>Serving again after</th><th>Converged after</th><th>Gap in the store, by region</th><th>Gap in the page, by home</th></tr>");
    for round in &report.rounds {
        row(out, round);
    }
    out.push_str("</table></div><p class=\"soft\">A gap is the longest time without a good answer, from the fault until everything served again, over all clients of a place. In brackets: calls without effect and calls of unknown outcome; pages that were not got.</p>");
}

fn row(out: &mut String, round: &Judged) {
    let window = &round.happened.window;
    let struck = &round.happened.struck;
    let join = |texts: Vec<String>| texts.join("<br>");
    let faults = struck
        .iter()
        .map(|struck| escape(&struck.fault.to_string()));
    let evidence = struck.iter().map(|struck| {
        let shown = struck.evidence.as_deref();
        shown.map_or("<span class=\"bad-text\">nothing</span>".into(), escape)
    });
    let mut evidence: Vec<String> = evidence.collect();
    if round.held_back > 0 {
        evidence.push(format!("{} writes held back", round.held_back));
    }
    evidence.extend(round.happened.error.as_deref().map(escape));
    let since = |from: u64, to: u64| ms(to.saturating_sub(from) / 1_000);
    let _ = write!(
        out,
        "<tr><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
        round.happened.number,
        since(0, window.begin),
        join(faults.collect()),
        join(evidence),
        since(window.begin, window.end),
        since(window.end, window.healed),
        round.converged_ms.map_or("never".into(), ms),
        costs(&round.store),
        costs(&round.page),
    );
}

fn costs(costs: &BTreeMap<String, Cost>) -> String {
    let lines = costs.iter().map(|(place, cost)| {
        let mut bad = Vec::new();
        if cost.failed > 0 {
            bad.push(format!("{} failed", cost.failed));
        }
        if cost.unknown > 0 {
            bad.push(format!("{} unknown", cost.unknown));
        }
        let bad = if bad.is_empty() {
            String::new()
        } else {
            format!(" <span class=\"soft\">({})</span>", bad.join(", "))
        };
        format!("{place} {}{bad}", ms(cost.gap_ms))
    });
    lines.collect::<Vec<_>>().join("<br>")
}

fn figures(out: &mut String, report: &Report) {
    let figures = &report.figures;
    let ending = &report.ending;
    let optional = |value: Option<u64>| value.map_or("never".to_owned(), ms);
    out.push_str("<h2>What was checked</h2><table>");
    for (name, value) in [
        (
            "Store calls: acknowledged, without effect, of unknown outcome",
            format!(
                "{}, {}, {}",
                figures.acknowledged, figures.failed, figures.unknown
            ),
        ),
        (
            "Counters, and increments acknowledged",
            format!("{}, {}", figures.counters, figures.increments),
        ),
        ("Registers", figures.registers.to_string()),
        (
            "Deletes that had to hold: every region had shown what was deleted",
            figures.deletes.to_string(),
        ),
        (
            "Changes seen in the regions' own Valkeys",
            figures.views.to_string(),
        ),
        (
            "Reads of what the same client had written",
            figures.own_reads.to_string(),
        ),
        (
            "In the end: all in step after, all digests equal after",
            format!(
                "{}, {}",
                optional(ending.in_step_ms),
                optional(ending.digests_equal_ms)
            ),
        ),
        ("Conflicts resolved", ending.conflicts.to_string()),
        (
            "Round trip between regions",
            format!("{} ms", report.asked.wan_ms),
        ),
    ] {
        let _ = write!(out, "<tr><th>{name}</th><td>{value}</td></tr>");
    }
    out.push_str("</table>");
}

/// Milliseconds in words.
fn ms(ms: u64) -> String {
    if ms < 1_000 {
        format!("{ms} ms")
    } else {
        format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
