//! What each operation promises: the table of `docs/replication.md`, row by row.
//!
//! The very script writes, in stores of two or three regions that know nothing of each other; then they hear of each
//! other in every order, and whatever the order was, all of them show what the table says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "promises/arithmetic.rs"]
mod arithmetic;
#[path = "promises/call.rs"]
mod call;
#[path = "promises/clock.rs"]
mod clock;
#[path = "promises/counter.rs"]
mod counter;
#[path = "promises/log.rs"]
mod log;
#[path = "promises/regions.rs"]
mod regions;
#[path = "promises/register.rs"]
mod register;

use replica::blob::{self, Authors};

use regions::Regions;

const FRA: usize = 0;
const IAD: usize = 1;
const SIN: usize = 2;

/// The table, and the tests that its rows name.
const DOCS: &str = include_str!("../../../docs/replication.md");
const TESTS: [&str; 3] = [
    include_str!("promises/call.rs"),
    include_str!("promises/counter.rs"),
    include_str!("promises/register.rs"),
];

fn two() -> Regions {
    Regions::new(&["fra/1", "iad/1"])
}

fn three() -> Regions {
    Regions::new(&["fra/1", "iad/1", "sin/1"])
}

/// A store's metadata is written by the script after a write, and by the engine after a merge; which of them it was
/// must not show.
#[test]
fn the_script_and_the_engine_write_an_entry_in_the_same_way() {
    let mut regions = Regions::new(&["fra/1"]);
    let write = |regions: &mut Regions, step: usize| match step {
        0 => regions.set(FRA, 1_000, "key", "text"),
        1 => regions.set(FRA, 1_000, "key", "10"),
        2 | 4 | 6 => drop(regions.increment(FRA, 1_000, "key", 5)),
        3 => regions.set(FRA, 1_000, "key", ""),
        _ => regions.delete(FRA, 1_000, "key"),
    };
    // Of an empty text there is no counting on.
    for step in [0, 1, 2, 3, 5, 4, 6, 1, 2, 5] {
        write(&mut regions, step);
        let entry = regions.entries(FRA)["key"].clone();
        let mut authors = Authors::default();
        for (number, name) in regions.data(FRA).hash("@kv/r/authors") {
            if let (Ok(number), Ok(author)) = (number.parse(), name.parse()) {
                authors.insert(number, author);
            }
        }
        let text = regions.data(FRA).hash("@kv/r/meta")["key"].clone();
        assert_eq!(
            blob::encode(&entry, &authors),
            Ok(text),
            "after step {step}"
        );
    }
}

#[test]
fn every_row_of_the_table_names_a_test_that_is_here() {
    let rows = DOCS
        .lines()
        .skip_while(|line| !line.starts_with("| in one region"));
    let rows: Vec<&str> = rows
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() >= 15, "{} rows", rows.len());
    for row in rows {
        let names = row.trim_matches([' ', '|']).rsplit('|').next().unwrap();
        for name in names.split(',') {
            let test = format!("#[test]\nfn {}()", name.trim_matches([' ', '`']));
            let found = TESTS.iter().any(|tests| tests.contains(&test));
            assert!(found, "no test of this name: {row}");
        }
    }
}
