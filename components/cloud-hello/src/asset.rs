//! The files the page needs, inside the component.

use crate::http::{Request, Response};

/// An embedded file.
#[derive(Debug)]
pub struct Asset {
    pub path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
    /// Entity tag with its quotes. It follows from the content alone and so is the same in
    /// every region that runs the same version.
    etag: Tag,
}

/// A page of one version asks for the style and script of its own, by the tag in the query;
/// while versions are mixed, a wrong copy lives in a browser for five minutes at most.
const CACHE_CONTROL: &str = "public, max-age=300";

pub static STYLE: Asset = Asset::new(
    "/assets/app.css",
    "text/css; charset=utf-8",
    include_bytes!("../assets/app.css"),
);
pub static SCRIPT: Asset = Asset::new(
    "/assets/app.js",
    "text/javascript; charset=utf-8",
    include_bytes!("../assets/app.js"),
);
pub static ICON: Asset = Asset::new(
    "/assets/icon.svg",
    "image/svg+xml",
    include_bytes!("../assets/icon.svg"),
);
/// Browsers ask for this path unasked and take the type from the header.
static FAVICON: Asset = Asset::new(
    "/favicon.ico",
    "image/svg+xml",
    include_bytes!("../assets/icon.svg"),
);

static ALL: [&Asset; 4] = [&STYLE, &SCRIPT, &ICON, &FAVICON];

/// The asset at exactly this path.
pub fn find(path: &str) -> Option<&'static Asset> {
    ALL.iter().find(|asset| asset.path == path).copied()
}

impl Asset {
    const fn new(path: &'static str, content_type: &'static str, bytes: &'static [u8]) -> Self {
        Self {
            path,
            content_type,
            bytes,
            etag: Tag::of(bytes),
        }
    }

    /// The entity tag without its quotes, for a URL.
    pub fn version(&self) -> &str {
        self.etag.hex()
    }

    /// The file, or `304` if the client has it.
    pub fn respond(&self, request: &Request<'_>) -> Response {
        let etag = format!("\"{}\"", self.etag.hex());
        let known = matches_tag(request.if_none_match, &etag);
        let status = if known { 304 } else { 200 };
        let mut response = Response::new(status, self.content_type, self.bytes)
            .with("cache-control", CACHE_CONTROL)
            .with("etag", etag);
        response.send_body = !known;
        response
    }
}

/// `If-None-Match` compares weakly: `W/` does not matter (RFC 9110, section 13.1.2).
fn matches_tag(if_none_match: &[u8], etag: &str) -> bool {
    let Ok(tags) = std::str::from_utf8(if_none_match) else {
        return false;
    };
    tags.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// The 64-bit FNV-1a hash of a file in hexadecimal, computed when the component is built.
#[derive(Debug)]
struct Tag([u8; 16]);

impl Tag {
    const fn of(bytes: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut index = 0;
        while index < bytes.len() {
            // `as` and indexing: nothing better is const, and both are in range by construction.
            hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0100_0000_01b3);
            index += 1;
        }
        let mut hex = [0; 16];
        let mut digit = 0;
        while digit < 16 {
            hex[digit] = DIGITS[((hash >> (60 - 4 * digit)) & 0xf) as usize];
            digit += 1;
        }
        Self(hex)
    }

    fn hex(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_fnv_1a() {
        assert_eq!(Tag::of(b"").hex(), "cbf29ce484222325");
        assert_eq!(Tag::of(b"foobar").hex(), "85944171f73967e8");
    }

    #[test]
    fn if_none_match_knows_lists_weak_tags_and_the_star() {
        let etag = "\"abc\"";
        for known in ["\"abc\"", "W/\"abc\"", "\"x\", \"abc\"", "*", " \"abc\" "] {
            assert!(matches_tag(known.as_bytes(), etag), "{known}");
        }
        for unknown in ["", "abc", "\"ABC\"", "\"abcd\"", "W/", ","] {
            assert!(!matches_tag(unknown.as_bytes(), etag), "{unknown}");
        }
        assert!(!matches_tag(b"\xff\"abc\"", etag));
    }

    #[test]
    fn nothing_embedded_asks_for_anything_from_elsewhere() {
        for asset in ALL {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            for foreign in ["@import", "url(", "https://", "http://"] {
                let text = text.replace("http://www.w3.org/2000/svg", "");
                assert!(!text.contains(foreign), "{} has {foreign}", asset.path);
            }
        }
    }
}
