//! What clients did and saw, as they saw it, and what struck them meanwhile.
//!
//! The checkers read nothing else. A history is kept as JSON lines, so that a run that failed can be
//! judged again without running it again.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// Microseconds since the run began, by one clock for all clients.
pub type Micros = u64;

/// What a client asked of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// Add to a counter.
    Increment(u64),
    /// Write a value that no other write has.
    Set(String),
    /// Delete.
    Delete,
    /// Read.
    Get,
}

/// What came of it, as far as the client knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done. The value read, or the sum after an increment.
    Ok(Option<String>),
    /// It was not done, and never will be.
    Failed(String),
    /// It may have been done, or may be done later: no answer, or one that says so.
    Unknown(String),
}

impl Outcome {
    /// Whether the client was told that it was done.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Ok(_))
    }

    /// Whether it may have had an effect.
    #[must_use]
    pub fn may_be(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

/// One call of a client, which makes one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// Who.
    pub client: String,
    /// The region whose NATS server was asked; its provider answers while there is one.
    pub region: String,
    /// Of which key.
    pub key: String,
    /// What.
    pub call: Call,
    /// When it was sent.
    pub start: Micros,
    /// When the client knew, or gave up.
    pub end: Micros,
    /// What came of it.
    pub outcome: Outcome,
}

/// A value that lay in a region's own Valkey, noted when it was another one than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Whose Valkey.
    pub region: String,
    /// Of which key.
    pub key: String,
    /// What lay there.
    pub value: Option<String>,
    /// When it was there, or a moment before: when the answer came.
    pub at: Micros,
}

/// Who answered a call at a region's NATS server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Where it was asked.
    pub region: String,
    /// When.
    pub start: Micros,
    /// When the answer came, or was given up.
    pub end: Micros,
    /// The region whose provider answered.
    pub by: Option<String>,
}

/// A fault that was made to happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strike {
    /// What was to go wrong, and where.
    pub fault: Fault,
    /// When it was ordered.
    pub start: Micros,
    /// When it had been done.
    pub end: Micros,
}

/// How a value is read in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// In the region's Valkey itself.
    Valkey,
    /// As a component does, through the region's provider.
    Call,
}

/// A value after everything was mended and all regions were in step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// Where.
    pub region: String,
    /// How it was read.
    pub way: Way,
    /// Of which key.
    pub key: String,
    /// What is there.
    pub value: Option<String>,
}

/// A request for the page, through the edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// Where the visitor comes from.
    pub home: String,
    /// When it was sent.
    pub start: Micros,
    /// When the whole answer was there.
    pub end: Micros,
    /// The region that served the page; then the visit is acknowledged.
    pub page: Option<String>,
    /// Why there was no page.
    pub failure: Option<String>,
}

/// What the page and the edge say of the visits in the end, less what they said in the beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// Visits counted, as each region says.
    pub counted: Vec<(String, u64)>,
    /// Requests that the edge sent to regions: none can be counted more often.
    pub attempts: u64,
}

/// A history, in the order in which things were noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The regions with a store.
    pub regions: Vec<String>,
    /// Calls of the store.
    pub ops: Vec<Op>,
    /// What lay in the regions' Valkeys.
    pub views: Vec<View>,
    /// Who answered.
    pub probes: Vec<Probe>,
    /// What struck, in order.
    pub strikes: Vec<Strike>,
    /// Requests for the page.
    pub visits: Vec<Visit>,
    /// What is there in the end.
    pub last: Vec<Last>,
    /// The visits counted.
    pub books: Option<Books>,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Regions(Vec<String>),
    Op(Op),
    View(View),
    Probe(Probe),
    Strike(Strike),
    Visit(Visit),
    Last(Last),
    Books(Books),
}

impl History {
    /// Writes it as JSON lines.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write(&self, mut out: impl Write) -> std::io::Result<()> {
        let ops = self.ops.iter().cloned().map(Line::Op);
        let views = self.views.iter().cloned().map(Line::View);
        let probes = self.probes.iter().cloned().map(Line::Probe);
        let strikes = self.strikes.iter().cloned().map(Line::Strike);
        let visits = self.visits.iter().cloned().map(Line::Visit);
        let last = self.last.iter().cloned().map(Line::Last);
        let books = self.books.iter().cloned().map(Line::Books);
        let lines = std::iter::once(Line::Regions(self.regions.clone()))
            .chain(ops)
            .chain(views)
            .chain(probes)
            .chain(strikes)
            .chain(visits)
            .chain(last)
            .chain(books);
        for line in lines {
            serde_json::to_writer(&mut out, &line)?;
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    ///
    /// Those of `text`, and a line that is none of a history.
    pub fn read(text: impl BufRead) -> std::io::Result<Self> {
        let mut history = Self::default();
        for line in text.lines() {
            match serde_json::from_str(&line?)? {
                Line::Regions(regions) => history.regions = regions,
                Line::Op(op) => history.ops.push(op),
                Line::View(view) => history.views.push(view),
                Line::Probe(probe) => history.probes.push(probe),
                Line::Strike(strike) => history.strikes.push(strike),
                Line::Visit(visit) => history.visits.push(visit),
                Line::Last(last) => history.last.push(last),
                Line::Books(books) => history.books = Some(books),
            }
        }
        Ok(history)
    }
}
