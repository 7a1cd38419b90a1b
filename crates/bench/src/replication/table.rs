//! The report of replication for people.

use std::fmt::Write as _;

use super::cost::Spent;
use super::memory::Kind;
use super::operation::{Operation, Way, KEYS};
use super::report::{ratio, Report};
use crate::table::{align, figures, row};

/// The whole report as tables.
pub fn render(report: &Report) -> String {
    let mut text = format!("\n== replication: calls, {KEYS} keys in the bucket\n");
    // Writing to a String cannot fail.
    text.push_str(&points(report));
    text.push_str("\n== replication: from the acknowledgement until another region shows it\n");
    text.push_str(&lags(report));
    text.push_str("\n== replication: keys changed in a region that was cut off, after the heal\n");
    text.push_str(&heals(report));
    text.push_str("\n== replication: bytes per key in a region's Valkey\n");
    text.push_str(&weights(report));
    text.push_str("\n== replication: what a write costs, in groups of regions\n");
    text.push_str(&costs(report));
    text.push_str(&processors(report));
    text.push_str("\n== replication: promises\n");
    text.push_str(&verdicts(report));
    text
}

fn points(report: &Report) -> String {
    let mut rows = vec![row([
        "operation",
        "by",
        "callers",
        "per s",
        "p50",
        "p90",
        "p99",
        "max",
        "failed",
        "/ plain",
    ])];
    for point in &report.points {
        let mut cells = vec![
            operation(point.operation).to_owned(),
            way(point.way).to_owned(),
            point.callers.to_string(),
        ];
        cells.extend(figures(&point.summary));
        cells.push(point.summary.failed.to_string());
        if matches!(point.way, Way::Replicated | Way::Alone) {
            let ratio = ratio(&report.points, point.operation, point.way, point.callers);
            cells.push(format!("{ratio:.2}×"));
        }
        rows.push(cells);
    }
    align(&rows)
}

fn lags(report: &Report) -> String {
    let mut rows = vec![row([
        "round trip",
        "beside it",
        "writes",
        "p50",
        "p90",
        "p99",
        "max",
    ])];
    for lag in &report.lags {
        let beside = if lag.busy {
            "one caller writes on"
        } else {
            "nothing"
        };
        let mut cells = vec![
            format!("{} ms", lag.wan_ms),
            beside.to_owned(),
            lag.summary.count.to_string(),
        ];
        cells.extend(figures(&lag.summary).into_iter().skip(1));
        rows.push(cells);
    }
    align(&rows)
}

fn heals(report: &Report) -> String {
    let mut rows = vec![row([
        "keys",
        "round trip",
        "first, s",
        "all, s",
        "keys per s",
        "reads meanwhile, p50",
        "p99",
        "max",
    ])];
    for heal in &report.heals {
        let [_, p50, _, p99, max] = figures(&heal.reads);
        // At most millions.
        #[allow(clippy::cast_precision_loss)]
        let rate = heal.keys as f64 / (heal.all_s - heal.first_s).max(1e-3);
        rows.push(vec![
            heal.keys.to_string(),
            format!("{} ms", heal.wan_ms),
            format!("{:.2}", heal.first_s),
            format!("{:.2}", heal.all_s),
            format!("{rate:.0}"),
            p50,
            p99,
            max,
        ]);
    }
    align(&rows)
}

fn weights(report: &Report) -> String {
    let mut rows = vec![row([
        "key",
        "name",
        "plain",
        "replicated",
        "metadata",
        "of it the entry's text",
        "change log, until read by all",
    ])];
    for weight in &report.weights {
        let what = match weight.kind {
            Kind::Text => "a text of 64 bytes, set in one region".to_owned(),
            Kind::Counter => format!("a counter, counted in {} regions", weight.regions),
            Kind::LongCounter => "the same, under cloud-hello's longest name".to_owned(),
        };
        let bytes = [
            weight.name_bytes,
            weight.plain_bytes,
            weight.replicated_bytes,
            weight.metadata_bytes(),
            weight.entry_bytes,
            weight.log_bytes,
        ];
        let mut cells = vec![what];
        cells.extend(bytes.map(|bytes| format!("{bytes:.0}")));
        rows.push(cells);
    }
    align(&rows)
}

fn costs(report: &Report) -> String {
    let mut rows = vec![row([
        "regions",
        "hub messages",
        "WAN bytes",
        "µs: writer",
        "µs: each other",
        "µs: hub",
        "lag p50",
        "p99",
        "at rest, KiB/s",
    ])];
    let whole = |figure: f64| format!("{figure:.0}");
    let kibibytes = |bytes: f64| format!("{:.1}", bytes / 1024.0);
    for cost in &report.costs {
        let [_, p50, _, p99, _] = figures(&cost.lag);
        let each = &cost.per_write;
        rows.push(vec![
            cost.regions.to_string(),
            format!("{:.1}", each.hub_messages),
            whole(each.wan_bytes),
            whole(each.writer.total_us()),
            whole(each.reader.total_us()),
            whole(each.hub_us),
            p50,
            p99,
            kibibytes(cost.at_rest.wan_bytes),
        ]);
    }
    if let Some(paper) = &report.on_paper {
        rows.push(vec![
            format!("{} on paper", paper.regions),
            format!("{:.1}", paper.hub_messages),
            whole(paper.wan_bytes),
            "-".into(),
            "-".into(),
            whole(paper.hub_us),
            "-".into(),
            "-".into(),
            kibibytes(paper.at_rest_bytes),
        ]);
    }
    align(&rows)
}

/// Where the processor's time goes.
fn processors(report: &Report) -> String {
    let mut rows = vec![row([
        "processor time per write, µs",
        "provider",
        "Valkey",
        "of it scripts",
        "NATS leaf",
        "scripts run",
    ])];
    let mut add = |what: String, spent: &Spent| {
        let times = [
            spent.provider_us,
            spent.valkey_us,
            spent.scripts_us,
            spent.leaf_us,
        ];
        let mut cells = vec![what];
        cells.extend(times.map(|time| format!("{time:.0}")));
        cells.push(format!("{:.1}", spent.scripts));
        rows.push(cells);
    };
    add("plain mode".to_owned(), &report.plain);
    for cost in &report.costs {
        let regions = cost.regions;
        let each = &cost.per_write;
        add(
            format!("{regions} regions: where it is written"),
            &each.writer,
        );
        add(format!("{regions} regions: where it arrives"), &each.reader);
    }
    align(&rows)
}

fn verdicts(report: &Report) -> String {
    let mut rows = vec![row(["promise", "at most", "measured", ""])];
    for verdict in &report.verdicts {
        let figure = |figure: f64| format!("{figure:.2} {}", verdict.unit);
        rows.push(vec![
            verdict.promise.clone(),
            figure(verdict.promised),
            figure(verdict.measured),
            if verdict.held { "HELD" } else { "MISS" }.to_owned(),
        ]);
    }
    let mut text = align(&rows);
    let missed = report.verdicts.iter().filter(|verdict| !verdict.held);
    let _ = writeln!(
        text,
        "\n{} of {} missed",
        missed.count(),
        report.verdicts.len()
    );
    text
}

/// An operation as people call it.
pub fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Get => "get",
        Operation::GetMany => "get-many(100)",
        Operation::ListKeys => "list-keys(10,000)",
        Operation::Set => "set",
        Operation::Increment => "increment",
    }
}

fn way(way: Way) -> &'static str {
    match way {
        Way::Raw => "Valkey",
        Way::Plain => "plain",
        Way::Replicated => "replicated",
        Way::Alone => "replicated, alone",
    }
}
