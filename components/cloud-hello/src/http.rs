//! A request and its response as plain data.

use std::borrow::Cow;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Other,
}

/// What of a request matters here.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub method: Method,
    pub path_with_query: &'a str,
    /// The `User-Agent` header as it came, empty if there was none.
    pub user_agent: &'a [u8],
    /// The `If-None-Match` header as it came, empty if there was none.
    pub if_none_match: &'a [u8],
}

impl Request<'_> {
    /// The path, byte for byte: nothing is decoded, so no path has a second spelling.
    pub fn path(&self) -> &str {
        self.path_with_query
            .split_once(['?', '#'])
            .map_or(self.path_with_query, |(path, _)| path)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    pub body: Cow<'static, [u8]>,
    /// `HEAD` and `304` have a body that is not sent, nor its length.
    pub send_body: bool,
}

/// Nothing but this origin, nothing inline, nobody's frame.
pub const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'self'; script-src 'self'; \
     img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

const SECURITY_HEADERS: [(&str, &str); 9] = [
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    (
        "permissions-policy",
        "accelerometer=(), camera=(), geolocation=(), gyroscope=(), microphone=(), payment=(), usb=()",
    ),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("cross-origin-resource-policy", "same-origin"),
    // Browsers heed it over HTTPS only, which production forces.
    ("strict-transport-security", "max-age=31536000"),
];

impl Response {
    /// A response with the security headers, and uncached unless told otherwise.
    pub fn new(
        status: u16,
        content_type: &'static str,
        body: impl Into<Cow<'static, [u8]>>,
    ) -> Self {
        let mut headers = vec![
            ("content-type", Cow::Borrowed(content_type)),
            ("cache-control", Cow::Borrowed("no-store")),
        ];
        headers.extend(SECURITY_HEADERS.map(|(name, value)| (name, Cow::Borrowed(value))));
        Self {
            status,
            headers,
            body: body.into(),
            send_body: true,
        }
    }

    /// Sets a header, replacing one of the same name.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        let value = value.into();
        match self.headers.iter_mut().find(|(known, _)| *known == name) {
            Some(header) => header.1 = value,
            None => self.headers.push((name, value)),
        }
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_not_part_of_the_path() {
        for (target, path) in [
            ("/", "/"),
            ("/?a=/health", "/"),
            ("/health?", "/health"),
            ("/health#x?y", "/health"),
            ("/%2f", "/%2f"),
            ("//", "//"),
            ("", ""),
        ] {
            let request = Request {
                method: Method::Get,
                path_with_query: target,
                user_agent: b"",
                if_none_match: b"",
            };
            assert_eq!(request.path(), path);
        }
    }

    #[test]
    fn a_header_is_never_set_twice() {
        let response = Response::new(200, "text/plain", &b""[..]).with("cache-control", "no-cache");
        assert_eq!(response.header("cache-control"), Some("no-cache"));
        let named = |name| {
            response
                .headers
                .iter()
                .filter(|(known, _)| *known == name)
                .count()
        };
        assert_eq!(named("cache-control"), 1);
    }
}
