//! Components that write, through provider instances that push what they wrote.

use std::collections::BTreeSet;

use anyhow::{bail, ensure, Context as _, Result};
use bytes::Bytes;
use replica::region::Author;
use replica::store::{Op, Outcome, Row, Session, Write, Written};
use replica::vector::VersionVector;
use replica::wire::{self, Envelope, Message, Push};
use replica::Event;

use crate::check::entries;
use crate::history::Done;
use crate::site::take;
use crate::world::{Happening, World, QUIET_MS};

impl World {
    pub(crate) fn refresh(&mut self, site: usize) -> Result<()> {
        self.at(500, Happening::Refresh(site));
        let place = &mut self.sites[site];
        let mut session = Session::new(place.run_id());
        let loaded = take(&self.interpreter, &mut place.data, &mut session, Op::Load)?;
        if let Outcome::Loaded(loaded) = loaded {
            // What plain links wrote is adopted before anybody writes on it.
            let known = session.author().is_some() && !loaded.plain;
            place.client = known.then_some((session, loaded.vector));
        }
        Ok(())
    }

    /// The keys: counters of which nothing else is done, registers, and keys of which everything is, in two sets: what
    /// is written once everything is mended must not hide what became of the writes before.
    fn write(&mut self) -> Write {
        self.values += 1;
        let value = |n: u64| Bytes::from(format!("v{n}"));
        let set = if self.failing { "" } else { "-late" };
        match self.rng.u32(0..100) {
            0..35 => Write::Increment(
                format!("count{}{set}", self.rng.u8(0..4)),
                self.rng.u64(0..3),
            ),
            35..55 => Write::Set(format!("reg{}{set}", self.rng.u8(0..6)), value(self.values)),
            55..65 => Write::Delete(format!("reg{}{set}", self.rng.u8(0..6))),
            65..73 => {
                let number = self.rng.u64(0..1_000).to_string();
                Write::Set(format!("mix{}{set}", self.rng.u8(0..4)), number.into())
            }
            73..76 => Write::Set(format!("mix{}{set}", self.rng.u8(0..4)), value(self.values)),
            76..84 => Write::Delete(format!("mix{}{set}", self.rng.u8(0..4))),
            84..92 => Write::Increment(
                format!("mix{}{set}", self.rng.u8(0..4)),
                self.rng.u64(0..50),
            ),
            92..95 => Write::Delete(format!("once{}", self.rng.u64(1..=self.values))),
            95..96 => Write::Set(
                format!("mix{}{set}", self.rng.u8(0..4)),
                u64::MAX.to_string().into(),
            ),
            _ => Write::Set(format!("once{}", self.values), value(self.values)),
        }
    }

    pub(crate) fn client(&mut self, site: usize) -> Result<()> {
        let pause = self.rng.u64(50..800);
        self.at(pause, Happening::Client(site));
        let place = &self.sites[site];
        let away = self.failing && place.quiet && self.now > QUIET_MS;
        let quiet = place.paused_until > self.now || !self.writing || away;
        if quiet {
            return Ok(());
        }
        let writes: Vec<Write> = if self.rng.u8(0..10) == 0 {
            let late = if self.failing { "" } else { "-late" };
            let set = |n: u64| Write::Set(format!("reg{}{late}", n % 6), format!("m{n}").into());
            (0..3).map(|n| set(self.rng.u64(0..1_000) + n)).collect()
        } else {
            vec![self.write()]
        };
        self.carry_out(site, &writes)
    }

    /// One in eight times a component writes what is about to be forgotten.
    pub(crate) fn race(&mut self, site: usize, op: &Op) -> Result<()> {
        let Op::Collect { entries, .. } = op else {
            return Ok(());
        };
        if self.rng.u8(0..8) > 0 || !self.writing {
            return Ok(());
        }
        self.values += 1;
        let value = Bytes::from(format!("v{}", self.values));
        let at = self.rng.usize(0..entries.len());
        self.carry_out(site, &[Write::Set(entries[at].0.clone(), value)])
    }

    /// Has a component of a region write, through a provider instance; nothing if the store takes no writes.
    pub fn carry_out(&mut self, site: usize, writes: &[Write]) -> Result<()> {
        let now_ms = self.clock(site).wall_ms;
        let covered = self.vector(site)?;
        let Some((mut session, seen)) = self.sites[site].client.take() else {
            return Ok(());
        };
        let op = Op::Write {
            now_ms,
            writes: writes.to_vec(),
        };
        let place = &mut self.sites[site];
        let outcome = take(&self.interpreter, &mut place.data, &mut session, op)?;
        let author = session.author().cloned().context("a loaded session")?;
        match outcome {
            Outcome::Written(written) => {
                self.done(now_ms, &author, writes, &written, &covered)?;
                // One in fifty clients never hears, and its provider instance dies before the push.
                let dies = self.failing && self.rng.u8(0..50) == 0;
                if !dies {
                    self.told(site, writes, &written)?;
                    self.push(site, author, &seen, writes, written);
                }
            }
            // The provider instance looks again at its next refresh.
            Outcome::Stale | Outcome::Joining => return Ok(()),
            Outcome::NotANumber | Outcome::Overflow => {}
            other => bail!("a write answered {other:?}"),
        }
        self.sites[site].client = Some((session, seen));
        Ok(())
    }

    fn done(
        &mut self,
        wall_ms: u64,
        author: &Author,
        writes: &[Write],
        written: &[Written],
        covered: &VersionVector,
    ) -> Result<()> {
        ensure!(writes.len() == written.len(), "an answer to every write");
        for (write, written) in writes.iter().zip(written) {
            let (Some(seq), Some(entry)) = (written.seq, &written.entry) else {
                continue;
            };
            if let Write::Increment(key, delta) = write {
                *self.history.attempted.entry(key.clone()).or_default() += delta;
            }
            self.history.done.push(Done {
                key: key(write).to_owned(),
                author: author.clone(),
                seq,
                entry: entry.clone(),
                is_register: !matches!(write, Write::Increment(..)),
                wall_ms,
                vector: covered.clone(),
                uncertain: false,
            });
        }
        Ok(())
    }

    fn told(&mut self, site: usize, writes: &[Write], written: &[Written]) -> Result<()> {
        for (write, written) in writes.iter().zip(written) {
            let Write::Increment(key, delta) = write else {
                continue;
            };
            if !key.starts_with("count") {
                continue;
            }
            *self.history.counted.entry(key.clone()).or_default() += delta;
            let sum = written.sum.context("a sum after an increment")?;
            let floor = self.floors.entry((site, key.clone())).or_default();
            ensure!(
                sum >= *floor + delta,
                "{key} fell from {floor} to {sum} in {}",
                self.sites[site].region
            );
            *floor = sum;
        }
        Ok(())
    }

    fn push(
        &mut self,
        site: usize,
        author: Author,
        seen: &VersionVector,
        writes: &[Write],
        written: Vec<Written>,
    ) {
        let numbers: Vec<u64> = written.iter().filter_map(|written| written.seq).collect();
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
            return;
        };
        let entries = writes
            .iter()
            .zip(written)
            .filter_map(|(write, written)| Some((key(write).to_owned(), written.entry?)))
            .collect();
        let mut push = Push {
            author,
            first: *first,
            last: *last,
            seen: seen.clone(),
            ack: false,
            entries,
        };
        if let Some(bug) = self.bug {
            bug.push(&mut push);
        }
        let bytes = wire::encode(&Envelope {
            group: "sim".to_owned(),
            from: self.sites[site].region.clone(),
            message: Message::Push(push),
        });
        self.send(site, None, &bytes);
    }

    /// Has what lies in a store adopted. One in four times the provider dies half-way.
    pub(crate) fn adopt(&mut self, site: usize) -> Result<()> {
        let dies = self.failing && self.rng.u8(0..4) == 0;
        let mut keys: BTreeSet<String> = self.sites[site].data.visible().into_keys().collect();
        keys.extend(self.sites[site].data.hash("@kv/r/meta").into_keys());
        let take_in = if dies {
            self.rng.usize(0..=keys.len())
        } else {
            keys.len()
        };
        let keys: Vec<String> = keys.into_iter().take(take_in).collect();
        let before = (self.vector(site)?, entries(self, site)?);
        let now_ms = self.clock(site).wall_ms;
        let place = &mut self.sites[site];
        let op = Op::Adopt { now_ms, keys };
        take(&self.interpreter, &mut place.data, &mut place.session, op)?;
        self.note_adopted(site, before)?;
        if dies {
            self.count_fault(site, "adoption interrupted");
            let life = self.sites[site].life;
            self.at(0, Happening::Die(site, life));
            return Ok(());
        }
        self.step(site, Event::Adopted)
    }

    /// What adoption made of the values that lay there.
    fn note_adopted(
        &mut self,
        site: usize,
        (covered, before): (VersionVector, Vec<Row>),
    ) -> Result<()> {
        let author = self.sites[site].session.author().cloned();
        let author = author.context("a loaded session")?;
        for row in entries(self, site)? {
            let earlier = before.iter().find(|earlier| earlier.key == row.key);
            if earlier.is_some_and(|earlier| earlier.version == row.version) {
                continue;
            }
            let own = |of: &Author, seq: u64| *of == author && !covered.covers(of, seq);
            let register = row.entry.register.as_ref();
            let set = register.filter(|register| own(&register.stamp.author, register.seq));
            let counted = row.entry.shards.iter();
            let mut counted = counted.filter(|(id, shard)| own(&id.author, shard.seq));
            let seq = match set {
                Some(register) => register.seq,
                None => counted.next().context("a write that is new")?.1.seq,
            };
            self.history.done.push(Done {
                key: row.key,
                author: author.clone(),
                seq,
                is_register: set.is_some(),
                entry: row.entry,
                wall_ms: 0,
                // An oldest write saw nothing.
                vector: match earlier {
                    Some(_) => covered.clone(),
                    None => VersionVector::default(),
                },
                uncertain: false,
            });
        }
        Ok(())
    }

    /// What components write through links in plain mode, for which the provider leaves a mark.
    pub(crate) fn write_plain(&mut self, site: usize) {
        for _ in 0..self.rng.u8(1..6) {
            self.values += 1;
            let number = self.rng.u8(0..4);
            let (mix, value) = (format!("mix{number}"), format!("p{}", self.values));
            let counter = format!("count{number}");
            let choice = self.rng.u8(0..10);
            let grow = self.rng.u64(1..9);
            let data = &mut self.sites[site].data;
            let entries = data.hash("@kv/r/meta");
            match choice {
                // A counter that nobody has replicated here would be a value of its own, and not a part of the others'.
                0..5 if !entries.contains_key(&counter) => {}
                0..5 => {
                    let shown = data.get(&counter).unwrap_or(b"0");
                    let shown = std::str::from_utf8(shown).unwrap_or_default();
                    let sum = shown.parse::<u64>().unwrap_or_default() + grow;
                    data.set(&counter, sum.to_string().as_bytes());
                    *self.history.attempted.entry(counter).or_default() += grow;
                }
                5 => data.set(&mix, value.as_bytes()),
                6 => data.set(&mix, grow.to_string().as_bytes()),
                7 => data.remove(&mix),
                8 => data.set(&format!("reg{number}"), value.as_bytes()),
                _ => data.set(&value, b"only plain"),
            }
        }
        self.sites[site].data.set("@kv/r/plain", b"1");
    }
}

fn key(write: &Write) -> &str {
    match write {
        Write::Set(key, _) | Write::Delete(key) | Write::Increment(key, _) => key,
    }
}
