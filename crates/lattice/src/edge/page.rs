//! The edge's own answers.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::body::{whole, Body};

/// Seconds after which trying again makes sense.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// What the edge has to say itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Notice {
    pub status: StatusCode,
    pub title: &'static str,
    pub detail: &'static str,
    /// A visitor may simply ask again.
    pub again: bool,
}

/// No region answered, and asking again does no harm.
pub(super) const UNAVAILABLE: Notice = Notice {
    status: StatusCode::SERVICE_UNAVAILABLE,
    title: "No region can answer right now",
    detail: "Every region was asked and none could answer in time. Nothing that was confirmed is lost. This page tries again by itself.",
    again: true,
};

/// No region took the change: no connection to any could be made.
pub(super) const UNSENT: Notice = Notice {
    status: StatusCode::SERVICE_UNAVAILABLE,
    title: "No region can be reached right now",
    detail: "Nothing was changed. Please send it again in a moment.",
    again: false,
};

/// A region may or may not have acted on the request.
pub(super) const UNCONFIRMED: Notice = Notice {
    status: StatusCode::SERVICE_UNAVAILABLE,
    title: "No region confirmed the change",
    detail: "The change may or may not have been made. Look before you send it again.",
    again: false,
};

/// Writes a notice as JSON for who prefers that, as a page otherwise.
pub(super) fn render(notice: Notice, accept: &HeaderMap) -> Response<Body> {
    let json = prefers_json(accept);
    let text = if json { problem(notice) } else { page(notice) };
    let mut response = Response::new(whole(Bytes::from(text)));
    *response.status_mut() = notice.status;
    let headers = response.headers_mut();
    let media_type = if json {
        HeaderValue::from_static("application/problem+json")
    } else {
        HeaderValue::from_static("text/html; charset=utf-8")
    };
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    if notice.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    let security: [(HeaderName, &'static str); 4] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in security {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// An upstream's own 503 says when to come back, even if the upstream forgot to.
pub(super) fn complete(response: &mut Response<Body>) {
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .entry(header::RETRY_AFTER)
            .or_insert(RETRY_AFTER);
    }
}

fn problem(notice: Notice) -> String {
    serde_json::json!({
        "type": "about:blank",
        "title": notice.title,
        "status": notice.status.as_u16(),
        "detail": notice.detail,
    })
    .to_string()
}

fn page(
    Notice {
        title,
        detail,
        again,
        status,
    }: Notice,
) -> String {
    let refresh = if again {
        "<meta http-equiv=\"refresh\" content=\"3\">"
    } else {
        ""
    };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">{refresh}<title>{title}</title>\
         <style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto;padding:0 1.5rem}}\
         h1{{font-size:1.5rem;line-height:1.2}}small{{opacity:.7}}</style></head>\
         <body><main><h1>{title}</h1><p>{detail}</p><p><small>{code}, from the edge</small></p></main></body></html>\n",
        code = status.as_u16(),
    )
}

/// Whether `Accept` ranks JSON above HTML.
fn prefers_json(headers: &HeaderMap) -> bool {
    let ranges: Vec<(String, f32)> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(media_range)
        .collect();
    let weight = |names: &[&str]| {
        // The most specific range decides, so names come in that order.
        names
            .iter()
            .find_map(|name| ranges.iter().find(|(range, _)| range == name))
            .map_or(0.0, |(_, weight)| *weight)
    };
    weight(&[
        "application/json",
        "application/problem+json",
        "application/*",
        "*/*",
    ]) > weight(&["text/html", "application/xhtml+xml", "text/*", "*/*"])
}

fn media_range(range: &str) -> (String, f32) {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let weight = parts
        .find_map(|part| part.strip_prefix("q=")?.parse().ok())
        .unwrap_or(1.0);
    (name, weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(value));
        prefers_json(&headers)
    }

    #[test]
    fn json_goes_to_who_ranks_it_above_html() {
        assert!(accepts("application/json"));
        assert!(accepts("text/html;q=0.5, application/json"));
        assert!(accepts("Application/Problem+JSON, */*;q=0.1"));
        assert!(!accepts("*/*"));
        assert!(!accepts(
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        ));
        assert!(!accepts("application/json;q=0.1, text/html;q=nonsense"));
        assert!(!prefers_json(&HeaderMap::new()));
    }

    #[test]
    fn only_a_page_that_is_safe_to_ask_for_again_reloads_itself() {
        assert!(page(UNAVAILABLE).contains("http-equiv=\"refresh\""));
        assert!(!page(UNCONFIRMED).contains("http-equiv=\"refresh\""));
    }
}
