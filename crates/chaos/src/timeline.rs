//! The picture of a run: time from left to right, a lane for each region, faults over what clients got.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::fault::Kind;
use crate::history::Micros;
use crate::report::{Pulse, Report};

const LEFT: u64 = 96;
const WIDTH: u64 = 1_100;
const LANE: u64 = 64;
/// Of a lane, what is for the bars.
const BARS: u64 = 46;

/// The picture as an SVG element.
#[must_use]
pub fn svg(report: &Report) -> String {
    let scale = Scale(report.length().max(1));
    let mut lanes: Vec<(String, Option<&Pulse>, Option<&str>)> =
        vec![("hub".to_owned(), None, Some("home"))];
    for (region, pulse) in &report.store {
        lanes.push((format!("store, {region}"), Some(pulse), Some(region)));
    }
    for (home, pulse) in &report.page {
        lanes.push((format!("page, {home}"), Some(pulse), None));
    }
    let height = u64::try_from(lanes.len()).unwrap_or_default() * LANE + 40;
    let mut out = format!(
        r#"<svg viewBox="0 0 {} {height}" role="img" aria-label="Timeline of the run" font-family="system-ui, sans-serif" font-size="12">"#,
        LEFT + WIDTH + 16
    );
    bands(&mut out, report, &scale, height - 32);
    for (at, (name, pulse, region)) in lanes.iter().enumerate() {
        let top = u64::try_from(at).unwrap_or_default() * LANE + 8;
        let base = top + 10 + BARS;
        let _ = write!(
            out,
            r#"<text x="{}" y="{}" text-anchor="end" class="name">{name}</text><line x1="{LEFT}" x2="{}" y1="{base}" y2="{base}" class="base"/>"#,
            LEFT - 8,
            base - 4,
            LEFT + WIDTH
        );
        if let Some(pulse) = pulse {
            bars(&mut out, pulse, most(report, name), &scale, base);
        }
        if let Some(region) = region {
            ribbons(&mut out, report, region, &scale, top);
        }
    }
    axis(&mut out, &scale, height);
    out.push_str("</svg>");
    out
}

/// Where a time is on the picture.
struct Scale(Micros);

impl Scale {
    fn x(&self, at: Micros) -> u64 {
        LEFT + at.min(self.0).saturating_mul(WIDTH) / self.0
    }
}

/// The highest bar of a lane's kind, so that lanes can be compared.
fn most(report: &Report, name: &str) -> u32 {
    let of = |pulses: &BTreeMap<String, Pulse>| {
        let beats = pulses.values().flat_map(|pulse| &pulse.ok);
        beats.max().copied().unwrap_or(1).max(1)
    };
    of(if name.starts_with("page") {
        &report.page
    } else {
        &report.store
    })
}

/// Each round's time, over all lanes: dark while it lasts, light until everything served again.
fn bands(out: &mut String, report: &Report, scale: &Scale, height: u64) {
    for round in &report.rounds {
        let window = &round.happened.window;
        for (from, to, class) in [
            (window.begin, window.end, "fault"),
            (window.end, window.healed, "mend"),
        ] {
            let (x, width) = (
                scale.x(from),
                scale.x(to).saturating_sub(scale.x(from)).max(1),
            );
            let _ = write!(
                out,
                r#"<rect x="{x}" y="4" width="{width}" height="{height}" class="{class}"/>"#
            );
        }
        let _ = write!(
            out,
            r#"<text x="{}" y="{}" class="tick">{}</text>"#,
            scale.x(window.begin),
            height + 2,
            round.happened.number
        );
    }
}

fn ribbons(out: &mut String, report: &Report, region: &str, scale: &Scale, top: u64) {
    for round in &report.rounds {
        let here = |struck: &&crate::round::Struck| struck.fault.region == region;
        for struck in round.happened.struck.iter().filter(here) {
            let (from, to) = (scale.x(struck.at), scale.x(round.happened.window.end));
            let _ = write!(
                out,
                r#"<rect x="{from}" y="{top}" width="{}" height="7" rx="2" class="{}"><title>{}: {}</title></rect>"#,
                to.saturating_sub(from).max(3),
                class(struck.fault.kind),
                round.happened.number,
                struck.fault
            );
        }
    }
}

fn class(kind: Kind) -> &'static str {
    if kind.direction().is_some() {
        "cut"
    } else if kind.is_pause() {
        "pause"
    } else {
        "kill"
    }
}

fn bars(out: &mut String, pulse: &Pulse, most: u32, scale: &Scale, base: u64) {
    let width = scale.x(1_000_000).saturating_sub(LEFT).max(2) - 1;
    for (second, ok) in pulse.ok.iter().enumerate() {
        bar(out, second, *ok, most, scale, base, width, "ok");
    }
    for (second, bad) in pulse.bad.iter().enumerate() {
        bar(out, second, *bad, most, scale, base, width, "bad");
    }
}

#[allow(clippy::too_many_arguments)] // one rectangle
fn bar(
    out: &mut String,
    second: usize,
    count: u32,
    most: u32,
    scale: &Scale,
    base: u64,
    width: u64,
    class: &str,
) {
    if count == 0 {
        return;
    }
    let x = scale.x(u64::try_from(second).unwrap_or_default() * 1_000_000);
    let height = (u64::from(count) * BARS / u64::from(most)).clamp(2, BARS);
    let _ = write!(
        out,
        r#"<rect x="{x}" y="{}" width="{width}" height="{height}" class="{class}"/>"#,
        base - height
    );
}

fn axis(out: &mut String, scale: &Scale, height: u64) {
    let seconds = scale.0 / 1_000_000;
    let step = [5, 10, 15, 30, 60, 120, 300, 600]
        .into_iter()
        .find(|step| seconds / step <= 16)
        .unwrap_or(1_800);
    for at in (0..=seconds).step_by(usize::try_from(step).unwrap_or(60)) {
        let _ = write!(
            out,
            r#"<text x="{}" y="{}" text-anchor="middle" class="tick">{at} s</text>"#,
            scale.x(at * 1_000_000),
            height - 6
        );
    }
}
