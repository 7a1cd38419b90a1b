//! The front page.
//!
//! Ids and `data-` attributes are an interface: browser tests and `assets/app.js` rely on them,
//! and the component's README lists them.

use std::time::Duration;

use crate::asset;
use crate::geo;
use crate::html::{Grouped, Html};
use crate::map;
use crate::notice;
use crate::table::{self, Row, Subject};
use crate::tally::ranked;
use crate::view::{Counted, View};

/// How much of a name from outside is shown, in characters.
const LONGEST_NAME: usize = 80;

/// Draws the page.
pub fn draw(view: &View) -> String {
    let mut html = notice::head(&format!("wasmCloud-{}", view.serving.region));
    html.raw("<meta name=\"description\" content=\"Which region answered, and how many visits every region has had.\">\n")
        .raw("<script src=\"")
        .text(asset::SCRIPT.path)
        .raw("?v=")
        .text(asset::SCRIPT.version())
        .raw("\" defer></script>\n</head>\n<body data-region=\"")
        .text(&view.serving.region)
        .raw("\">\n<a class=\"skip\" href=\"#numbers\">Skip to the numbers</a>\n")
        .raw("<header class=\"top\"><p class=\"brand\"><span class=\"mark\" aria-hidden=\"true\"></span>cloud-hello</p>")
        .raw("<p id=\"live\" class=\"live\" role=\"status\" data-state=\"off\" hidden></p></header>\n<main id=\"main\">\n");
    draw_hero(&mut html, view);
    draw_notices(&mut html, view);
    draw_totals(&mut html, view);
    draw_map(&mut html, view);
    draw_tables(&mut html, view);
    html.raw("</main>\n<footer>\n<p>One counter per region, browser and system. No cookies, no addresses, nothing about you.</p>\n")
        .raw("<noscript><p>Without JavaScript the numbers stay as they are: reload for new ones.</p></noscript>\n")
        .raw("<p><a href=\"/api/regions\">The same as JSON</a> · <a href=\"/api/replication\">How the regions keep in step, as JSON</a></p>\n</footer>\n</body>\n</html>\n");
    html.into_string()
}

fn draw_hero(html: &mut Html, view: &View) {
    let serving = &view.serving;
    // The space between the spans keeps the sentence whole for whoever reads it as text.
    html.raw("<section class=\"hero\">\n<h1 id=\"badge\" class=\"badge\" data-region=\"")
        .text(&serving.region)
        .raw("\"><span class=\"greeting\">Hello, my name is</span> <span class=\"name\">wasmCloud-")
        .text(&serving.region)
        .raw("</span></h1>\n<dl class=\"facts\">\n");
    let place = geo::locate(&serving.region).map(|place| place.city);
    let city = serving.city.as_deref().or(place);
    draw_fact(html, "City", "city", city.unwrap_or("not known"));
    draw_fact(html, "Region", "region-name", &serving.name);
    draw_fact(html, "Instance", "instance", &serving.instance);
    draw_fact(html, "Platform", "platform", &serving.platform);
    html.raw("<div><dt>Answered in</dt><dd id=\"took\" data-us=\"")
        .text(view.timing.total.as_micros())
        .raw("\">")
        .text(Milliseconds(view.timing.total))
        .raw("</dd></div>\n</dl>\n</section>\n");
}

fn draw_fact(html: &mut Html, name: &'static str, id: &'static str, value: &str) {
    let shown: String = value.chars().take(LONGEST_NAME).collect();
    html.raw("<div><dt>")
        .raw(name)
        .raw("</dt><dd id=\"")
        .raw(id)
        .raw("\">")
        .text(shown)
        .raw("</dd></div>\n");
}

/// What keeps the numbers from being the whole truth. The first two are always in the page, so
/// that a refresh can show them.
fn draw_notices(html: &mut Html, view: &View) {
    let tally = &view.tally;
    html.raw("<p id=\"notice-partial\" class=\"notice\"")
        .raw(if tally.at_least() { ">" } else { " hidden>" })
        .raw("There are more visits than could be counted for this page: every number is a lower bound.</p>\n")
        .raw("<p id=\"notice-unreadable\" class=\"notice\" data-count=\"")
        .text(tally.unreadable)
        .raw(if tally.unreadable > 0 { "\">" } else { "\" hidden>" })
        .raw("Counters unreadable: <span class=\"count\">")
        .text(tally.unreadable)
        .raw("</span>. What is not a number is in no sum.</p>\n");
    match view.counted {
        Counted::Unreadable => {
            html.raw("<p id=\"notice-uncounted\" class=\"notice\">Your visit was not counted: your counter is one of the unreadable ones.</p>\n");
        }
        Counted::Full => {
            html.raw("<p id=\"notice-uncounted\" class=\"notice\">Your visit was not counted: your counter is full.</p>\n");
        }
        Counted::Yes(_) | Counted::NotAsked => {}
    }
}

fn draw_totals(html: &mut Html, view: &View) {
    let tally = &view.tally;
    html.raw("<section id=\"numbers\" class=\"totals\" aria-label=\"Totals\" tabindex=\"-1\">\n<div class=\"tile\"><p class=\"figure\"><span id=\"at-least\"")
        .raw(if tally.at_least() { ">" } else { " hidden>" })
        .raw("at least </span><span id=\"total-visits\" data-value=\"")
        .text(tally.total.visits)
        .raw("\">")
        .text(Grouped(tally.total.visits))
        .raw("</span></p><p>visits in all regions</p></div>\n<div class=\"tile\"><p class=\"figure\"><span id=\"region-count\" data-value=\"")
        .text(tally.regions.len())
        .raw("\">")
        .text(tally.regions.len())
        .raw("</span></p><p>regions counted</p></div>\n");
    if let Counted::Yes(number) = view.counted {
        html.raw("<div class=\"tile\"><p class=\"figure\"><span id=\"your-visits\" data-value=\"")
            .text(number)
            .raw("\">")
            .text(Grouped(number))
            .raw("</span></p><p>from visitors like you: ")
            .text(view.visitor.browser.label())
            .raw(" on ")
            .text(view.visitor.os.label())
            .raw(", in ")
            .text(&view.serving.region)
            .raw("</p></div>\n");
    }
    html.raw("</section>\n");
}

fn draw_map(html: &mut Html, view: &View) {
    let tally = &view.tally;
    let markers = map::markers(tally, &view.serving.region);
    html.raw("<section class=\"card map-card\">\n<h2>Where the visits landed</h2>\n")
        .append(&map::draw(&markers, &view.serving.region))
        .raw("<p class=\"legend\"><span><span class=\"key serving\" aria-hidden=\"true\"></span>answering</span> <span><span class=\"key\" aria-hidden=\"true\"></span>other regions, sized by visits</span></p>\n");
    let elsewhere = map::elsewhere(tally);
    html.raw("<p id=\"elsewhere\"")
        .raw(if elsewhere.is_empty() {
            " hidden>"
        } else {
            ">"
        })
        .raw("Not on the map: <span class=\"regions\">");
    for (index, region) in elsewhere.iter().enumerate() {
        html.raw(if index == 0 { "" } else { ", " }).text(region);
    }
    html.raw("</span></p>\n</section>\n");
}

fn draw_tables(html: &mut Html, view: &View) {
    let tally = &view.tally;
    let total = tally.total.visits;
    let regions: Vec<_> = ranked(&tally.regions)
        .into_iter()
        .map(|(region, count)| {
            let you = *region == view.serving.region;
            let known = geo::locate(region).map(|place| place.city);
            let named = view.serving.city.as_deref().filter(|_| you);
            Row {
                id: region.as_str(),
                label: region.as_str(),
                detail: named.or(known),
                visits: count.visits,
                you,
            }
        })
        .collect();
    let systems: Vec<_> = ranked(&tally.systems)
        .into_iter()
        .map(|(os, count)| Row {
            id: os.slug(),
            label: os.label(),
            detail: None,
            visits: count.visits,
            you: *os == view.visitor.os,
        })
        .collect();
    let browsers: Vec<_> = ranked(&tally.browsers)
        .into_iter()
        .map(|(browser, count)| Row {
            id: browser.slug(),
            label: browser.label(),
            detail: None,
            visits: count.visits,
            you: *browser == view.visitor.browser,
        })
        .collect();
    html.raw("<div class=\"tables\">\n<div class=\"column\">\n<section class=\"card\">\n")
        .append(&table::draw(Subject::Region, &regions, total))
        .raw("</section>\n");
    draw_replication(html);
    draw_calls(html, view);
    html.raw("</div>\n<div class=\"column\">\n<section class=\"card\">\n")
        .append(&table::draw(Subject::Os, &systems, total))
        .raw("</section>\n<section class=\"card\">\n")
        .append(&table::draw(Subject::Browser, &browsers, total))
        .raw("</section>\n</div>\n</div>\n");
}

/// A place for the script to say how the regions' stores keep in step. Hidden until it knows, and
/// where there is one store for all.
fn draw_replication(html: &mut Html) {
    html.raw("<section id=\"replication\" class=\"card\" data-region=\"\" hidden>\n<h2>Replication</h2>\n")
        .raw("<p id=\"sync\" role=\"status\"></p>\n<dl class=\"facts\">\n")
        .raw("<div><dt>Conflicts resolved</dt><dd id=\"conflicts\"></dd></div>\n")
        .raw("<div><dt>Keys from a clock too far ahead</dt><dd id=\"quarantined\"></dd></div>\n")
        .raw("<div><dt>Sent to other regions</dt><dd id=\"sent\"></dd></div>\n</dl>\n")
        .raw("<p class=\"quiet\">As <span class=\"region\"></span> sees it. <a href=\"/api/replication\">Everything it knows, as JSON</a></p>\n</section>\n");
}

/// The calls behind the page, so that a slow answer explains itself.
fn draw_calls(html: &mut Html, view: &View) {
    html.raw("<section class=\"card\">\n<h2>How this answer was made</h2>\n<ol id=\"calls\" class=\"calls\" data-count=\"")
        .text(view.timing.steps.len())
        .raw("\">\n");
    for (step, time) in &view.timing.steps {
        html.raw("<li data-step=\"")
            .text(step)
            .raw("\"><span>")
            .raw(describe(step))
            .raw("</span> <span class=\"number\">")
            .text(Milliseconds(*time))
            .raw("</span></li>\n");
    }
    html.raw("</ol>\n<p class=\"quiet\">As many calls for two thousand counters as for one.</p>\n</section>\n");
}

fn describe(step: &str) -> &'static str {
    match step {
        "metadata" => "asked the host’s provider where this is",
        "list" => "listed the counters",
        "read" => "read all of them at once",
        "count" => "counted your visit",
        _ => "something else",
    }
}

struct Milliseconds(Duration);

impl std::fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let milliseconds = self.0.as_secs_f64() * 1_000.0;
        let digits = if milliseconds < 10.0 { 2 } else { 0 };
        write!(f, "{milliseconds:.digits$} ms")
    }
}
