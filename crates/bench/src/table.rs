//! The report for people.

use std::fmt::Write as _;

use crate::local::{Local, PROMISED as LOCAL};
use crate::process::{Machine, RegionMemory};
use crate::report::{Design, Over, Page, Report, Section, PROMISED};
use crate::sample::Summary;

/// The machine, above all tables.
pub fn machine(machine: &Machine) -> String {
    format!(
        "\n{} × {}, load before {}\n",
        machine.cores, machine.processor, machine.load_before
    )
}

/// The pages' part of a report as tables.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "closed loop, {} s per point, load generator, edge and WAN on the same machine; {} keys",
        report.seconds, report.keys
    );
    for section in &report.sections {
        let _ = writeln!(text, "\n== {} ms between regions", section.wan_ms);
        text.push_str(&calls(section));
        text.push_str(&pages(section));
        text.push_str(&verdicts(section));
        text.push_str(&where_it_goes(section));
    }
    let _ = writeln!(
        text,
        "\n== memory per region, MiB ({} also carries naive-hello)",
        report.region
    );
    text.push_str(&memory("at rest", &report.memory_at_rest));
    text.push_str(&memory("after all this", &report.memory_after));
    text
}

/// The page with a store in every region, as tables.
pub fn local(local: &Local) -> String {
    let mut text = format!(
        "\n== a store in every region, one connection, {} keys\n",
        local.keys
    );
    let mut rows = vec![row(["answered by", "between regions", "p50", "of rounds"])];
    for page in &local.pages {
        let rounds: Vec<String> = page
            .rounds
            .iter()
            .map(|round| milliseconds(round.p50_us))
            .collect();
        rows.push(vec![
            design(page.design).to_owned(),
            format!("{} ms", page.wan_ms),
            milliseconds(page.p50_us),
            rounds.join(" "),
        ]);
    }
    text.push_str(&align(&rows));
    for verdict in &local.verdicts {
        let kept = if verdict.kept { "HELD" } else { "MISS" };
        let _ = writeln!(
            text,
            "{}: at {} ms {:.2} times as long as at {} ms, promised at most {LOCAL}: {kept}",
            design(verdict.design),
            verdict.far_ms,
            verdict.ratio,
            verdict.near_ms,
        );
    }
    text
}

fn calls(section: &Section) -> String {
    let mut rows = vec![row([
        "bare call",
        "over",
        "per s",
        "p50",
        "p90",
        "p99",
        "max",
        "lost",
    ])];
    for call in &section.calls {
        let mut cells = vec![call.name.to_owned(), over(call.over).to_owned()];
        cells.extend(figures(&call.summary));
        cells.push(call.summary.failed.to_string());
        rows.push(cells);
    }
    align(&rows)
}

fn pages(section: &Section) -> String {
    let head = [
        "answered by",
        "path",
        "conn",
        "per s",
        "p50",
        "p90",
        "p99",
        "max",
        "failed",
        "",
    ];
    let mut rows = vec![row(head)];
    for page in &section.pages {
        let mut cells = vec![
            design(page.design).to_owned(),
            page.path.to_owned(),
            page.connections.to_string(),
        ];
        cells.extend(figures(&page.summary));
        cells.push(page.summary.failed.to_string());
        cells.push(
            page.attempts
                .map(|attempts| format!("{attempts:.2} attempts"))
                .unwrap_or_default(),
        );
        rows.push(cells);
    }
    align(&rows)
}

fn verdicts(section: &Section) -> String {
    let promise = format!("within {PROMISED}×");
    let mut rows = vec![row([
        "page at one connection",
        "calls",
        "p50",
        "bare calls",
        "ratio",
        &promise,
    ])];
    for verdict in &section.verdicts {
        rows.push(vec![
            design(verdict.design).to_owned(),
            verdict.calls.to_string(),
            milliseconds(verdict.p50_us),
            milliseconds(verdict.bare_us),
            format!("{:.2}×", verdict.ratio),
            match verdict.kept {
                Some(true) => "PASS".into(),
                Some(false) => "MISS".into(),
                None => "-".to_owned(),
            },
        ]);
    }
    align(&rows)
}

/// The median page at one connection, taken apart.
fn where_it_goes(section: &Section) -> String {
    let page = section.p50(Design::CloudHello, "/");
    let inside = section.steps.get("total").copied().unwrap_or(f64::NAN);
    let called: f64 = ["metadata", "list", "read", "count"]
        .iter()
        .filter_map(|step| section.steps.get(*step))
        .sum();
    let mut rows = vec![row(["where a page's time goes (medians)", "ms"])];
    let parts = [
        ("the page, as a visitor sees it", page),
        ("  its four calls, as the component sees them", called),
        (
            "    made here, with a client per call as the host does",
            section.bare_us(Over::WrpcPerCall),
        ),
        (
            "    made here, with a kept client",
            section.bare_us(Over::Wrpc),
        ),
        (
            "  choosing and adding up, between the calls",
            inside - called,
        ),
        ("  the rest: drawing, HTTP, instance", page - inside),
        (
            "    of it HTTP and instance (/health)",
            section.p50(Design::CloudHello, "/health"),
        ),
        (
            "the edge in front adds",
            section.p50(Design::Edge, "/") - page,
        ),
    ];
    rows.extend(parts.map(|(part, us)| vec![part.to_owned(), milliseconds(us)]));
    let mut text = align(&rows);
    let busiest = section
        .pages
        .iter()
        .filter(|page| page.design == Design::CloudHello && page.path == "/");
    if let Some(page) = busiest.max_by_key(|page| page.connections) {
        text.push_str(&processors(page));
    }
    text
}

fn processors(page: &Page) -> String {
    let mut used: Vec<_> = page.processor_us.iter().collect();
    used.sort_by(|(_, left), (_, right)| right.total_cmp(left));
    let total: f64 = used.iter().map(|(_, us)| *us).sum();
    let mut text = format!(
        "\nprocessor time per page at {} connections, {total:.0} µs:",
        page.connections
    );
    for (name, us) in used.iter().take(6) {
        let _ = write!(text, "  {name} {us:.0}");
    }
    text.push('\n');
    text
}

fn memory(when: &str, regions: &[RegionMemory]) -> String {
    let mut rows = vec![row([when, "RSS", "PSS", "processes (RSS)"])];
    for region in regions {
        let processes: Vec<String> = region
            .processes
            .iter()
            .map(|(name, rss, _)| format!("{name} {rss:.0}"))
            .collect();
        rows.push(vec![
            region.region.clone(),
            format!("{:.0}", region.rss_mib),
            format!("{:.0}", region.pss_mib),
            processes.join(", "),
        ]);
    }
    align(&rows)
}

fn over(over: Over) -> &'static str {
    match over {
        Over::Valkey => "Valkey",
        Over::Nats => "NATS",
        Over::Wrpc => "wRPC",
        Over::WrpcPerCall => "wRPC, client per call",
    }
}

fn design(design: Design) -> &'static str {
    match design {
        Design::CloudHello => "cloud-hello",
        Design::Edge => "cloud-hello, edge",
        Design::Naive => "naive-hello",
        Design::Native => "native",
    }
}

pub fn figures(summary: &Summary) -> [String; 5] {
    [
        format!("{:.0}", summary.per_second),
        milliseconds(summary.p50_us),
        milliseconds(summary.p90_us),
        milliseconds(summary.p99_us),
        milliseconds(summary.max_us),
    ]
}

/// Three digits that matter.
fn milliseconds(us: f64) -> String {
    let ms = us / 1e3;
    match ms.abs() {
        ms_abs if ms_abs < 10.0 => format!("{ms:.3}"),
        ms_abs if ms_abs < 1000.0 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

pub fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

/// Columns side by side: words to the left, numbers to the right.
pub fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or_default())
        .collect();
    let mut text = String::from("\n");
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let number = cell.starts_with(|c: char| c.is_ascii_digit() || c == '-')
                && cell.split(' ').count() <= 2;
            let _ = if number {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:<width$}  ")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            row(["name", "ms"]),
            row(["a", "1.000"]),
            row(["longer", "10.0"]),
        ];
        assert_eq!(align(&rows), "\nname    ms\na       1.000\nlonger   10.0\n");
    }

    #[test]
    fn times_keep_the_digits_that_matter() {
        assert_eq!(
            [71.4, 12_345.6, 8_240_000.0].map(milliseconds),
            ["0.071", "12.3", "8240"]
        );
    }
}
