//! The page in a real browser. Screenshots are in `target/screenshots`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::Cell;

use e2e::browser::Browser;
use e2e::stage::{Running, Stage};
use e2e::wait::{seconds, until};
use lattice::wan::Direction;
use serde_json::{json, Value};

static STAGE: Stage = Stage::new("browser", "iad,fra", 40);

/// How many refreshes of one page the edge may refuse for want of time.
const REFUSED: usize = 3;

#[test]
fn the_page_says_who_answered_and_counts_each_visit_once() {
    STAGE.play(async |running| {
        let Some(browser) =
            Browser::open("the_page_says_who_answered_and_counts_each_visit_once").await
        else {
            return;
        };
        let before = running.counts().await.visits;
        let retries = retries(running).await;
        browser.goto(&running.lattice.url()).await;
        let mut loads = 1 + reloads(&browser, "iad").await;
        assert_eq!(name(&browser).await, "wasmCloud-iad");
        assert_eq!(
            browser.attribute("body", "data-region").await.as_deref(),
            Some("iad")
        );
        let first = browser.number("#total-visits", "data-value").await;
        assert!(first > before, "{first} after {before}");
        let yours = browser.number("#your-visits", "data-value").await;
        assert_eq!(
            browser
                .attribute("#browsers tr[data-you=true]", "data-browser")
                .await
                .as_deref(),
            Some("chrome")
        );

        browser.reload().await;
        loads += 1 + reloads(&browser, "iad").await;
        let second = browser.number("#total-visits", "data-value").await;
        assert!(second > first, "{second} after {first}");
        assert!(browser.number("#your-visits", "data-value").await > yours);
        let counted = running.counts().await.visits;
        // None, but for calls that were lost: each may have counted a visit elsewhere, too.
        let extra = loads - 2 + more_retries(running, retries).await;
        assert!(
            (2..=2 + extra).contains(&(counted - before)),
            "{counted} visits, {before} before two, {extra} attempts more"
        );
        assert!(
            (second..=second + extra).contains(&counted),
            "the page tells what the store holds: {second} of {counted}, {extra} attempts more"
        );
        browser.screenshot("light").await;
        silent(&browser).await;
    });
}

#[test]
fn the_numbers_stay_fresh_without_counting_a_visit() {
    STAGE.play(async |running| {
        let Some(browser) = Browser::open("the_numbers_stay_fresh_without_counting_a_visit").await
        else {
            return;
        };
        let retries = retries(running).await;
        browser.goto(&running.lattice.url()).await;
        let again = reloads(&browser, "iad").await;
        let seen = browser.number("#total-visits", "data-value").await;
        // Somebody else visits another region.
        running.visit("fra", "curl/8").await;
        let now = until("the other's visit on the page", seconds(30), || async {
            let now = browser.number("#total-visits", "data-value").await;
            let state = browser.attribute("#live", "data-state").await;
            match state.as_deref() {
                Some("live") if now > seen => Ok(now),
                state => Err(format!("{now} visits, {seen} before, {state:?}")),
            }
        })
        .await;
        let counted = running.counts().await.visits;
        let extra = again + more_retries(running, retries).await;
        for visits in [now, counted] {
            assert!(
                (seen + 1..=seen + 1 + extra).contains(&visits),
                "the refreshes counted nothing: {visits}, {seen} before, {extra} attempts more"
            );
        }
        silent(&browser).await;
    });
}

#[test]
fn the_page_goes_on_from_another_region_when_its_own_is_killed() {
    STAGE.play(async |running| {
        let Some(browser) =
            Browser::open("the_page_goes_on_from_another_region_when_its_own_is_killed").await
        else {
            return;
        };
        browser.goto(&running.lattice.url()).await;
        reloads(&browser, "iad").await;
        assert_eq!(name(&browser).await, "wasmCloud-iad");
        let seen = browser.number("#total-visits", "data-value").await;
        // No region waits for another, and one that is killed at once may have told nobody.
        running.counts().await;
        running.lattice.kill("iad", None, false).await.unwrap();
        until("a refresh from the other region", seconds(30), || async {
            let region = browser.attribute("#live", "data-region").await;
            let state = browser.attribute("#live", "data-state").await;
            match (region.as_deref(), state.as_deref()) {
                (Some("fra"), Some("moved")) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        let now = browser.number("#total-visits", "data-value").await;
        assert!(now >= seen, "no count is lost: {now} after {seen}");
        browser.screenshot("moved").await;

        browser.reload().await;
        reloads(&browser, "fra").await;
        assert_eq!(name(&browser).await, "wasmCloud-fra");
        assert!(browser.number("#total-visits", "data-value").await > seen);
        browser.screenshot("after-the-kill").await;
        silent(&browser).await;

        running.lattice.revive("iad", None).await.unwrap();
        reloads(&browser, "iad").await;
        assert_eq!(name(&browser).await, "wasmCloud-iad");
    });
}

#[test]
fn the_page_says_which_regions_are_in_step_and_which_are_behind() {
    STAGE.play(async |running| {
        let Some(browser) =
            Browser::open("the_page_says_which_regions_are_in_step_and_which_are_behind").await
        else {
            return;
        };
        // So that both have a row.
        for region in running.regions() {
            running.visit_at(&region, Some(&region)).await;
        }
        browser.goto(&running.lattice.url()).await;
        let label = |attribute: &'static str| {
            browser.attribute("#regions tr[data-region=fra] .sync", attribute)
        };
        let in_step = || async {
            let state = label("data-state").await;
            let known = state.as_deref() == Some("in-step");
            known.then_some(()).ok_or(format!("{state:?}"))
        };
        until("fra in step", seconds(30), in_step).await;
        browser.screenshot("in-step").await;

        running.lattice.cut("fra", Direction::Both).unwrap();
        until("fra behind", seconds(30), || async {
            // More than one, as it may be fra that answers.
            running.visit("iad", "curl/8").await;
            let behind = label("data-behind")
                .await
                .and_then(|text| text.parse().ok());
            let lacks = behind.is_some_and(|behind: u64| behind > 0);
            lacks.then_some(()).ok_or(format!("{behind:?} behind"))
        })
        .await;
        browser.screenshot("behind").await;
        running.lattice.heal(Some("fra")).await.unwrap();
        until("fra in step again", seconds(60), in_step).await;
        silent(&browser).await;
    });
}

#[test]
fn the_page_is_dark_for_who_prefers_that_and_fits_a_phone() {
    STAGE.play(async |running| {
        let Some(browser) =
            Browser::open("the_page_is_dark_for_who_prefers_that_and_fits_a_phone").await
        else {
            return;
        };
        prefer(&browser, "light").await;
        browser.goto(&running.lattice.url()).await;
        let light = brightness(&browser).await;
        prefer(&browser, "dark").await;
        browser.reload().await;
        let dark = brightness(&browser).await;
        browser.screenshot("dark").await;
        assert!(light > 200.0 && dark < 60.0, "light {light}, dark {dark}");

        for scheme in ["dark", "light"] {
            prefer(&browser, scheme).await;
            let phone =
                json!({ "width": 360, "height": 780, "deviceScaleFactor": 2, "mobile": true });
            browser
                .devtools("Emulation.setDeviceMetricsOverride", phone)
                .await;
            browser.reload().await;
            let widths = browser
                .script("return [document.documentElement.scrollWidth, window.innerWidth]")
                .await;
            assert_eq!(widths, json!([360, 360]), "nothing sticks out on a phone");
            browser.screenshot(&format!("phone-{scheme}")).await;
        }
        silent(&browser).await;
    });
}

#[test]
fn the_page_works_without_javascript() {
    STAGE.play(async |running| {
        let Some(browser) = Browser::open("the_page_works_without_javascript").await else {
            return;
        };
        browser
            .devtools(
                "Emulation.setScriptExecutionDisabled",
                json!({ "value": true }),
            )
            .await;
        browser.goto(&running.lattice.url()).await;
        reloads(&browser, "iad").await;
        let seen = browser.number("#total-visits", "data-value").await;
        browser.reload().await;
        reloads(&browser, "iad").await;
        assert!(browser.number("#total-visits", "data-value").await > seen);
        let says = browser.text("noscript").await;
        assert!(says.is_some_and(|says| says.contains("reload")));
        browser.screenshot("without-javascript").await;
    });
}

#[test]
fn without_any_region_the_visitor_sees_a_page_that_says_so() {
    STAGE.play(async |running| {
        let Some(browser) =
            Browser::open("without_any_region_the_visitor_sees_a_page_that_says_so").await
        else {
            return;
        };
        for region in running.regions() {
            running.lattice.kill(&region, None, false).await.unwrap();
        }
        browser.goto(&running.lattice.url()).await;
        until("the edge's own page", seconds(30), || async {
            let title = browser.text("h1").await;
            match title.as_deref() {
                Some("No region can answer right now") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        browser.screenshot("unavailable").await;
        for region in running.regions() {
            running.lattice.revive(&region, None).await.unwrap();
        }
        // It reloads itself: nobody has to do anything.
        until("the page is back by itself", seconds(60), || async {
            let badge = browser.attribute("#badge", "data-region").await;
            badge.map(|_| ()).ok_or("not yet".to_owned())
        })
        .await;
    });
}

/// Loads the page again until it is this region's, and gives how often: never, unless a call was
/// lost or the region is slow for a moment, and the edge asked another one.
async fn reloads(browser: &Browser, region: &str) -> u64 {
    let reloads = Cell::new(0);
    until(&format!("the page of {region}"), seconds(30), || async {
        let shown = browser.attribute("#badge", "data-region").await;
        if shown.as_deref() == Some(region) {
            return Ok(());
        }
        e2e::tell(&format!("loaded again: not of {region} but {shown:?}"));
        reloads.set(reloads.get() + 1);
        browser.reload().await;
        Err(format!("{shown:?}"))
    })
    .await;
    reloads.get()
}

/// The name on the badge.
async fn name(browser: &Browser) -> String {
    browser.text("#badge .name").await.expect("a badge")
}

/// The attempts of the edge that were not the first of their request. Each may count a visit.
async fn retries(running: &Running) -> u64 {
    running.status().await.edge.retries
}

async fn more_retries(running: &Running, before: u64) -> u64 {
    retries(running).await - before
}

/// The console has nothing to say: no error, nothing the security policy refused. A refresh that the
/// edge refuses is none of the page's errors; the page goes on with the next one.
async fn silent(browser: &Browser) {
    let refused = |line: &String| line.contains("/api/") && line.contains("a status of 503");
    let (refused, said): (Vec<_>, Vec<_>) = browser.console().await.into_iter().partition(refused);
    assert_eq!(said, Vec::<String>::new());
    if !refused.is_empty() {
        e2e::tell(&format!(
            "EXCUSED, as the edge ran out of time: {refused:#?}"
        ));
    }
    assert!(refused.len() <= REFUSED, "{refused:#?}");
}

async fn prefer(browser: &Browser, scheme: &str) {
    let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
    browser
        .devtools("Emulation.setEmulatedMedia", features)
        .await;
}

/// How bright the ground of the page is, 0 to 255.
async fn brightness(browser: &Browser) -> f64 {
    let colour = browser
        .script("return getComputedStyle(document.body).backgroundColor")
        .await;
    let Value::String(colour) = colour else {
        panic!("{colour}")
    };
    // rgb(12, 22, 32)
    let parts: Vec<f64> = colour
        .trim_start_matches("rgb(")
        .trim_end_matches(')')
        .split(',')
        .map(|part| part.trim().parse().unwrap())
        .collect();
    parts.iter().sum::<f64>() / 3.0
}
