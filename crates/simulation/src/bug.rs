//! What is broken on purpose, to see that the checks notice.
//!
//! The engine and the script in the product carry no trace of these: a bug changes the script's text, the
//! configuration, or what passes between the engine and the world.

use bytes::Bytes;
use replica::region::Incarnation;
use replica::store::{Commit, Op};
use replica::vector::VersionVector;
use replica::wire::{self, Message, Push};
use replica::Effect;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // `description` says what each is.
pub enum Bug {
    NoClockMark,
    StampBelowSeen,
    RestartWithoutFence,
    NoShardBirth,
    ForgetsBaseline,
    BaselineOfNothing,
    BlindCommit,
    CursorAhead,
    CoversTooEarly,
    CollectsEarly,
    CollectsLive,
    PushesDeltas,
    PushesWithoutPredecessor,
    ClaimsToHaveSeen,
    SameIncarnation,
    ForgetsLog,
    SkipsPagesRows,
    IgnoresPlain,
    NoBeat,
    NoEarlierLives,
    ReadsTrimmedLog,
    EndsTooEarly,
    ScansOn,
    ForgetsSince,
}

impl Bug {
    /// Every planted bug.
    pub const ALL: [Self; 24] = [
        Self::NoClockMark,
        Self::StampBelowSeen,
        Self::RestartWithoutFence,
        Self::NoShardBirth,
        Self::ForgetsBaseline,
        Self::BaselineOfNothing,
        Self::BlindCommit,
        Self::CursorAhead,
        Self::CoversTooEarly,
        Self::CollectsEarly,
        Self::CollectsLive,
        Self::PushesDeltas,
        Self::PushesWithoutPredecessor,
        Self::ClaimsToHaveSeen,
        Self::SameIncarnation,
        Self::ForgetsLog,
        Self::SkipsPagesRows,
        Self::IgnoresPlain,
        Self::NoBeat,
        Self::NoEarlierLives,
        Self::ReadsTrimmedLog,
        Self::EndsTooEarly,
        Self::ScansOn,
        Self::ForgetsSince,
    ];

    /// What is wrong with it, in words.
    pub fn description(self) -> &'static str {
        match self {
            Self::NoClockMark => "the clock mark is not kept, so a clock that steps back makes later writes look older",
            Self::StampBelowSeen => "a write on an entry from a clock ahead gets a stamp below the entry's",
            Self::RestartWithoutFence => "a store that was restarted is written to before anybody asked what it forgot",
            Self::NoShardBirth => "a counter that was collected and used again counts in a shard of the same name",
            Self::ForgetsBaseline => "a set does not note what it replaced, so what was counted before is added to it",
            Self::BaselineOfNothing => "a delete does not note what it replaced, so a deleted counter comes back",
            Self::BlindCommit => "merged entries replace what a component wrote meanwhile",
            Self::CursorAhead => "a cursor moves past entries that were not read",
            Self::CoversTooEarly => "the first page of a pull raises the vector to what the peer covers",
            Self::CollectsEarly => "a tombstone is collected before every member covers it",
            Self::CollectsLive => "an entry written meanwhile is collected with its tombstone",
            Self::PushesDeltas => "a push carries what was added instead of the shard's count",
            Self::PushesWithoutPredecessor => "a push does not say which write came before it",
            Self::ClaimsToHaveSeen => "a push claims that its region covers what it does not",
            Self::SameIncarnation => "a region takes the same incarnation again after a loss",
            Self::ForgetsLog => "a merged entry is not put into the change log, so nobody gets it through here",
            Self::SkipsPagesRows => "an entry on a page is skipped",
            Self::IgnoresPlain => "what links in plain mode wrote is not adopted",
            Self::NoBeat => "a region that writes nothing takes no number, so an old copy of its disk passes for the present one",
            Self::NoEarlierLives => "a store is named without its earlier lives, so whoever is filled from an old copy of it never hears of that",
            Self::ReadsTrimmedLog => "whoever asks from before the beginning of the change log is given what is left of it",
            Self::EndsTooEarly => "a list of all keys counts as read when the first of them are in it",
            Self::ScansOn => "a list of all keys is gone on with in another process, which goes through them in another order",
            Self::ForgetsSince => "what changed while all keys were listed does not follow their list",
        }
    }

    /// The script with the bug in it.
    ///
    /// # Panics
    ///
    /// When the script has changed so that the bug no longer fits on it.
    pub fn script(self, script: &str) -> String {
        let (from, to) = match self {
            Self::NoClockMark => (
                "if now > mark then mark, counter = now, 0 else counter = counter + 1 end",
                "mark, counter = now, 0",
            ),
            Self::StampBelowSeen => (
                "local later, n_later = tonumber(ms), tonumber(n) + 1",
                "local later, n_later = 0, 0",
            ),
            Self::RestartWithoutFence => (
                "if op ~= 'load' and (op ~= 'mint' or known ~= incarnation) then return {'stale'} end",
                "if op ~= 'load' and (known ~= incarnation or (op ~= 'mint' and op ~= 'write')) then return {'stale'} end",
            ),
            Self::NoShardBirth => (
                "local shard = own .. '.' .. number .. ':'",
                "local shard = own .. '.1:'",
            ),
            Self::ForgetsBaseline => (
                "if shards ~= '' then",
                "if shards ~= '' and kind == 'd' then",
            ),
            Self::BaselineOfNothing => (
                "if shards ~= '' then",
                "if shards ~= '' and kind == 's' then",
            ),
            Self::BlindCommit => ("return {'conflict', whole(n)}", ""),
            Self::NoBeat => (
                "  seq = seq + 1\n  call('SET', SEQ, whole(seq))\n  return {'ok', whole(seq)}",
                "  return {'joining'}",
            ),
            Self::IgnoresPlain => ("elseif plain and", "elseif false and"),
            Self::CollectsLive => (
                "if call('HGET', META, ARGV[at]) == ARGV[at + 1] then",
                "if true then",
            ),
            Self::ForgetsLog => (
                "      changed[#changed + 1] = key",
                "      if old == '' then changed[#changed + 1] = key end",
            ),
            Self::ReadsTrimmedLog => (
                "  if after < base then\n",
                "  after = math.max(after, base)\n  if false then\n",
            ),
            Self::EndsTooEarly => (
                "if list == ALL and not cursor and upto",
                "if list == ALL and upto",
            ),
            Self::ScansOn => (
                "  call('UNLINK', ALL)\n  call('HDEL', STATE, 's', 'k')\n  local lineage",
                "  local lineage",
            ),
            Self::ForgetsSince => ("then upto = since end", "then upto = head end"),
            _ => return script.to_owned(),
        };
        assert!(script.contains(from), "{self:?} no longer fits the script");
        script.replace(from, to)
    }

    /// What an engine wants done, with the bug in it.
    pub fn effects(self, effects: &mut [Effect]) {
        for effect in effects {
            match effect {
                Effect::Store(_, op) => self.op(op),
                Effect::Send(_, bytes) => {
                    if let Ok(mut envelope) = wire::decode(bytes) {
                        self.message(&mut envelope.message);
                        *bytes = wire::encode(&envelope);
                    }
                }
                _ => {}
            }
        }
    }

    fn op(self, op: &mut Op) {
        let one = |wall: u64| Incarnation::try_from(wall).ok();
        match (self, op) {
            (Self::SameIncarnation, Op::Mint { incarnation, .. }) => {
                *incarnation = one(1).unwrap_or(*incarnation);
            }
            (
                Self::CursorAhead,
                Op::Commit(Commit {
                    cursor: Some((_, cursor)),
                    ..
                }),
            ) => {
                cursor.position += 3;
            }
            _ => {}
        }
    }

    fn message(self, message: &mut Message) {
        match (self, message) {
            (Self::NoEarlierLives, Message::Hello(hello)) => {
                for origin in &mut hello.origins {
                    let earlier = origin.lives.len().saturating_sub(1);
                    origin.lives.drain(..earlier);
                }
            }
            (Self::CoversTooEarly, Message::Page(page)) => {
                page.end.get_or_insert_with(|| page.seen.clone());
            }
            (Self::SkipsPagesRows, Message::Page(page)) if page.entries.len() > 3 => {
                page.entries.pop();
            }
            _ => {}
        }
    }

    /// What a region hears, with the bug in it.
    pub fn hears(self, bytes: Bytes, ours: &VersionVector) -> Bytes {
        let Ok(mut envelope) = wire::decode(&bytes) else {
            return bytes;
        };
        match (self, &mut envelope.message) {
            // Everybody seems to have what is here, so that tombstones are forgotten.
            (Self::CollectsEarly, Message::Hello(hello)) => hello.vector.merge(ours),
            _ => return bytes,
        }
        wire::encode(&envelope)
    }

    /// A component's push, with the bug in it.
    pub fn push(self, push: &mut Push) {
        match self {
            Self::PushesDeltas => {
                for (_, entry) in &mut push.entries {
                    for (id, shard) in &mut entry.shards {
                        if id.author == push.author {
                            shard.count = shard.count.min(2);
                        }
                    }
                }
            }
            Self::PushesWithoutPredecessor => push.first = 1,
            Self::ClaimsToHaveSeen => {
                push.seen = push
                    .seen
                    .iter()
                    .map(|(author, seq)| (author.clone(), seq + 5))
                    .collect();
            }
            _ => {}
        }
    }
}
