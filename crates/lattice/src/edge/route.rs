//! Which region a visitor is sent to, and which ones after it.

use http::header::COOKIE;
use http::HeaderMap;

use super::geo;

const HOME_HEADERS: [&str; 2] = ["fly-prefer-region", "x-home-region"];
const HOME_COOKIE: &str = "home-region";

/// The region a visitor calls home: by header, else by cookie. A code that is neither configured nor on the map says
/// nothing and is passed over. Locally every visitor comes from loopback, so this stands for where they are.
pub(super) fn home_region(
    headers: &HeaderMap,
    is_configured: impl Fn(&str) -> bool,
) -> Option<&str> {
    let named = HOME_HEADERS
        .iter()
        .filter_map(|name| headers.get(*name)?.to_str().ok());
    let cookies = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().strip_prefix(HOME_COOKIE)?.strip_prefix('='));
    named
        .chain(cookies)
        .map(str::trim)
        .find(|code| is_configured(code) || geo::is_known(code))
}

/// Orders regions (given in configured order) for a visitor at `home`: home itself, then nearest first, then those
/// not on the map, in configured order. Without a home, or with one not on the map, configured order decides.
pub(super) fn nearest_first<T>(
    mut regions: Vec<T>,
    home: Option<&str>,
    code: impl Fn(&T) -> &str,
) -> Vec<T> {
    let Some(home) = home.map(str::to_owned).or_else(|| {
        let first = regions.first()?;
        Some(code(first).to_owned())
    }) else {
        return regions;
    };
    // A stable sort: what ties stays in configured order.
    regions.sort_by(|a, b| {
        let distance = |region: &T| {
            let region = code(region);
            if region == home {
                -1.0
            } else {
                geo::distance_km(&home, region).unwrap_or(f64::INFINITY)
            }
        };
        distance(a).total_cmp(&distance(b))
    });
    regions
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn ordered(regions: &[&'static str], home: Option<&str>) -> Vec<&'static str> {
        nearest_first(regions.to_vec(), home, |code| code)
    }

    #[test]
    fn home_comes_first_and_the_others_by_distance_from_it() {
        let regions = ["iad", "fra", "sin", "lhr"];
        assert_eq!(ordered(&regions, Some("fra")), ["fra", "lhr", "iad", "sin"]);
        assert_eq!(ordered(&regions, Some("sin")), ["sin", "fra", "lhr", "iad"]);
        assert_eq!(ordered(&regions, None), ["iad", "lhr", "fra", "sin"]);
    }

    #[test]
    fn a_home_that_is_not_served_still_decides_who_is_near() {
        assert_eq!(
            ordered(&["iad", "fra", "sin"], Some("nrt")),
            ["sin", "fra", "iad"]
        );
    }

    #[test]
    fn codes_not_on_the_map_keep_configured_order() {
        assert_eq!(ordered(&["x1", "x2", "x3"], Some("x2")), ["x2", "x1", "x3"]);
        assert_eq!(
            ordered(&["x1", "sin", "fra"], Some("lhr")),
            ["fra", "sin", "x1"]
        );
        assert_eq!(ordered(&[], Some("lhr")), Vec::<&str>::new());
    }

    #[test]
    fn a_header_names_home_before_a_cookie_and_nonsense_is_passed_over() {
        let mut headers = HeaderMap::new();
        let home =
            |headers: &HeaderMap| home_region(headers, |code| code == "x1").map(str::to_owned);
        assert_eq!(home(&headers), None);
        headers.append(COOKIE, HeaderValue::from_static("a=b; home-region=sin; c"));
        assert_eq!(home(&headers).as_deref(), Some("sin"));
        headers.insert("x-home-region", HeaderValue::from_static("x1"));
        assert_eq!(home(&headers).as_deref(), Some("x1"));
        headers.insert("fly-prefer-region", HeaderValue::from_static("nowhere"));
        assert_eq!(home(&headers).as_deref(), Some("x1"));
        headers.insert("fly-prefer-region", HeaderValue::from_static("fra"));
        assert_eq!(home(&headers).as_deref(), Some("fra"));
        headers.insert(
            "fly-prefer-region",
            HeaderValue::from_bytes(b"\xff\xfe").unwrap(),
        );
        assert_eq!(home(&headers).as_deref(), Some("x1"));
    }
}
