//! The JSON of `/api/regions`. Its shape is documented in the component's README and only grows.

use serde::Serialize;

use crate::geo;
use crate::map;
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
