//! One region: a store, the provider's engine, and a component that writes.

use std::collections::VecDeque;

use anyhow::{Context as _, Result};
use replica::region::Region;
use replica::store::{Op, Outcome, Session, Step};
use replica::vector::VersionVector;
use replica::{Config, Engine, Token};

use crate::valkey::{Data, Interpreter};

/// One region of a world.
#[derive(Debug)]
pub struct Site {
    /// Its name.
    pub region: Region,
    /// Whether its components write nothing after a while, as long as things go wrong.
    pub quiet: bool,
    /// Its disk.
    pub data: Data,
    /// The server process; another one after every restart.
    pub run: u64,
    /// The provider; `None` while it is not running.
    pub engine: Option<Engine>,
    /// The provider's view of the store.
    pub session: Session,
    /// Counts the provider's lives, so that nothing of an earlier one comes in.
    pub life: u64,
    /// Nothing happens here before this time: the process is stopped.
    pub paused_until: u64,
    /// Whether components are served.
    pub serving: bool,
    /// Steps in the store that the provider asked for, in order.
    pub steps: VecDeque<(Token, Op)>,
    /// When the last of them is carried out.
    pub busy_until: u64,
    /// What its wall clock is off by.
    pub clock_ms: i64,
    /// Copies of the disk, as a backup takes them.
    pub dumps: Vec<Data>,
    /// The provider instance that a component writes through, and what it knew of the vector.
    pub client: Option<(Session, VersionVector)>,
}

impl Site {
    /// A region with an empty disk and no provider.
    pub fn new(region: Region, quiet: bool) -> Self {
        Self {
            region,
            quiet,
            data: Data::default(),
            run: 1,
            engine: None,
            session: Session::default(),
            life: 0,
            paused_until: 0,
            serving: false,
            steps: VecDeque::new(),
            busy_until: 0,
            clock_ms: 0,
            dumps: Vec::new(),
            client: None,
        }
    }

    /// The `run_id` of the server.
    pub fn run_id(&self) -> String {
        format!("{}-{}", self.region, self.run)
    }

    /// Starts a provider that knows nothing yet.
    pub fn start(&mut self, config: Config) {
        self.life += 1;
        self.steps.clear();
        self.paused_until = 0;
        self.session = Session::new(self.run_id());
        self.engine = Some(Engine::new(config));
    }

    /// Kills the provider. Nothing of what it had under way is reported any more.
    pub fn stop(&mut self) {
        self.life += 1;
        self.engine = None;
        self.serving = false;
        self.steps.clear();
    }

    /// Ends the server process, and with it the provider. Connections end with the process that they lead to; whoever
    /// connects again asks for its name.
    pub fn restart_store(&mut self) {
        self.run += 1;
        self.client = None;
        self.stop();
    }

    /// Whether the store is making a list of all its keys for whoever asks from before its change log's beginning.
    pub fn is_listing(&self) -> bool {
        self.data.hash("@kv/r/state").contains_key("k")
    }

    /// What the store covers, by its own word.
    pub fn vector(&self) -> Result<VersionVector> {
        let authors = self.data.hash("@kv/r/authors");
        let mut covered = self.data.hash("@kv/r/vector");
        let life = self.data.parts("@kv/r/life");
        if let [_, _, _, own] = &life[..] {
            let seq = self.data.parts("@kv/r/seq").concat();
            covered.insert(own.clone(), seq);
        }
        covered
            .iter()
            .map(|(number, seq)| {
                let author = authors.get(number).context("an author of this number")?;
                Ok((author.parse()?, seq.parse()?))
            })
            .collect()
    }
}

/// Takes a step in a store.
pub fn take(
    interpreter: &Interpreter,
    data: &mut Data,
    session: &mut Session,
    op: Op,
) -> Result<Outcome> {
    let mut step = Step::new(op);
    loop {
        let value = interpreter.run(data, &step.call(session))?;
        if let Some(outcome) = step.accept(session, value) {
            return Ok(outcome);
        }
    }
}
