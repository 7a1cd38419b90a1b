//! The routes, as a client sees them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use cloud_hello::host::MetadataError;
use cloud_hello::http::{Method, Request, Response, CONTENT_SECURITY_POLICY};
use cloud_hello::route;
use fake::{FakeHost, FIREFOX, OWN_KEY};
use proptest::prelude::*;
use serde_json::Value;

fn request(method: Method, target: &str) -> Request<'_> {
    Request {
        method,
        path_with_query: target,
        user_agent: FIREFOX,
        if_none_match: b"",
    }
}

fn get(host: &mut FakeHost, target: &str) -> Response {
    route::respond(host, &request(Method::Get, target))
}

fn text(response: &Response) -> &str {
    std::str::from_utf8(&response.body).unwrap()
}

fn json(response: &Response) -> Value {
    assert_eq!(response.header("content-type"), Some("application/json"));
    serde_json::from_slice(&response.body).unwrap()
}

fn busy_host() -> FakeHost {
    let mut host = FakeHost::in_region("iad");
    host.store.put("visits:v1:iad:chrome:windows", "30");
    host.store.put("visits:v1:fra:firefox:linux", "20");
    host.store.put("visits:v1:kind:curl:other", "4");
    host
}

#[test]
fn the_page_shows_the_badge_the_sums_and_where_the_visitor_belongs() {
    let mut host = busy_host();
    let response = get(&mut host, "/?utm=x");
    assert_eq!(response.status, 200);
    let page = text(&response);
    let badge = page.split("<h1 id=\"badge\"").nth(1).unwrap();
    let badge = badge
        .split_once('>')
        .unwrap()
        .1
        .split_once("</h1>")
        .unwrap()
        .0;
    assert_eq!(without_tags(badge), "Hello, my name is wasmCloud-iad");
    for part in [
        "<html lang=\"en\">",
        "id=\"total-visits\" data-value=\"55\">55<",
        "<tr data-region=\"iad\" data-you=\"true\">",
        "<tr data-region=\"fra\" data-you=\"false\">",
        "<tr data-os=\"linux\" data-you=\"true\">",
        "<tr data-browser=\"firefox\" data-you=\"true\">",
        "<tr data-browser=\"chrome\" data-you=\"false\">",
        "<g class=\"dot\" data-region=\"iad\" data-serving=\"true\">",
        "<p id=\"elsewhere\">Not on the map: <span class=\"regions\">kind</span>",
        "id=\"your-visits\" data-value=\"1\"",
    ] {
        assert!(page.contains(part), "no {part}");
    }
    assert_eq!(host.store.number(OWN_KEY), Some(1));
}

fn without_tags(html: &str) -> String {
    html.split('<')
        .map(|part| part.split_once('>').map_or(part, |(_, text)| text))
        .collect()
}

#[test]
fn the_json_has_the_documented_shape() {
    let mut host = busy_host();
    host.store.put("visits:v1:sin:edge:windows", "?");
    let document = json(&get(&mut host, "/api/regions"));
    assert_eq!(document["version"], 1);
    assert_eq!(document["serving"]["region"], "iad");
    assert_eq!(document["serving"]["city"], Value::Null);
    assert_eq!(document["serving"]["instance"], "instance-1");
    assert_eq!(document["you"]["browser"], "firefox");
    assert_eq!(document["you"]["os"], "linux");
    assert_eq!(document["visits"], 54);
    assert_eq!(document["at_least"], false);
    assert_eq!(document["unreadable"], 1);
    let regions = document["regions"].as_array().unwrap();
    assert_eq!(regions.len(), 3);
    assert_eq!(regions[0]["region"], "iad");
    assert_eq!(regions[0]["visits"], 30);
    assert_eq!(regions[0]["city"], "Ashburn");
    assert_eq!(regions[0]["location"]["latitude"], 39.04);
    assert!(regions[0]["dot"]["r"].as_f64().unwrap() > 0.0);
    assert_eq!(regions[2]["region"], "kind");
    assert_eq!(regions[2]["dot"], Value::Null);
    assert_eq!(document["operating_systems"][0]["os"], "windows");
    assert_eq!(document["browsers"][0]["name"], "Chrome");
    assert!(document["took_us"].as_u64().unwrap() > 0);
    assert_eq!(host.store.number(OWN_KEY), None, "the API counts no visit");
}

#[test]
fn health_asks_nobody() {
    let mut host = FakeHost::in_region("iad");
    host.metadata = Err(MetadataError::Unavailable);
    host.store.broken = Some("list-keys");
    let response = get(&mut host, "/health");
    assert_eq!((response.status, text(&response)), (200, "ok\n"));
    assert!(host.store.calls.is_empty());
}

#[test]
fn head_is_get_without_body_and_without_a_visit() {
    let mut host = busy_host();
    let paths = [
        "/",
        "/api/regions",
        "/api/replication",
        "/health",
        "/assets/app.css",
        "/nothing",
    ];
    for path in paths {
        let head = route::respond(&mut host, &request(Method::Head, path));
        assert!(!head.send_body, "{path}");
        assert!(!head.body.is_empty(), "{path}: what `GET` would send");
        let get = get(&mut FakeHost::in_region("iad"), path);
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"));
    }
    assert_eq!(host.store.number(OWN_KEY), None);
}

#[test]
fn other_methods_are_refused_and_told_which_are_not() {
    let mut host = busy_host();
    let paths = [
        "/",
        "/api/regions",
        "/api/replication",
        "/health",
        "/assets/app.js",
    ];
    for path in paths {
        let response = route::respond(&mut host, &request(Method::Other, path));
        assert_eq!(response.status, 405, "{path}");
        assert_eq!(response.header("allow"), Some("GET, HEAD"));
    }
    assert!(host.store.calls.is_empty());
}

#[test]
fn paths_match_exactly_or_not_at_all() {
    let mut host = busy_host();
    for path in [
        "",
        "//",
        "/index.html",
        "/health/",
        "/Health",
        "/%68ealth",
        "/%2f",
        "/..",
        "/./",
        "/api",
        "/api/",
        "/api/regions/",
        "/api/replication/",
        "/api/@replication",
        "/assets",
        "/assets/",
        "/assets/../app.css",
        "/assets/%61pp.css",
        "*",
        "http://elsewhere/",
        "/\u{0}",
        "/<script>",
    ] {
        let response = get(&mut host, path);
        assert_eq!(response.status, 404, "{path}");
        assert!(!text(&response).contains("<script>"));
    }
    assert_eq!(
        json(&get(&mut host, "/api/nothing"))["error"]["code"],
        "not-found"
    );
    assert!(host.store.calls.is_empty());
}

#[test]
fn a_failure_is_a_503_that_says_when_to_come_back() {
    let no_metadata = |host: &mut FakeHost| host.metadata = Err(MetadataError::Misconfigured);
    let no_store = |host: &mut FakeHost| host.store.broken = Some("list-keys");
    let breaks: [fn(&mut FakeHost); 2] = [no_metadata, no_store];
    let codes = ["metadata-unavailable", "store-unavailable"];
    for (code, break_it) in codes.into_iter().zip(breaks) {
        let mut host = busy_host();
        break_it(&mut host);
        let page = get(&mut host, "/");
        assert_eq!(page.status, 503);
        assert_eq!(page.header("retry-after"), Some("1"));
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert!(text(&page).contains("data-status=\"503\""));
        let api = get(&mut host, "/api/regions");
        assert_eq!(api.status, 503);
        assert_eq!(api.header("retry-after"), Some("1"));
        assert_eq!(json(&api)["error"]["code"], code);
        assert_eq!(host.log.len(), 2);
    }
}

#[test]
fn assets_are_cached_and_revalidated() {
    let mut host = busy_host();
    for path in [
        "/assets/app.css",
        "/assets/app.js",
        "/assets/icon.svg",
        "/favicon.ico",
    ] {
        let full = get(&mut host, path);
        assert_eq!(full.status, 200, "{path}");
        assert_eq!(full.header("cache-control"), Some("public, max-age=300"));
        let etag = full.header("etag").unwrap().to_owned();
        let again = route::respond(
            &mut host,
            &Request {
                if_none_match: etag.as_bytes(),
                ..request(Method::Get, path)
            },
        );
        assert_eq!((again.status, again.send_body), (304, false), "{path}");
        assert_eq!(again.header("etag"), Some(etag.as_str()));
    }
    assert!(host.store.calls.is_empty());
}

#[test]
fn the_page_asks_only_for_assets_that_exist() {
    let mut host = busy_host();
    let page = get(&mut host, "/");
    let page = text(&page);
    let mut found = 0;
    for attribute in ["href=\"", "src=\""] {
        for link in page.split(attribute).skip(1) {
            let target = link.split('"').next().unwrap();
            if let Some(id) = target.strip_prefix('#') {
                assert!(page.contains(&format!("id=\"{id}\"")));
            } else {
                assert_eq!(get(&mut busy_host(), target).status, 200, "{target}");
                found += 1;
            }
        }
    }
    assert!(found >= 4);
}

#[test]
fn every_answer_carries_the_security_headers_and_nothing_inline() {
    let mut host = busy_host();
    let paths = [
        "/",
        "/api/regions",
        "/api/replication",
        "/health",
        "/assets/app.js",
        "/nothing",
    ];
    for path in paths {
        let response = get(&mut host, path);
        assert_eq!(
            response.header("content-security-policy"),
            Some(CONTENT_SECURITY_POLICY)
        );
        for name in [
            "strict-transport-security",
            "x-content-type-options",
            "referrer-policy",
            "permissions-policy",
            "cross-origin-opener-policy",
            "cross-origin-resource-policy",
        ] {
            assert!(response.header(name).is_some(), "{path} lacks {name}");
        }
    }
    let policy = CONTENT_SECURITY_POLICY;
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    for lax in ["unsafe", "data:", "http", "*"] {
        assert!(!policy.contains(lax), "{policy}");
    }
    for path in ["/", "/nothing"] {
        let response = get(&mut host, path);
        let page = text(&response);
        for inline in ["style=", "<style", "onclick", "onload", "javascript:"] {
            assert!(!page.contains(inline), "{path} has {inline}");
        }
        assert_eq!(
            page.matches("<script").count(),
            page.matches("<script src=").count()
        );
    }
}

#[test]
fn a_screen_reader_is_told_what_the_page_shows() {
    let response = get(&mut busy_host(), "/");
    let page = text(&response);
    assert!(page.contains("<html lang=\"en\">"));
    let tables: Vec<&str> = page.split("<table").skip(1).collect();
    assert_eq!(tables.len(), 3);
    for table in tables {
        let table = table.split("</table>").next().unwrap();
        let (caption, rows) = table.split_once("</caption>").unwrap();
        assert!(caption.contains("<caption>Visits by "), "{caption}");
        assert_eq!(
            rows.matches("<th ").count(),
            rows.matches("<th scope=").count()
        );
    }
    // The map has a title and says that a table has its numbers.
    for told in [
        "role=\"img\" aria-labelledby=\"map-title map-about\"",
        "<title id=\"map-title\">",
        "<desc id=\"map-about\">",
        "id=\"live\" class=\"live\" role=\"status\"",
    ] {
        assert!(page.contains(told), "{told}");
    }
}

#[test]
fn the_script_refreshes_every_two_seconds_without_a_visit() {
    let response = get(&mut busy_host(), "/assets/app.js");
    let script = text(&response);
    assert!(script.contains("const EVERY_MS = 2000;"));
    assert_eq!(script.matches("setTimeout(keepFresh, EVERY_MS)").count(), 2);
    // What it asks for counts nothing.
    for (api, calls) in [("/api/regions", 3), ("/api/replication", 1)] {
        assert!(script.contains(&format!("\"{api}\"")), "{api}");
        let mut host = busy_host();
        get(&mut host, api);
        assert_eq!(host.store.calls.len(), calls, "{api}");
        assert!(!host.store.calls.contains(&"increment"), "{api}");
    }
}

#[test]
fn the_times_of_the_calls_are_in_a_header() {
    let response = get(&mut busy_host(), "/");
    let timing = response.header("server-timing").unwrap();
    for step in [
        "metadata;dur=",
        "list;dur=",
        "read;dur=",
        "count;dur=",
        "total;dur=",
    ] {
        assert!(timing.contains(step), "{timing}");
    }
}

#[test]
fn no_hostile_text_reaches_the_page_unescaped() {
    let script = "<script>alert('x')</script>\"&";
    let mut host = FakeHost::in_region("\"><script>alert(1)</script>");
    if let Ok(serving) = &mut host.metadata {
        serving.name = script.to_owned();
        serving.city = Some(script.to_owned());
        serving.instance = script.repeat(1_000);
        serving.platform = format!("{script}\u{0}\u{7}");
    }
    host.store.put("visits:v1:%3Cb%3E%22:firefox:linux", "3");
    let hostile = Request {
        user_agent: b"<script>alert(1)</script>\xff\xfe",
        ..request(Method::Get, "/?<script>")
    };
    let response = route::respond(&mut host, &hostile);
    assert_eq!(response.status, 200);
    let page = text(&response);
    assert!(!page.contains("<script>") && !page.contains("<b>"));
    assert_eq!(page.matches("<script").count(), 1);
    assert!(page.contains("data-region=\"&lt;b&gt;&quot;\""));
    assert!(page.len() < 100_000);
    assert!(host.log.is_empty());
}

#[test]
fn unreadable_counters_are_flagged_in_page_and_json() {
    let mut host = busy_host();
    host.store.put(OWN_KEY, "banana");
    let page = get(&mut host, "/");
    let page = text(&page);
    assert!(page.contains("id=\"notice-unreadable\" class=\"notice\" data-count=\"1\">"));
    assert!(page.contains("id=\"notice-uncounted\""));
    assert_eq!(json(&get(&mut host, "/api/regions"))["unreadable"], 1);
    assert_eq!(host.log.len(), 1);
}

#[test]
fn lower_bounds_say_at_least() {
    let mut host = busy_host();
    let page = get(&mut host, "/");
    assert!(text(&page).contains("id=\"at-least\" hidden>"));
    host.store.more = true;
    let page = get(&mut host, "/");
    assert!(text(&page).contains("id=\"at-least\">"));
    assert_eq!(json(&get(&mut host, "/api/regions"))["at_least"], true);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_request_gets_an_answer(
        target in prop_oneof![Just("/".to_owned()), any::<String>()],
        user_agent in proptest::collection::vec(any::<u8>(), 0..2_000),
        if_none_match in proptest::collection::vec(any::<u8>(), 0..200),
        region in any::<String>(),
        method in proptest::sample::select(vec![Method::Get, Method::Head, Method::Other]),
    ) {
        let mut host = FakeHost::in_region(&region);
        let request = Request {
            method,
            path_with_query: &target,
            user_agent: &user_agent,
            if_none_match: &if_none_match,
        };
        let response = route::respond(&mut host, &request);
        prop_assert!(matches!(response.status, 200 | 304 | 404 | 405));
    }
}
