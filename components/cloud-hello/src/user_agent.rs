//! Browser and operating system from the `User-Agent` header.
//!
//! The header is whatever a client cares to send. Only its first [`LOOKED_AT`] bytes are looked
//! at, as bytes, and only a variant of the two enums ever leaves this module.

/// How much of the header is looked at. Real ones are below 300 bytes.
pub const LOOKED_AT: usize = 512;

macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident { $($variant:ident $slug:literal $label:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($variant,)+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// How it is written in keys and in JSON.
            pub fn slug(self) -> &'static str {
                match self { $(Self::$variant => $slug,)+ }
            }

            /// How it is written on the page.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// The inverse of [`Self::slug`].
            pub fn from_slug(slug: &str) -> Option<Self> {
                match slug { $($slug => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

kinds! {
    /// What the visitor browses with.
    Browser {
        Firefox "firefox" "Firefox",
        Chrome "chrome" "Chrome",
        Edge "edge" "Edge",
        Safari "safari" "Safari",
        Opera "opera" "Opera",
        SamsungInternet "samsung-internet" "Samsung Internet",
        Curl "curl" "curl",
        Bot "bot" "Bot",
        Other "other" "Other",
    }
}

kinds! {
    /// What the visitor's machine runs.
    Os {
        Windows "windows" "Windows",
        MacOs "macos" "macOS",
        Ios "ios" "iOS",
        Android "android" "Android",
        Linux "linux" "Linux",
        ChromeOs "chromeos" "ChromeOS",
        Other "other" "Other",
    }
}

/// The first rule that matches wins: Edge, Opera and Samsung Internet say they are Chrome,
/// Chrome says it is Safari, and bots say they are any of them.
const BROWSER_RULES: &[(&str, Browser)] = &[
    ("bot/", Browser::Bot),
    ("bot;", Browser::Bot),
    ("bot)", Browser::Bot),
    ("+http", Browser::Bot),
    ("crawler", Browser::Bot),
    ("spider", Browser::Bot),
    ("slurp", Browser::Bot),
    ("curl/", Browser::Curl),
    ("edg/", Browser::Edge),
    ("edga/", Browser::Edge),
    ("edgios/", Browser::Edge),
    ("edge/", Browser::Edge),
    ("opr/", Browser::Opera),
    ("opt/", Browser::Opera),
    ("opera", Browser::Opera),
    ("samsungbrowser/", Browser::SamsungInternet),
    ("firefox/", Browser::Firefox),
    ("fxios/", Browser::Firefox),
    ("chrome/", Browser::Chrome),
    ("chromium/", Browser::Chrome),
    ("crios/", Browser::Chrome),
    ("safari/", Browser::Safari),
];

/// Ordered for the same reason: Android says Linux, iOS says "like Mac OS X", and Windows
/// phones say all of them.
const OS_RULES: &[(&str, Os)] = &[
    ("windows", Os::Windows),
    ("cros ", Os::ChromeOs),
    ("android", Os::Android),
    ("iphone", Os::Ios),
    ("ipad", Os::Ios),
    ("ipod", Os::Ios),
    ("macintosh", Os::MacOs),
    ("mac os x", Os::MacOs),
    ("linux", Os::Linux),
];

/// What a `User-Agent` says of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visitor {
    pub browser: Browser,
    pub os: Os,
}

impl Visitor {
    /// Classifies the header's bytes; an absent header is the empty one.
    pub fn from_user_agent(header: &[u8]) -> Self {
        let prefix = header.get(..LOOKED_AT).unwrap_or(header);
        let lower = prefix.to_ascii_lowercase();
        Self {
            browser: first_match(BROWSER_RULES, &lower).unwrap_or(Browser::Other),
            os: first_match(OS_RULES, &lower).unwrap_or(Os::Other),
        }
    }
}

fn first_match<T: Copy>(rules: &[(&str, T)], lower: &[u8]) -> Option<T> {
    rules
        .iter()
        .find(|(needle, _)| contains(lower, needle.as_bytes()))
        .map(|(_, kind)| *kind)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assert_kind(user_agent: &str, browser: Browser, os: Os) {
        let found = Visitor::from_user_agent(user_agent.as_bytes());
        assert_eq!(found, Visitor { browser, os }, "{user_agent}");
    }

    #[test]
    fn browsers_are_told_apart_as_they_really_introduce_themselves() {
        use Browser::*;
        for (user_agent, browser, os) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", Firefox, Os::Linux),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/127.0 Mobile/15E148 Safari/605.1.15", Firefox, Os::Ios),
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36", Chrome, Os::Windows),
            ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/126.0.0.0 Safari/537.36", Chrome, Os::Linux),
            ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36", Chrome, Os::ChromeOs),
            ("Mozilla/5.0 (Linux; Android 14; CUBOT NOTE 20) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36", Chrome, Os::Android),
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0", Edge, Os::Windows),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15", Safari, Os::MacOs),
            ("Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148 Safari/604.1", Safari, Os::Ios),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Safari/537.36 OPR/111.0.0.0", Opera, Os::MacOs),
            ("Opera/9.80 (Windows NT 6.1) Presto/2.12 Version/12.16", Opera, Os::Windows),
            ("Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36", SamsungInternet, Os::Android),
            ("curl/8.5.0", Curl, Os::Other),
            ("Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Googlebot/2.1; +http://www.google.com/bot.html) Chrome/126.0.0.0 Safari/537.36", Bot, Os::Other),
            ("Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)", Bot, Os::Other),
            ("Mozilla/5.0 (Mobile; Windows Phone 8.1; Android 4.0; Trident/7.0; rv:11.0) like iPhone OS 7_0_3 Mac OS X", Other, Os::Windows),
            ("Wget/1.21.4", Other, Os::Other),
            ("", Other, Os::Other),
        ] {
            assert_kind(user_agent, browser, os);
        }
    }

    #[test]
    fn a_header_of_64_kib_is_judged_by_its_beginning() {
        let mut header = vec![b'x'; 64 * 1024];
        header[1_000..1_008].copy_from_slice(b"firefox/");
        let visitor = Visitor::from_user_agent(&header);
        assert_eq!(visitor.browser, Browser::Other);
        header[..8].copy_from_slice(b"Firefox/");
        let visitor = Visitor::from_user_agent(&header);
        assert_eq!(visitor.browser, Browser::Firefox);
    }

    #[test]
    fn bytes_that_are_not_utf_8_do_not_matter() {
        let visitor = Visitor::from_user_agent(b"\xff\xfe\x00 Firefox/128 (\xc3\x28 Linux)");
        assert_eq!(
            visitor,
            Visitor {
                browser: Browser::Firefox,
                os: Os::Linux
            }
        );
    }

    #[test]
    fn slugs_are_unique_and_reversible() {
        for browser in Browser::ALL {
            assert_eq!(Browser::from_slug(browser.slug()), Some(*browser));
        }
        for os in Os::ALL {
            assert_eq!(Os::from_slug(os.slug()), Some(*os));
        }
    }

    proptest! {
        #[test]
        fn anything_is_classified(header in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let visitor = Visitor::from_user_agent(&header);
            prop_assert!(Browser::ALL.contains(&visitor.browser));
            prop_assert!(Os::ALL.contains(&visitor.os));
        }
    }
}
