//! The world map: land as a grid of dots, and a dot per region over it.
//!
//! The projection is the plainest one: a column is 2.5 degrees of longitude, a row 2.3 degrees
//! of latitude, the left edge is 170° west (so that Siberia stays in one piece) and the upper
//! one 84° north. The page's script moves dots to the places computed here and knows no geography.

use crate::geo::{self, Place};
use crate::html::{Grouped, Html};
use crate::region::RegionCode;
use crate::tally::{ranked, Tally};

/// Land (`#`) and water (`.`), a line per row, made for this page. Open it: it looks like a map.
const LAND: &str = include_str!("../assets/land.txt");

const WIDTH: f64 = 144.0;
const HEIGHT: f64 = 61.0;
const WEST: f64 = -170.0;
const NORTH: f64 = 84.0;
const DEGREES_PER_COLUMN: f64 = 2.5;
const DEGREES_PER_ROW: f64 = 2.3;

/// Height of a label's letters and the width of one, in columns.
const LABEL_HEIGHT: f64 = 2.8;
const LETTER_WIDTH: f64 = 1.75;

/// A region's dot, in the units of the map.
#[derive(Debug, Clone, PartialEq)]
pub struct Marker {
    pub region: RegionCode,
    pub city: &'static str,
    pub visits: u64,
    pub x: f64,
    pub y: f64,
    pub r: f64,
    /// Where the region's code stands; `None` where there is no room for it.
    pub label: Option<Label>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Label {
    pub x: f64,
    pub y: f64,
    /// A value of SVG's `text-anchor`.
    pub anchor: &'static str,
}

/// The dots of all regions whose place is known, in drawing order: the serving region is last
/// and so on top, small dots lie over large ones.
pub fn markers(tally: &Tally, serving: &RegionCode) -> Vec<Marker> {
    let most = tally.regions.values().map(|count| count.visits).max();
    let mut markers: Vec<_> = ranked(&tally.regions)
        .into_iter()
        .filter_map(|(region, count)| {
            let place = geo::locate(region)?;
            let (x, y) = project(place);
            Some(Marker {
                region: region.clone(),
                city: place.city,
                visits: count.visits,
                x,
                y,
                r: radius(count.visits, most.unwrap_or(0)),
                label: None,
            })
        })
        .collect();
    markers.sort_by_key(|marker| marker.region == *serving);
    place_labels(&mut markers);
    markers
}

/// Regions that have no place on the map, busiest first.
pub fn elsewhere(tally: &Tally) -> Vec<&RegionCode> {
    ranked(&tally.regions)
        .into_iter()
        .map(|(region, _)| region)
        .filter(|region| geo::locate(region).is_none())
        .collect()
}

fn project(place: Place) -> (f64, f64) {
    let x = (place.longitude - WEST).rem_euclid(360.0) / DEGREES_PER_COLUMN;
    let y = (NORTH - place.latitude) / DEGREES_PER_ROW;
    (round(x), round(y))
}

/// The area of a dot grows with its region's share of the busiest region's visits; a region
/// without visits still has a dot.
#[allow(clippy::cast_precision_loss)] // A radius needs four digits, not sixteen.
fn radius(visits: u64, most: u64) -> f64 {
    let share = visits as f64 / most.max(1) as f64;
    round(0.9 + 1.5 * share.sqrt())
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// A rectangle: left, top, right, bottom.
#[derive(Clone, Copy)]
struct Area(f64, f64, f64, f64);

impl Area {
    fn overlaps(self, other: Self) -> bool {
        self.0 < other.2 && other.0 < self.2 && self.1 < other.3 && other.1 < self.3
    }

    fn on_the_map(self) -> bool {
        self.0 >= 0.0 && self.1 >= 0.0 && self.2 <= WIDTH && self.3 <= HEIGHT
    }
}

/// Gives labels to the dots from the top one down, each at the first side where it covers
/// neither a dot nor another label.
fn place_labels(markers: &mut [Marker]) {
    let mut taken: Vec<Area> = markers
        .iter()
        .map(|dot| Area(dot.x - dot.r, dot.y - dot.r, dot.x + dot.r, dot.y + dot.r))
        .collect();
    let top_first = (0..markers.len())
        .rev()
        .take(1)
        .chain(0..markers.len().saturating_sub(1));
    for index in top_first {
        let Some(marker) = markers.get_mut(index) else {
            continue;
        };
        let letters = u32::try_from(marker.region.as_str().len()).unwrap_or(u32::MAX);
        let width = LETTER_WIDTH * f64::from(letters);
        let (x, y, gap) = (marker.x, marker.y, marker.r + 0.5);
        let middle = y + LABEL_HEIGHT * 0.34;
        let sides = [
            (x + gap, middle, "start", x + gap),
            (x - gap, middle, "end", x - gap - width),
            (x, y - gap, "middle", x - width / 2.0),
            (x, y + gap + LABEL_HEIGHT * 0.7, "middle", x - width / 2.0),
        ];
        for (x, baseline, anchor, left) in sides {
            let area = Area(
                left,
                baseline - LABEL_HEIGHT * 0.75,
                left + width,
                baseline + LABEL_HEIGHT * 0.1,
            );
            if area.on_the_map() && !taken.iter().any(|other| other.overlaps(area)) {
                taken.push(area);
                marker.label = Some(Label {
                    x: round(x),
                    y: round(baseline),
                    anchor,
                });
                break;
            }
        }
    }
}

/// Draws the map.
pub fn draw(markers: &[Marker], serving: &RegionCode) -> Html {
    let mut html = Html::new();
    html.raw("<svg id=\"map\" class=\"map\" viewBox=\"0 0 144 61\" role=\"img\" aria-labelledby=\"map-title map-about\">\n")
        .raw("<title id=\"map-title\">World map of the regions</title>\n")
        .raw("<desc id=\"map-about\">A dot per region, larger the more visits it has; the serving region is highlighted. The table of regions has the same numbers.</desc>\n")
        .raw("<path class=\"land\" fill=\"none\" stroke-linecap=\"round\" stroke-dasharray=\"0 1\" d=\"");
    for (row, line) in LAND.lines().enumerate() {
        draw_row(&mut html, row, line);
    }
    html.raw("\"/>\n<g id=\"map-dots\">\n");
    for marker in markers {
        draw_marker(&mut html, marker, marker.region == *serving);
    }
    html.raw("</g>\n</svg>\n");
    html
}

/// One line per run of land: its dash pattern makes it a row of dots.
fn draw_row(html: &mut Html, row: usize, line: &str) {
    let mut column = 0;
    for run in line.split_inclusive('.') {
        let land = run.bytes().filter(|cell| *cell == b'#').count();
        if land > 0 {
            html.raw("M").text(column).raw(".5 ").text(row).raw(".5h");
            // A little more than to the last dot, so that rounding cannot lose it.
            html.text(land - 1).raw(".1");
        }
        column += run.len();
    }
}

fn draw_marker(html: &mut Html, marker: &Marker, serving: bool) {
    html.raw("<g class=\"dot\" data-region=\"")
        .text(&marker.region)
        .raw(if serving {
            "\" data-serving=\"true\"><title>"
        } else {
            "\" data-serving=\"false\"><title>"
        })
        .text(marker.city)
        .raw(" (")
        .text(&marker.region)
        .raw("): ")
        .text(Grouped(marker.visits))
        .raw(" visits</title><circle class=\"halo\" cx=\"")
        .text(marker.x)
        .raw("\" cy=\"")
        .text(marker.y)
        .raw("\" r=\"")
        .text(marker.r)
        .raw("\"/><circle class=\"core\" cx=\"")
        .text(marker.x)
        .raw("\" cy=\"")
        .text(marker.y)
        .raw("\" r=\"")
        .text(marker.r)
        .raw("\"/>");
    if let Some(label) = marker.label {
        html.raw("<text x=\"")
            .text(label.x)
            .raw("\" y=\"")
            .text(label.y)
            .raw("\" text-anchor=\"")
            .text(label.anchor)
            .raw("\">")
            .text(&marker.region)
            .raw("</text>");
    }
    html.raw("</g>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::CounterKey;
    use crate::user_agent::{Browser, Os};

    fn tally(visits: &[(&str, u64)]) -> Tally {
        let mut tally = Tally::default();
        for (region, number) in visits {
            let key = CounterKey {
                region: RegionCode::normalise(region),
                browser: Browser::Other,
                os: Os::Other,
            };
            tally.add(&key, *number);
        }
        tally
    }

    #[test]
    fn the_land_fits_the_view_box() {
        assert_eq!(LAND.lines().count(), 61);
        for line in LAND.lines() {
            assert_eq!(line.len(), 144);
            assert!(line.bytes().all(|cell| matches!(cell, b'#' | b'.')));
        }
    }

    #[test]
    fn regions_stand_on_land_or_next_to_it() {
        let rows: Vec<&[u8]> = LAND.lines().map(str::as_bytes).collect();
        for code in [
            "iad", "fra", "sin", "syd", "gru", "nrt", "jnb", "lax", "bom", "arn",
        ] {
            let place = geo::locate(&RegionCode::normalise(code)).unwrap();
            let (x, y) = project(place);
            let near = (-1_i32..=1).flat_map(|dx| (-1_i32..=1).map(move |dy| (dx, dy)));
            let land = near.into_iter().any(|(dx, dy)| {
                let column = (x.floor() as i32 + dx) as usize;
                let row = (y.floor() as i32 + dy) as usize;
                rows[row][column] == b'#'
            });
            assert!(land, "{code}");
        }
    }

    #[test]
    fn the_serving_region_is_drawn_last_and_always_labelled() {
        let tally = tally(&[("fra", 9), ("ams", 50), ("lhr", 7), ("cdg", 1), ("kind", 3)]);
        let serving = RegionCode::normalise("fra");
        let markers = markers(&tally, &serving);
        assert_eq!(markers.len(), 4);
        assert_eq!(markers.last().unwrap().region, serving);
        assert!(markers.last().unwrap().label.is_some());
        assert_eq!(elsewhere(&tally), [&RegionCode::normalise("kind")]);
    }

    #[test]
    fn labels_cover_neither_dots_nor_each_other() {
        let all = [
            "ams", "arn", "cdg", "fra", "lhr", "mad", "waw", "otp", "ewr", "iad", "bos", "yyz",
            "yul", "ord",
        ];
        let visits: Vec<_> = all.iter().zip(1..).map(|(code, n)| (*code, n)).collect();
        let markers = markers(&tally(&visits), &RegionCode::normalise("cdg"));
        let labels: Vec<_> = markers
            .iter()
            .filter_map(|marker| {
                let label = marker.label?;
                let width = 3.0 * LETTER_WIDTH;
                let left = match label.anchor {
                    "start" => label.x,
                    "end" => label.x - width,
                    _ => label.x - width / 2.0,
                };
                Some(Area(
                    left,
                    label.y - LABEL_HEIGHT * 0.7,
                    left + width,
                    label.y,
                ))
            })
            .collect();
        assert!(labels.len() > 5);
        for (index, label) in labels.iter().enumerate() {
            assert!(!labels[index + 1..]
                .iter()
                .any(|other| other.overlaps(*label)));
        }
    }

    #[test]
    fn busier_regions_have_larger_dots_and_the_largest_numbers_do_no_harm() {
        assert!(radius(0, 0) > 0.0);
        assert!(radius(1, 100) < radius(50, 100));
        assert_eq!(radius(u64::MAX, u64::MAX), radius(1, 1));
    }
}
