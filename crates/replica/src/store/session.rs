//! Steps as script arguments, and replies as outcomes.

use bytes::Bytes;

use super::op::{Op, Outcome};
use super::{reply, request};
use crate::blob::Authors;
use crate::region::{Author, Incarnation};

/// A reply of the server, as far as the script uses them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Bytes(Bytes),
    /// A list.
    Array(Vec<Value>),
}

/// What a user of a store has to know of it: which process, which incarnation, which author numbers.
///
/// Shared by everybody in a process who uses that store. Begins with [`Op::Load`].
#[derive(Clone, Debug, Default)]
pub struct Session {
    run: String,
    author: Option<Author>,
    authors: Authors,
}

impl Session {
    /// A session with the server process of this `run_id`.
    pub fn new(run: String) -> Self {
        Self {
            run,
            ..Self::default()
        }
    }

    /// The server process that the session was opened with.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Who writes here, once the store was loaded.
    pub fn author(&self) -> Option<&Author> {
        self.author.as_ref()
    }

    fn incarnation(&self) -> Option<Incarnation> {
        self.author.as_ref().map(|author| author.incarnation)
    }

    fn follow(&mut self, op: &Op, outcome: &Outcome) {
        match (op, outcome) {
            (
                Op::Mint {
                    region,
                    incarnation,
                    ..
                },
                Outcome::Done,
            ) => {
                self.author = Some(Author {
                    region: region.clone(),
                    incarnation: *incarnation,
                });
            }
            (Op::Load, Outcome::Loaded(loaded)) => {
                self.author = loaded.identity.as_ref().map(|is| is.author.clone());
            }
            _ => {}
        }
    }
}

/// One step under way.
///
/// Translates a step to script arguments and back; the caller only carries them to the server. It may
/// take more than one call, when an author has no number in the store yet, or one that another
/// instance gave:
///
/// ```text
/// loop {
///     let value = server.run(SCRIPT, step.call(&session));
///     if let Some(outcome) = step.accept(&mut session, value) { return outcome }
/// }
/// ```
///
/// No call is repeated: what happened happens once.
#[derive(Debug)]
pub struct Step {
    op: Op,
    next: Next,
}

#[derive(Debug)]
enum Next {
    Run,
    Number(Vec<Author>),
    /// Reads the author numbers, to understand a reply that is already here.
    Understand(Value),
}

impl Step {
    /// A step to take.
    pub fn new(op: Op) -> Self {
        Self {
            op,
            next: Next::Run,
        }
    }

    /// The arguments of the next call (`ARGV`; there are no keys).
    pub fn call(&mut self, session: &Session) -> Vec<Bytes> {
        if let Next::Run = self.next {
            let unknown = request::unknown_authors(&self.op, &session.authors);
            if !unknown.is_empty() {
                self.next = Next::Number(unknown);
            }
        }
        let (name, arguments) = match &self.next {
            Next::Run => (
                request::name(&self.op),
                request::arguments(&self.op, &session.authors),
            ),
            Next::Number(authors) => (
                "authors",
                authors.iter().map(|name| name.to_string().into()).collect(),
            ),
            Next::Understand(_) => ("load", Vec::new()),
        };
        let incarnation = session
            .incarnation()
            .map_or(String::new(), |i| i.to_string());
        let mut call = vec![
            Bytes::from_static(name.as_bytes()),
            session.run.clone().into(),
            incarnation.into(),
        ];
        call.extend(arguments);
        call
    }

    /// The outcome; `None` when the step takes another call.
    pub fn accept(&mut self, session: &mut Session, value: Value) -> Option<Outcome> {
        match std::mem::replace(&mut self.next, Next::Run) {
            Next::Number(names) => match reply::numbers(&value) {
                Ok(numbers) if numbers.len() == names.len() => {
                    for (number, name) in numbers.into_iter().zip(names) {
                        session.authors.insert(number, name);
                    }
                    None
                }
                Ok(_) => Some(reply::unexpected()),
                Err(outcome) => Some(outcome),
            },
            Next::Understand(earlier) => match reply::authors(&value) {
                Ok(authors) => {
                    session.authors = authors;
                    Some(self.finish(session, &earlier).unwrap_or_else(|| {
                        Outcome::Failed("the store holds an author that it does not list".into())
                    }))
                }
                Err(outcome) => Some(outcome),
            },
            Next::Run => {
                if self.op == Op::Load {
                    match reply::authors(&value) {
                        Ok(authors) => session.authors = authors,
                        Err(outcome) => return Some(outcome),
                    }
                }
                let outcome = self.finish(session, &value);
                if outcome.is_none() {
                    self.next = Next::Understand(value);
                }
                outcome
            }
        }
    }

    /// The outcome that a reply means; `None` when it names an author whose number is not known here.
    fn finish(&self, session: &mut Session, value: &Value) -> Option<Outcome> {
        let outcome = reply::outcome(&self.op, value, &session.authors)?;
        session.follow(&self.op, &outcome);
        Some(outcome)
    }
}
