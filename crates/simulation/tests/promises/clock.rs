//! A store's clock: whatever the wall clock does and whatever is heard, it goes on.

use proptest::prelude::*;
use replica::clock::Hlc;
use replica::store::{Commit, Op, Outcome};

use super::regions::{set, Regions};

/// What a clock lives through.
#[derive(Clone, Debug)]
enum Event {
    /// A component writes at this wall time, in milliseconds.
    Write(u64),
    /// A stamp is heard of, from a clock that may be trusted.
    Heard(Hlc),
}

fn event() -> impl Strategy<Value = Event> {
    // Close together, so that many stand still, go back or meet.
    let wall = || prop_oneof![8 => 1_000_u64..1_006, 1 => 0_u64..1 << 50];
    let heard = (wall(), 0_u32..4).prop_map(|(wall_ms, counter)| Hlc { wall_ms, counter });
    prop_oneof![wall().prop_map(Event::Write), heard.prop_map(Event::Heard)]
}

#[test]
fn a_stamp_is_later_than_all_that_was_written_or_heard_of_before_and_not_before_its_wall_time() {
    let empty = Regions::new(&["fra/1"]);
    let cases = ProptestConfig::with_cases(10_000);
    proptest!(cases, |(events in proptest::collection::vec(event(), 1..10))| {
        let mut regions = empty.clone();
        let mut latest = Hlc::default();
        for (step, event) in events.into_iter().enumerate() {
            match event {
                Event::Write(now_ms) => {
                    // Another key each time: a key's own stamp is another reason to be later.
                    let key = format!("key{step}");
                    let Outcome::Written(written) = regions.attempt(0, now_ms, vec![set(&key, "x")]) else {
                        panic!("a write that is refused");
                    };
                    let entry = written[0].entry.clone().unwrap();
                    let at = entry.register.unwrap().stamp.at;
                    prop_assert!(at > latest, "{at} after {latest}");
                    prop_assert!(at.wall_ms >= now_ms);
                    latest = at;
                }
                Event::Heard(mark) => {
                    let commit = Commit { mark, ..Commit::default() };
                    prop_assert_eq!(regions.take(0, Op::Commit(commit)), Outcome::Done);
                    latest = latest.max(mark);
                }
            }
        }
    });
}
