//! The three tables of visits.

use std::fmt::Display;

use crate::html::{Grouped, Html};

/// What a table is about; the attribute on its rows is what tests and the script look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Region,
    Os,
    Browser,
}

/// A line of a table.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// The code in JSON and in the row's attribute.
    pub id: &'a str,
    pub label: &'a str,
    /// Said after the label, in a quieter voice.
    pub detail: Option<&'a str>,
    pub visits: u64,
    /// Whether this is where the visitor belongs.
    pub you: bool,
}

/// Draws a table whose rows add up to `total`.
pub fn draw(subject: Subject, rows: &[Row<'_>], total: u64) -> Html {
    let mut html = Html::new();
    html.raw(match subject {
        Subject::Region => concat!(
            "<table id=\"regions\" class=\"visits\">\n<caption>Visits by region</caption>\n",
            "<thead><tr><th scope=\"col\">Region</th>"
        ),
        Subject::Os => concat!(
            "<table id=\"operating-systems\" class=\"visits\">\n",
            "<caption>Visits by operating system</caption>\n",
            "<thead><tr><th scope=\"col\">System</th>"
        ),
        Subject::Browser => concat!(
            "<table id=\"browsers\" class=\"visits\">\n<caption>Visits by browser</caption>\n",
            "<thead><tr><th scope=\"col\">Browser</th>"
        ),
    });
    html.raw("<th scope=\"col\" class=\"number\">Visits</th><th scope=\"col\" class=\"number\">Share</th></tr></thead>\n<tbody>\n");
    for row in rows {
        draw_row(&mut html, subject, row, total);
    }
    html.raw(
        "</tbody>\n<tfoot><tr><th scope=\"row\">Total</th><td class=\"number total\" data-value=\"",
    )
    .text(total)
    .raw("\">")
    .text(Grouped(total))
    .raw("</td><td></td></tr></tfoot>\n</table>\n");
    html
}

fn draw_row(html: &mut Html, subject: Subject, row: &Row<'_>, total: u64) {
    html.raw(match subject {
        Subject::Region => "<tr data-region=\"",
        Subject::Os => "<tr data-os=\"",
        Subject::Browser => "<tr data-browser=\"",
    });
    html.text(row.id);
    html.raw(if row.you {
        "\" data-you=\"true\"><th scope=\"row\"><span class=\"label\">"
    } else {
        "\" data-you=\"false\"><th scope=\"row\"><span class=\"label\">"
    });
    html.text(row.label)
        .raw("</span> <span class=\"detail\">")
        .text(row.detail.unwrap_or_default())
        .raw("</span>");
    if row.you {
        html.raw(" <span class=\"you\">you</span>");
    }
    if subject == Subject::Region {
        // Filled by the script: the page itself asks nobody about replication.
        html.raw(" <span class=\"sync\" data-state=\"\" data-behind=\"\" hidden></span>");
    }
    html.raw("</th><td class=\"number count\" data-value=\"")
        .text(row.visits)
        .raw("\">")
        .text(Grouped(row.visits))
        .raw("</td><td class=\"number share\"><svg class=\"bar\" viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect width=\"")
        .text(Percent::of(row.visits, total))
        .raw("\" height=\"6\"/></svg><span class=\"percent\">")
        .text(Percent::of(row.visits, total))
        .raw("%</span></td></tr>\n");
}

/// A share of a total in tenths of a per cent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Percent(u128);

impl Percent {
    fn of(part: u64, total: u64) -> Self {
        let total = u128::from(total.max(1));
        // A sum that ran into the largest number can be smaller than its parts together.
        Self(((u128::from(part) * 1_000 + total / 2) / total).min(1_000))
    }
}

impl Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0 / 10, self.0 % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_and_never_above_the_whole() {
        for (part, total, text) in [
            (0, 0, "0.0"),
            (1, 3, "33.3"),
            (2, 3, "66.7"),
            (1, 1, "100.0"),
            (u64::MAX, u64::MAX, "100.0"),
            (5, 4, "100.0"),
        ] {
            assert_eq!(Percent::of(part, total).to_string(), text);
        }
    }

    #[test]
    fn a_hostile_region_code_stays_text() {
        let row = Row {
            id: "\"><script>",
            label: "\"><script>",
            detail: Some("<b>&'"),
            visits: 1,
            you: true,
        };
        let html = draw(Subject::Region, &[row], 1).into_string();
        assert!(!html.contains("<script>") && !html.contains("<b>"));
        assert!(html.contains("data-region=\"&quot;&gt;&lt;script&gt;\""));
    }
}
