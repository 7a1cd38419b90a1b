//! The JSON below `/api/`. Its shape is documented in the component's README and only grows.

use std::time::Duration;

use serde::Serialize;

use crate::geo;
use crate::map;
use crate::replication::{Conflict, Member, Mode, Stamp, State, Status};
use crate::tally::ranked;
use crate::user_agent::{Browser, Os};
use crate::view::View;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    serving: ServingRegion<'a>,
    you: You,
    visits: u64,
    at_least: bool,
    unreadable: u64,
    regions: Vec<RegionVisits<'a>>,
    operating_systems: Vec<OsVisits>,
    browsers: Vec<BrowserVisits>,
    took_us: u64,
}

#[derive(Serialize)]
struct ServingRegion<'a> {
    region: &'a str,
    name: &'a str,
    city: Option<&'a str>,
    instance: &'a str,
    platform: &'a str,
}

#[derive(Serialize)]
struct You {
    browser: &'static str,
    os: &'static str,
}

#[derive(Serialize)]
struct RegionVisits<'a> {
    region: &'a str,
    city: Option<&'a str>,
    visits: u64,
    location: Option<Location>,
    dot: Option<Dot>,
}

#[derive(Serialize)]
struct Location {
    latitude: f64,
    longitude: f64,
}

#[derive(Serialize)]
struct Dot {
    x: f64,
    y: f64,
    r: f64,
    label: Option<Label>,
}

#[derive(Serialize)]
struct Label {
    x: f64,
    y: f64,
    anchor: &'static str,
}

#[derive(Serialize)]
struct OsVisits {
    os: &'static str,
    name: &'static str,
    visits: u64,
}

#[derive(Serialize)]
struct BrowserVisits {
    browser: &'static str,
    name: &'static str,
    visits: u64,
}

#[derive(Serialize)]
struct Plain {
    version: u32,
    mode: &'static str,
}

#[derive(Serialize)]
struct Replicated<'a> {
    version: u32,
    mode: &'static str,
    region: &'a str,
    group: &'a str,
    phase: &'a str,
    regions: Vec<RegionSync<'a>>,
    sent_bytes: Option<u64>,
    quarantined: Option<&'a [String]>,
    conflicts: Conflicts<'a>,
}

#[derive(Serialize)]
struct RegionSync<'a> {
    region: &'a str,
    answering: bool,
    state: State,
    behind_operations: Option<u64>,
    behind_seconds: Option<f64>,
    silent_seconds: Option<f64>,
    digest_equal: Option<bool>,
    received_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Conflicts<'a> {
    resolved: Option<u64>,
    last: Vec<ResolvedConflict<'a>>,
}

#[derive(Serialize)]
struct ResolvedConflict<'a> {
    key: &'a str,
    winner: WrittenAt<'a>,
    loser: WrittenAt<'a>,
    resolved_at_ms: Option<u64>,
}

#[derive(Serialize)]
struct WrittenAt<'a> {
    region: &'a str,
    /// In hexadecimal, as elsewhere: as a number it would not survive JavaScript.
    incarnation: String,
    wall_ms: u64,
    counter: u64,
}

#[derive(Serialize)]
struct Failed {
    error: FailedBecause,
}

#[derive(Serialize)]
struct FailedBecause {
    code: &'static str,
    message: &'static str,
}

/// The data of the page.
pub fn regions(view: &View) -> Vec<u8> {
    let serving = &view.serving;
    let markers = map::markers(&view.tally, &serving.region);
    let regions = ranked(&view.tally.regions)
        .into_iter()
        .map(|(region, count)| {
            let place = geo::locate(region);
            let known_city = place.map(|place| place.city);
            RegionVisits {
                region: region.as_str(),
                city: if *region == serving.region {
                    serving.city.as_deref().or(known_city)
                } else {
                    known_city
                },
                visits: count.visits,
                location: place.map(|place| Location {
                    latitude: place.latitude,
                    longitude: place.longitude,
                }),
                dot: markers
                    .iter()
                    .find(|marker| marker.region == *region)
                    .map(|marker| Dot {
                        x: marker.x,
                        y: marker.y,
                        r: marker.r,
                        label: marker.label.map(|label| Label {
                            x: label.x,
                            y: label.y,
                            anchor: label.anchor,
                        }),
                    }),
            }
        })
        .collect();
    encode(&Document {
        version: 1,
        serving: ServingRegion {
            region: serving.region.as_str(),
            name: &serving.name,
            city: serving.city.as_deref(),
            instance: &serving.instance,
            platform: &serving.platform,
        },
        you: You {
            browser: view.visitor.browser.slug(),
            os: view.visitor.os.slug(),
        },
        visits: view.tally.total.visits,
        at_least: view.tally.at_least(),
        unreadable: view.tally.unreadable,
        regions,
        operating_systems: ranked(&view.tally.systems)
            .into_iter()
            .map(|(os, count): (&Os, _)| OsVisits {
                os: os.slug(),
                name: os.label(),
                visits: count.visits,
            })
            .collect(),
        browsers: ranked(&view.tally.browsers)
            .into_iter()
            .map(|(browser, count): (&Browser, _)| BrowserVisits {
                browser: browser.slug(),
                name: browser.label(),
                visits: count.visits,
            })
            .collect(),
        took_us: u64::try_from(view.timing.total.as_micros()).unwrap_or(u64::MAX),
    })
}

/// How the store's copies in all regions are doing.
pub fn replication(mode: &Mode) -> Vec<u8> {
    match mode {
        Mode::Plain => encode(&Plain {
            version: 1,
            mode: "plain",
        }),
        Mode::Replicated(status) => encode(&replicated(status)),
    }
}

fn replicated(status: &Status) -> Replicated<'_> {
    Replicated {
        version: 1,
        mode: "replicated",
        region: status.region.as_str(),
        group: &status.group,
        phase: &status.phase,
        regions: status.members().map(region_sync).collect(),
        sent_bytes: status.sent_bytes,
        quarantined: status.ahead.as_deref(),
        conflicts: Conflicts {
            resolved: status.conflict_count,
            last: status.conflicts.iter().rev().map(resolved).collect(),
        },
    }
}

fn region_sync(member: Member<'_>) -> RegionSync<'_> {
    RegionSync {
        region: member.region.as_str(),
        answering: member.answering,
        state: member.state,
        behind_operations: member.behind_operations,
        behind_seconds: member.behind_ms.map(seconds),
        silent_seconds: member.silent_ms.map(seconds),
        digest_equal: member.digest_equal,
        received_bytes: member.received_bytes,
    }
}

fn resolved(conflict: &Conflict) -> ResolvedConflict<'_> {
    ResolvedConflict {
        key: &conflict.key,
        winner: written_at(&conflict.winner),
        loser: written_at(&conflict.loser),
        resolved_at_ms: conflict.at_ms,
    }
}

fn written_at(stamp: &Stamp) -> WrittenAt<'_> {
    WrittenAt {
        region: stamp.author.region.as_str(),
        incarnation: format!("{:x}", stamp.author.incarnation),
        wall_ms: stamp.at.wall_ms,
        counter: stamp.at.counter,
    }
}

fn seconds(milliseconds: u64) -> f64 {
    Duration::from_millis(milliseconds).as_secs_f64()
}

/// Why there is no data.
pub fn failed(code: &'static str, message: &'static str) -> Vec<u8> {
    encode(&Failed {
        error: FailedBecause { code, message },
    })
}

fn encode(document: &impl Serialize) -> Vec<u8> {
    // Strings, integers and options always encode, and a float that is not finite becomes null.
    serde_json::to_vec(document).unwrap_or_default()
}
