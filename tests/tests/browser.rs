//! The page in a real browser. Screenshots are in `target/screenshots`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use e2e::browser::Browser;
use e2e::stage::Stage;
use e2e::wait::{seconds, until};
use lattice::wan::Direction;
use serde_json::{json, Value};

static STAGE: Stage = Stage::new("browser", "iad,fra", 40);

#[test]
fn the_page_says_who_answered_and_counts_each_visit_once() {
    STAGE.play(async |running| {
        let Some(browser) =
            Browser::open("the_page_says_who_answered_and_counts_each_visit_once").await
        else {
            return;
        };
        let before = running.counts().await.visits;
        browser.goto(&running.lattice.url()).await;
        assert_eq!(browser.text("#badge .name").await, "wasmCloud-iad");
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
        let second = browser.number("#total-visits", "data-value").await;
        assert!(second > first, "{second} after {first}");
        assert!(browser.number("#your-visits", "data-value").await > yours);
        assert_eq!(
            second,
            running.counts().await.visits,
            "the page tells what the store holds"
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
        browser.goto(&running.lattice.url()).await;
        let seen = browser.number("#total-visits", "data-value").await;
        // Somebody else visits another region.
        let visit = running.visit("fra", "curl/8").await;
        until("the other's visit on the page", seconds(10), || async {
            let now = browser.number("#total-visits", "data-value").await;
            visit
                .explains(now - seen)
                .then_some(())
                .ok_or(format!("{now} visits, {seen} before"))
        })
        .await;
        assert_eq!(
            browser.attribute("#live", "data-state").await.as_deref(),
            Some("live")
        );
        let grown = running.counts().await.visits - seen;
        assert!(
            visit.explains(grown),
            "the refreshes counted nothing: {grown}, {visit:?}"
        );
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
        assert_eq!(browser.text("#badge .name").await, "wasmCloud-iad");
        let seen = browser.number("#total-visits", "data-value").await;
        running.lattice.kill("iad", None, false).await.unwrap();
        until("a refresh from the other region", seconds(15), || async {
            let region = browser.attribute("#live", "data-region").await;
            (region.as_deref() == Some("fra"))
                .then_some(())
                .ok_or(format!("from {region:?}"))
        })
        .await;
        assert_eq!(
            browser.attribute("#live", "data-state").await.as_deref(),
            Some("moved")
        );
        let now = browser.number("#total-visits", "data-value").await;
        assert!(now >= seen, "no count is lost: {now} after {seen}");
        browser.screenshot("moved").await;

        browser.reload().await;
        assert_eq!(browser.text("#badge .name").await, "wasmCloud-fra");
        assert!(browser.number("#total-visits", "data-value").await > seen);
        browser.screenshot("after-the-kill").await;
        silent(&browser).await;

        running.lattice.revive("iad", None).await.unwrap();
        until("the page of the revived region", seconds(10), || async {
            browser.reload().await;
            let badge = browser.text("#badge .name").await;
            (badge == "wasmCloud-iad").then_some(()).ok_or(badge)
        })
        .await;
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
            running.visit(&region, "curl/8").await;
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
        until("fra in step", seconds(20), in_step).await;
        browser.screenshot("in-step").await;

        running.lattice.cut("fra", Direction::Both).unwrap();
        running.visit("iad", "curl/8").await;
        until("fra behind", seconds(20), || async {
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
        assert_eq!(
            browser.attribute("#badge", "data-region").await.as_deref(),
            Some("iad")
        );
        let seen = browser.number("#total-visits", "data-value").await;
        browser.reload().await;
        assert!(browser.number("#total-visits", "data-value").await > seen);
        assert!(browser.text("noscript").await.contains("reload"));
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
        assert_eq!(browser.text("h1").await, "No region can answer right now");
        browser.screenshot("unavailable").await;
        for region in running.regions() {
            running.lattice.revive(&region, None).await.unwrap();
        }
        // It reloads itself: nobody has to do anything.
        until("the page is back by itself", seconds(30), || async {
            let badge = browser.attribute("#badge", "data-region").await;
            badge.map(|_| ()).ok_or("not yet".to_owned())
        })
        .await;
    });
}

/// The console has nothing to say: no error, nothing the security policy refused.
async fn silent(browser: &Browser) {
    assert_eq!(browser.console().await, Vec::<String>::new());
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
