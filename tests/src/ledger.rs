//! Visitors who keep the edge busy, and the book they keep of its answers.
//!
//! The book decides whether a fault lost anything: what the store counted in the end must lie
//! between the visits that were acknowledged and the attempts that the edge made for them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lattice::edge::EdgeStatus;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::count::Answer;
use crate::machine::{stood_still, Standstill, Watch};
use crate::stage::Running;
use crate::verdict::Verdict;
use crate::wait::{seconds, until};

/// How long any request may take, as the visitor measures it; the edge's own deadline is 1.8 s.
pub const BOUND: Duration = seconds(2);
/// How long a visitor waits for an answer before noting that there was none: longer than any
/// promise, so that a broken one shows as what it is.
const PATIENCE: Duration = seconds(20);
/// What a visitor does between two requests: look at the page.
const PAUSE: Duration = Duration::from_millis(40);

/// What a visitor got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The page, from this region: the visit is acknowledged.
    Page {
        /// Who served it.
        region: String,
        /// After how many attempts of the edge.
        attempts: u64,
    },
    /// The edge's or a region's refusal.
    Refused {
        /// The status.
        status: u16,
        /// Whether it says when to come back.
        retry_after: bool,
    },
    /// No answer at all.
    Broken(String),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When it was sent, from the start of the load.
    pub at: Duration,
    /// How long the answer took, its body included.
    pub took: Duration,
    /// The visitor's home region.
    pub home: String,
    /// What came of it.
    pub outcome: Outcome,
}

type Book = Arc<Mutex<Vec<Entry>>>;

/// Visitors at work.
#[derive(Debug)]
pub struct Load {
    book: Book,
    over: watch::Sender<bool>,
    visitors: JoinSet<()>,
    watch: Watch,
    homes: Vec<String>,
    counts: Answer,
    edge: EdgeStatus,
}

impl Load {
    /// Sends visitors to the page, through the edge, `each` of them from every region.
    pub async fn start(running: &Running, each: usize) -> Self {
        let counts = running.counts().await;
        let edge = running.status().await.edge;
        let (over, _) = watch::channel(false);
        let book = Book::default();
        let mut visitors = JoinSet::new();
        let began = Instant::now();
        let homes = running.regions();
        for home in homes.iter().flat_map(|home| vec![home.clone(); each]) {
            let visitor = Visitor {
                url: running.lattice.url(),
                home,
                began,
                book: Arc::clone(&book),
            };
            visitors.spawn(visitor.visit(over.subscribe()));
        }
        Self {
            book,
            over,
            visitors,
            watch: Watch::start(began),
            homes,
            counts,
            edge,
        }
    }

    /// Two visitors from every region, who have got a few pages each before something happens and come for as long as it
    /// does.
    pub async fn during(running: &Running, what: impl AsyncFnOnce(&Self)) -> Ledger {
        let load = Self::start(running, 2).await;
        load.pages(5).await;
        what(&load).await;
        load.finish(running).await
    }

    /// Waits until `more` requests have been answered from now on, well or badly.
    pub async fn answers(&self, more: usize) {
        let target = self.entries().len() + more;
        until(&format!("{more} more answers"), seconds(120), || async {
            let now = self.entries().len();
            (now >= target)
                .then_some(())
                .ok_or(format!("{now} of {target}"))
        })
        .await;
    }

    /// Waits until every region's visitors have got `more` pages each from now on.
    pub async fn pages(&self, more: usize) {
        let from = self.entries().len();
        until(
            &format!("{more} more pages everywhere"),
            seconds(120),
            || async {
                let mut got: BTreeMap<String, usize> =
                    self.homes.iter().map(|home| (home.clone(), 0)).collect();
                for entry in &self.entries()[from..] {
                    if matches!(entry.outcome, Outcome::Page { .. }) {
                        *got.entry(entry.home.clone()).or_default() += 1;
                    }
                }
                got.values()
                    .all(|pages| *pages >= more)
                    .then_some(())
                    .ok_or(format!("{got:?}"))
            },
        )
        .await;
    }

    /// Waits until a visitor from `home` got the page from `region`, from now on.
    pub async fn served(&self, home: &str, region: &str) {
        let from = self.entries().len();
        until(&format!("a page of {region} for {home}"), seconds(30), || async {
            let entries = self.entries();
            let served = |entry: &&Entry| {
                entry.home == home
                    && matches!(&entry.outcome, Outcome::Page { region: by, .. } if by == region)
            };
            entries[from..].iter().find(served).map(|_| ()).ok_or("not yet".to_owned())
        })
        .await;
    }

    /// What has been written so far.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.book
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Lets the visitors finish and closes the book. The store has to be reachable.
    pub async fn finish(mut self, running: &Running) -> Ledger {
        self.over.send_replace(true);
        let visitors = self.visitors.len();
        while let Some(visitor) = self.visitors.join_next().await {
            visitor.expect("a visitor that does not panic");
        }
        let edge = running.status().await.edge;
        let counts = running.counts().await;
        let attempts = |edge: &EdgeStatus| -> BTreeMap<String, u64> {
            edge.regions
                .iter()
                .map(|region| (region.region.clone(), region.attempts))
                .collect()
        };
        let entries = self.entries();
        let ledger = Ledger {
            entries,
            visitors,
            standstills: self.watch.end(),
            counted: grown(&self.counts.by_region(), &counts.by_region()),
            attempts: grown(&attempts(&self.edge), &attempts(&edge)),
            attempts_total: edge.attempts_total - self.edge.attempts_total,
        };
        eprint!("{ledger}");
        ledger
    }
}

fn grown(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let growth = |(region, after): (&String, &u64)| {
        let before = before.get(region).copied().unwrap_or_default();
        assert!(
            *after >= before,
            "the count of {region} fell from {before} to {after}"
        );
        (region.clone(), after - before)
    };
    after.iter().map(growth).collect()
}

struct Visitor {
    url: String,
    home: String,
    began: Instant,
    book: Book,
}

impl Visitor {
    async fn visit(self, over: watch::Receiver<bool>) {
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .build()
            .expect("a client");
        while !*over.borrow() {
            let sent = Instant::now();
            let outcome = self.load_page(&client).await;
            let entry = Entry {
                at: sent - self.began,
                took: sent.elapsed(),
                home: self.home.clone(),
                outcome,
            };
            self.book
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(entry);
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn load_page(&self, client: &reqwest::Client) -> Outcome {
        let request = client.get(&self.url).header("x-home-region", &self.home);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Outcome::Broken(format!("{error:?}")),
        };
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            Some(value.to_str().ok()?.to_owned())
        };
        let status = response.status().as_u16();
        let region = header("x-served-by").unwrap_or_default();
        let attempts = header("x-edge-attempts").and_then(|text| text.parse().ok());
        let retry_after = header("retry-after").is_some();
        match response.text().await {
            Err(error) => Outcome::Broken(format!("{error:?}")),
            Ok(_) if status != 200 => Outcome::Refused {
                status,
                retry_after,
            },
            Ok(body) if !body.contains("id=\"badge\"") || !body.trim_end().ends_with("</html>") => {
                Outcome::Broken(format!("not the whole page: {} bytes", body.len()))
            }
            Ok(_) => Outcome::Page {
                region,
                attempts: attempts.unwrap_or_default(),
            },
        }
    }
}

/// The closed book of a load.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Every request.
    pub entries: Vec<Entry>,
    /// How many visitors made them.
    pub visitors: usize,
    /// When this machine stood still meanwhile.
    pub standstills: Vec<Standstill>,
    /// What the store counted meanwhile, by region.
    pub counted: BTreeMap<String, u64>,
    /// The edge's attempts meanwhile, by region.
    pub attempts: BTreeMap<String, u64>,
    /// All of them.
    pub attempts_total: u64,
}

impl Ledger {
    /// The pages that visitors got, by the region that served them.
    #[must_use]
    pub fn acknowledged(&self) -> BTreeMap<String, u64> {
        let mut pages = BTreeMap::new();
        for entry in &self.entries {
            if let Outcome::Page { region, .. } = &entry.outcome {
                *pages.entry(region.clone()).or_default() += 1;
            }
        }
        pages
    }

    /// The requests that did not bring the page.
    #[must_use]
    pub fn failures(&self) -> Vec<&Entry> {
        let failed = |entry: &&Entry| !matches!(entry.outcome, Outcome::Page { .. });
        self.entries.iter().filter(failed).collect()
    }

    /// The request that took longest.
    #[must_use]
    pub fn slowest(&self) -> Option<&Entry> {
        self.entries.iter().max_by_key(|entry| entry.took)
    }

    /// Every request brought the page, and the slowest within `bound`.
    ///
    /// # Panics
    ///
    /// One did not, and this machine is not to blame.
    pub fn spotless(&self, bound: Duration) {
        self.judge(bound, false);
    }

    /// Every request was answered within `bound`, and those that did not bring the page brought a
    /// 503 that says when to come back.
    ///
    /// # Panics
    ///
    /// One was not or did not, and this machine is not to blame.
    pub fn civil(&self, bound: Duration) {
        self.judge(bound, true);
    }

    fn judge(&self, bound: Duration, civil: bool) {
        let (mut excused, mut broken) = (Vec::new(), Vec::new());
        for entry in &self.entries {
            let still = stood_still(&self.standstills, entry.at, entry.at + entry.took);
            match Verdict::of(entry, bound, civil, still) {
                Verdict::Kept => {}
                Verdict::Excused => excused.push((still, entry)),
                Verdict::Broken => broken.push((still, entry)),
            }
        }
        assert!(
            broken.is_empty(),
            "{self}not the page, or not within {bound:?} and the time that this machine stood still: {broken:#?}"
        );
        if !excused.is_empty() {
            crate::tell(&format!(
                "EXCUSED, as this machine stood still for so long of them: {excused:#?}"
            ));
        }
        // As many as one standstill can hit; with more, nothing is known of the lattice.
        assert!(
            excused.len() <= self.visitors,
            "{self}this machine is too busy to judge: {excused:#?}"
        );
    }

    /// Nothing acknowledged is missing, and nothing was counted that nobody asked for.
    ///
    /// # Panics
    ///
    /// That is not so.
    pub fn balanced(&self) {
        let acknowledged: u64 = self.acknowledged().values().sum();
        let counted: u64 = self.counted.values().sum();
        assert!(acknowledged > 0, "{self}");
        assert!(
            counted >= acknowledged,
            "acknowledged visits are missing\n{self}"
        );
        assert!(
            counted <= self.attempts_total,
            "visits out of nowhere\n{self}"
        );
    }

    /// [`Self::balanced`], and so is each region for itself. Not when a metadata provider fails:
    /// another region's then says where it is.
    ///
    /// # Panics
    ///
    /// That is not so.
    pub fn balanced_by_region(&self) {
        self.balanced();
        for (region, acknowledged) in &self.acknowledged() {
            let counted = self.counted.get(region).copied().unwrap_or_default();
            let attempts = self.attempts.get(region).copied().unwrap_or_default();
            assert!(
                (*acknowledged..=attempts).contains(&counted),
                "{region}: {acknowledged} acknowledged, {counted} counted, {attempts} attempts\n{self}"
            );
        }
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slowest = self
            .slowest()
            .map(|entry| (entry.took, entry.at, &entry.home));
        let still = stood_still(&self.standstills, Duration::ZERO, Duration::MAX);
        writeln!(
            f,
            "{} requests, {} failed, slowest {slowest:?}\nacknowledged {:?}\ncounted {:?}\nattempts {:?}, {} in all\nthis machine stood still {} times, {still:?} in all",
            self.entries.len(),
            self.failures().len(),
            self.acknowledged(),
            self.counted,
            self.attempts,
            self.attempts_total,
            self.standstills.len(),
        )
    }
}
