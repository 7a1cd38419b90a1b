//! Pages that say why there is no other page.

use crate::asset;
use crate::html::Html;

/// The start of every document, up to and including its title and icon.
pub fn head(title: &str) -> Html {
    let mut html = Html::new();
    html.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
        .raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
        .raw("<meta name=\"color-scheme\" content=\"light dark\">\n")
        .raw("<meta name=\"theme-color\" media=\"(prefers-color-scheme: light)\" content=\"#f4f6f8\">\n")
        .raw("<meta name=\"theme-color\" media=\"(prefers-color-scheme: dark)\" content=\"#0c1620\">\n")
        .raw("<title>")
        .text(title)
        .raw("</title>\n<link rel=\"icon\" type=\"image/svg+xml\" href=\"")
        .text(asset::ICON.path)
        .raw("?v=")
        .text(asset::ICON.version())
        .raw("\">\n<link rel=\"stylesheet\" href=\"")
        .text(asset::STYLE.path)
        .raw("?v=")
        .text(asset::STYLE.version())
        .raw("\">\n");
    html
}

/// A short page: a status, what it means, and the way back.
pub fn page(status: u16, title: &'static str, message: &'static str) -> String {
    let mut html = head(title);
    if status == 503 {
        // What `Retry-After` says, for a person who is only looking.
        html.raw("<meta http-equiv=\"refresh\" content=\"2\">\n");
    }
    html.raw(
        "</head>\n<body>\n<main id=\"main\" class=\"notice-page\">\n<p class=\"status-code\">",
    )
    .text(status)
    .raw("</p>\n<h1 id=\"notice\" data-status=\"")
    .text(status)
    .raw("\">")
    .raw(title)
    .raw("</h1>\n<p>")
    .raw(message)
    .raw("</p>\n<p><a href=\"/\">To the front page</a></p>\n</main>\n</body>\n</html>\n");
    html.into_string()
}
