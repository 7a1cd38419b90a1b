//! What worlds draw too rarely to be relied on, acted out step by step.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fastrand::Rng;
use replica::region::Author;
use replica::store::{Session, Write};
use replica::wire::{self, Envelope, Hello, Message, Stage};
use replica::Event;
use simulation::check::{describe, has_orphans, is_in_step, not_compared, values};
use simulation::valkey::Data;
use simulation::World;

const AMS: usize = 0;
const FRA: usize = 1;
const GRU: usize = 2;
const IAD: usize = 3;
/// What an engine says of a store that starts anew with one that it was filled from.
const FILLED: &str = "was filled from a copy";

/// Regions that have not begun, on a network that loses nothing; nothing goes wrong by itself.
fn still(seed: u64, sites: usize) -> World {
    let mut world = World::new(Rng::with_seed(seed), sites, None).unwrap();
    world.failing = false;
    (world.weather.loss, world.weather.twice, world.weather.late) = (0, 0, 0);
    world
}

/// Starts all regions of a world, and waits until they serve.
fn start(world: &mut World) {
    for site in 0..world.sites.len() {
        world.start(site).unwrap();
    }
    until(world, "serving", |world| {
        world.sites.iter().all(|site| site.serving)
    });
}

/// Regions that serve and have written.
fn serving(seed: u64, sites: usize) -> World {
    let mut world = still(seed, sites);
    start(&mut world);
    world.run(world.now + 5_000).unwrap();
    world
}

/// Regions that serve, have written, write no more and are in step.
fn at_rest(seed: u64, sites: usize) -> World {
    let mut world = serving(seed, sites);
    world.writing = false;
    in_step(&mut world);
    world
}

/// Lets time pass until something is so.
fn until(world: &mut World, what: &str, is_so: impl Fn(&World) -> bool) {
    let patience = world.now + 120_000;
    while !is_so(world) {
        let story = || world.story.join("\n");
        assert!(
            world.now < patience,
            "never {what}:{}\n{}",
            describe(world).unwrap(),
            story()
        );
        world.run(world.now + 1).unwrap();
    }
}

/// Waits until all regions serve and cover the same.
fn in_step(world: &mut World) {
    until(world, "in step", |world| is_in_step(world).unwrap());
}

/// Waits until all regions but one serve and cover the same.
fn in_step_but(world: &mut World, away: usize) {
    let others = (0..world.sites.len()).filter(|site| *site != away);
    let others: Vec<usize> = others.collect();
    in_step_of(world, &others);
}

/// Waits until these regions serve and cover the same.
fn in_step_of(world: &mut World, sites: &[usize]) {
    until(world, "in step", |world| {
        let same = |site: &usize| {
            world.sites[*site].serving && sites.iter().all(|other| has_all_of(world, *site, *other))
        };
        sites.iter().all(same)
    });
}

/// Waits until a region serves.
fn serves(world: &mut World, site: usize) {
    until(world, "serving", |world| world.sites[site].serving);
}

/// Whether a region covers all that another one does.
fn has_all_of(world: &World, site: usize, other: usize) -> bool {
    let [here, there] = [site, other].map(|site| world.vector(site).unwrap());
    here.includes(&there)
}

/// Whether all regions have forgotten all tombstones.
fn without_tombstones(world: &World) -> bool {
    let mut sites = world.sites.iter();
    sites.all(|site| site.data.sorted("@kv/r/dead").is_empty())
}

/// Another server process, over this disk.
fn restart_over(world: &mut World, site: usize, disk: Data) {
    world.sites[site].data = disk;
    world.sites[site].restart_store();
    world.start(site).unwrap();
}

/// Lets a region's store have room for a new life, and for nothing more.
fn joins_full(world: &mut World, site: usize) {
    until(world, "joining", |world| phase(world, site) == "joining");
    world.full.insert(site);
}

/// Where a region's engine is on its way to serving.
fn phase(world: &World, site: usize) -> String {
    let engine = world.sites[site].engine.as_ref();
    engine.map_or_else(String::new, |engine| engine.status().phase.into())
}

/// The first life of a region's store, by which its origin is kept.
fn first_life(world: &World, site: usize) -> String {
    let state = world.sites[site].data.hash("@kv/r/state");
    let (first, _) = state["l"].split_once(',').unwrap_or((&state["l"], ""));
    first.to_owned()
}

/// Parts a region from all others, both ways. What was on its way arrives.
fn isolate(world: &mut World, site: usize) {
    for other in (0..world.sites.len()).filter(|other| *other != site) {
        world.cut.extend([(site, other), (other, site)]);
    }
    world.run(world.now + 100).unwrap();
}

/// Lets two regions hear each other again.
fn join(world: &mut World, one: usize, other: usize) {
    world.cut.remove(&(one, other));
    world.cut.remove(&(other, one));
}

/// Has a component write, and sees that it did.
fn write(world: &mut World, site: usize, writes: &[Write]) {
    let before = world.history.done.len();
    world.carry_out(site, writes).unwrap();
    assert_eq!(world.history.done.len(), before + writes.len(), "written");
}

/// Whether the key of the same name is nowhere to be seen in a region.
fn gone(world: &World, site: usize) -> bool {
    !world.sites[site].data.visible().contains_key("gone")
}

fn set(value: &'static str) -> Write {
    Write::Set("gone".to_owned(), value.into())
}

fn delete() -> Write {
    Write::Delete("gone".to_owned())
}

/// Heals all, waits, and holds every region against what was written.
fn comes_right(world: &mut World, seed: u64) {
    world.cut.clear();
    in_step(world);
    world.run(world.now + 10_000).unwrap();
    values(world).unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
}

/// Regions that serve, and an old copy of one's disk that holds what was deleted since then, and forgotten by all.
fn with_old_copy(seed: u64, sites: usize) -> (World, Data) {
    let mut world = serving(seed, sites);
    write(&mut world, AMS, &[set("old")]);
    until(&mut world, "there", |world| !gone(world, FRA));
    let old = world.sites[FRA].data.clone();
    world.run(world.now + 10_000).unwrap();
    // Components write tombstones over, too.
    world.writing = false;
    write(&mut world, AMS, &[delete()]);
    in_step(&mut world);
    until(&mut world, "without tombstones", without_tombstones);
    assert!(gone(&world, FRA), "seed {seed}");
    (world, old)
}

/// Lets FRA serve from an old copy while GRU, who knows better, is away, and all others are down.
fn serves_alone(world: &mut World, old: Data) {
    isolate(world, GRU);
    for site in (0..world.sites.len()).filter(|site| ![FRA, GRU].contains(site)) {
        world.sites[site].stop();
    }
    restart_over(world, FRA, old);
    serves(world, FRA);
}

/// The wall time that a store's clock has reached.
fn mark(world: &World, site: usize) -> u64 {
    world.sites[site].data.parts("@kv/r/mark")[0]
        .parse()
        .unwrap()
}

#[test]
fn a_region_that_emptied_itself_and_one_that_forgot_do_not_wait_for_each_other() {
    for seed in 0..20 {
        let mut world = serving(seed, 2);
        let old = world.sites[FRA].data.clone();
        world.run(world.now + 4_000).unwrap();
        world.writing = false;
        in_step(&mut world);

        let mut emptied = Data::default();
        emptied.set("@kv/r/emptied", b"1");
        restart_over(&mut world, AMS, emptied);
        until(&mut world, "filled", |world| has_all_of(world, AMS, FRA));
        // It has all that the other had, does not serve yet, and then the other one forgets.
        assert!(!world.sites[AMS].serving, "seed {seed}");
        restart_over(&mut world, FRA, old);
        in_step(&mut world);
        assert!(world.notices.contains_key("starts anew"), "seed {seed}");
    }
}

#[test]
fn a_clock_an_hour_ahead_moves_no_other_one() {
    const HOUR_MS: u64 = 3_600_000;
    let mut world = serving(1, 2);
    world.sites[AMS].clock_ms = i64::try_from(HOUR_MS).unwrap();
    world.run(world.now + 4_000).unwrap();
    world.writing = false;
    in_step(&mut world);
    assert!(world.notices.contains_key("ahead"));
    assert!(mark(&world, AMS) > world.clock(FRA).wall_ms + HOUR_MS / 2);
    // Those that it heard of within the bound are the ones from before.
    assert!(mark(&world, FRA) <= world.clock(FRA).wall_ms);
}

#[test]
fn a_page_that_a_full_store_refuses_is_asked_for_again_with_those_behind_it() {
    for seed in 0..20 {
        let mut world = still(seed, 2);
        world.writing = false;
        // Two pages of a pull, each of which is put in place in two steps.
        for n in 0..14 {
            world.sites[AMS].data.set(&format!("text{n}"), b"old");
        }
        world.start(AMS).unwrap();
        serves(&mut world, AMS);
        world.start(FRA).unwrap();
        until(&mut world, "some have come", |world| {
            world.sites[FRA].data.visible().len() > 2
        });
        // While the store is slow, the last page comes in.
        world.sites[FRA].busy_until = world.now + 500;
        world.full.insert(FRA);
        until(&mut world, "refused", |world| {
            world.notices.contains_key("step failed")
        });
        world.full.clear();
        in_step(&mut world);
        let [held, here] = [AMS, FRA].map(|site| world.sites[site].data.visible());
        assert_eq!(held.len(), 14);
        assert!(here == held, "seed {seed}: {} of 14 came", here.len());
    }
}

#[test]
fn what_was_filled_from_an_old_copy_starts_anew_with_it() {
    for seed in 0..20 {
        let (mut world, old) = with_old_copy(seed, 3);
        serves_alone(&mut world, old);
        restart_over(&mut world, AMS, Data::default());
        serves(&mut world, AMS);
        // It remembers where that comes from.
        world.sites[AMS].stop();
        world.start(AMS).unwrap();
        assert!(!gone(&world, AMS), "seed {seed}");
        comes_right(&mut world, seed);
        assert!(world.notices.contains_key(FILLED), "seed {seed}");
    }
}

#[test]
fn what_a_region_that_began_anew_and_alone_deleted_stays_deleted() {
    for seed in 0..20 {
        let mut world = serving(seed, 2);
        world.writing = false;
        write(&mut world, FRA, &[set("old")]);
        in_step(&mut world);
        isolate(&mut world, AMS);
        restart_over(&mut world, AMS, Data::default());
        serves(&mut world, AMS);
        world.run(world.now + 1_000).unwrap();
        write(&mut world, AMS, &[set("new"), delete()]);
        // More than any age at which tombstones go.
        world.run(world.now + 20_000).unwrap();
        comes_right(&mut world, seed);
    }
}

#[test]
fn what_began_alone_and_then_took_from_an_old_copy_starts_anew_with_it() {
    for seed in 0..20 {
        let (mut world, old) = with_old_copy(seed, 3);
        isolate(&mut world, GRU);
        isolate(&mut world, AMS);
        restart_over(&mut world, FRA, old);
        restart_over(&mut world, AMS, Data::default());
        serves(&mut world, AMS);
        serves(&mut world, FRA);
        join(&mut world, AMS, FRA);
        until(&mut world, "filled", |world| has_all_of(world, AMS, FRA));
        assert!(!gone(&world, AMS), "seed {seed}");
        comes_right(&mut world, seed);
        assert!(world.notices.contains_key(FILLED), "seed {seed}");
    }
}

#[test]
fn what_was_filled_from_there_in_turn_starts_anew_though_the_old_copy_is_gone() {
    for seed in 0..20 {
        let (mut world, old) = with_old_copy(seed, 4);
        serves_alone(&mut world, old);
        restart_over(&mut world, AMS, Data::default());
        serves(&mut world, AMS);
        world.sites[FRA].stop();
        restart_over(&mut world, IAD, Data::default());
        serves(&mut world, IAD);
        assert!(!gone(&world, IAD), "seed {seed}");
        // The one in between is heard of by nobody either.
        isolate(&mut world, AMS);
        join(&mut world, GRU, IAD);
        until(&mut world, "filled", |world| {
            world.sites[IAD].serving && has_all_of(world, IAD, GRU)
        });
        assert!(world.notices.contains_key(FILLED), "seed {seed}");
        world.start(FRA).unwrap();
        comes_right(&mut world, seed);
    }
}

#[test]
fn a_region_that_started_anew_knows_after_a_restart_for_whom_it_keeps_tombstones() {
    for seed in 0..20 {
        let mut world = serving(seed, 2);
        let old = world.sites[AMS].data.clone();
        world.run(world.now + 4_000).unwrap();
        world.writing = false;
        in_step(&mut world);
        restart_over(&mut world, AMS, old);
        until(&mut world, "anew", |world| {
            let anew = world.notices.contains_key("starts anew");
            anew && world.sites[AMS].serving && is_in_step(world).unwrap()
        });
        world.run(world.now + 1_000).unwrap();
        write(&mut world, AMS, &[set("old")]);
        in_step(&mut world);

        isolate(&mut world, AMS);
        write(&mut world, AMS, &[delete()]);
        let disk = world.sites[AMS].data.clone();
        restart_over(&mut world, AMS, disk);
        // More than any age at which tombstones go.
        world.run(world.now + 20_000).unwrap();
        comes_right(&mut world, seed);
    }
}

#[test]
fn an_old_copy_is_better_than_nothing_while_who_knows_better_is_away() {
    for seed in 0..20 {
        let (mut world, old) = with_old_copy(seed, 3);
        serves_alone(&mut world, old);
        // It hears once who knows better, before it hears the copy, and cannot ask.
        isolate(&mut world, AMS);
        world.cut.remove(&(GRU, AMS));
        restart_over(&mut world, AMS, Data::default());
        let knows = world.notices["joined"];
        until(&mut world, "heard", |world| world.notices["joined"] > knows);
        world.cut.insert((GRU, AMS));
        join(&mut world, AMS, FRA);
        until(&mut world, "filled", |world| !gone(world, AMS));
        serves(&mut world, AMS);
        comes_right(&mut world, seed);
    }
}

#[test]
fn an_old_copy_of_a_region_in_which_nobody_writes_is_known_for_one() {
    for seed in 0..20 {
        let mut world = still(seed, 2);
        world.writing = false;
        start(&mut world);
        world.run(world.now + 1_000).unwrap();
        write(&mut world, AMS, &[set("old")]);
        until(&mut world, "there", |world| !gone(world, FRA));
        let old = world.sites[FRA].data.clone();
        write(&mut world, AMS, &[delete()]);
        until(&mut world, "without tombstones", |world| {
            gone(world, FRA) && without_tombstones(world)
        });
        restart_over(&mut world, FRA, old);
        comes_right(&mut world, seed);
        assert!(world.notices.contains_key("starts anew"), "seed {seed}");
    }
}

/// Regions that serve, and so many keys that reading them takes longer than a region waits for an answer.
fn serving_much(seed: u64, sites: usize) -> World {
    let mut world = still(seed, sites);
    world.writing = false;
    for n in 0..6_000 {
        world.sites[AMS].data.set(&format!("text{n}"), b"old");
    }
    start(&mut world);
    in_step(&mut world);
    world
}

#[test]
fn regions_that_were_set_back_wait_for_one_who_knows_better_and_catches_up_itself() {
    for seed in 0..5 {
        let mut world = serving_much(seed, 3);
        let old = [AMS, FRA].map(|site| world.sites[site].data.clone());
        write(&mut world, AMS, &[set("old")]);
        write(&mut world, FRA, &[set("new")]);
        in_step(&mut world);

        world.sites[GRU].stop();
        for (site, disk) in [AMS, FRA].into_iter().zip(old) {
            restart_over(&mut world, site, disk);
        }
        in_step_but(&mut world, GRU);
        let before = emptied(&world);
        let disk = world.sites[GRU].data.clone();
        restart_over(&mut world, GRU, disk);
        comes_right(&mut world, seed);
        // Each of them once.
        assert_eq!(
            emptied(&world) - before,
            2,
            "seed {seed}:\n{}",
            world.story.join("\n")
        );
    }
}

/// How many stores began anew so far, with nothing.
fn emptied(world: &World) -> usize {
    let anew = |line: &&String| line.contains("Minted") && line.contains("New)");
    world.story.iter().filter(anew).count()
}

#[test]
fn a_region_that_was_set_back_lets_one_that_emptied_itself_read_it_to_the_end() {
    for seed in 0..5 {
        let mut world = serving_much(seed, 2);
        let old = world.sites[AMS].data.clone();
        write(&mut world, AMS, &[set("old")]);
        in_step(&mut world);
        world.sites[FRA].stop();
        restart_over(&mut world, AMS, old);
        serves(&mut world, AMS);
        world.run(world.now + 1_000).unwrap();
        write(&mut world, AMS, &[set("new")]);

        let minted = world.notices["minted"];
        let mut filled = world.sites[FRA].data.clone();
        filled.set("@kv/r/emptied", b"1");
        restart_over(&mut world, FRA, filled);
        comes_right(&mut world, seed);
        let lives = world.notices["minted"] - minted;
        assert_eq!(lives, 2, "seed {seed}:\n{}", world.story.join("\n"));
    }
}

#[test]
fn a_region_that_never_catches_up_is_not_waited_for_for_ever() {
    let mut world = serving(1, 3);
    let old = world.sites[AMS].data.clone();
    world.run(world.now + 4_000).unwrap();
    world.writing = false;
    in_step(&mut world);
    world.sites[FRA].stop();
    restart_over(&mut world, AMS, old);
    until(&mut world, "draining", |world| {
        phase(world, AMS) == "draining"
    });
    world.sites[GRU].stop();
    restart_over(&mut world, FRA, Data::default());
    joins_full(&mut world, FRA);
    world.run(world.now + 60_000).unwrap();
    assert_eq!(phase(&world, AMS), "draining");
    world.run(world.now + 660_000).unwrap();
    assert_eq!(phase(&world, AMS), "ready");

    world.full.clear();
    world.start(GRU).unwrap();
    comes_right(&mut world, 1);
}

#[test]
fn of_regions_that_were_set_back_the_one_that_forgot_least_serves_when_nobody_else_does() {
    for seed in 0..20 {
        let mut world = serving(seed, 3);
        world.writing = false;
        let older = world.sites[AMS].data.clone();
        write(&mut world, AMS, &[set("old")]);
        in_step(&mut world);
        let newer = world.sites[FRA].data.clone();
        write(&mut world, FRA, &[set("new")]);
        in_step(&mut world);

        // Both hear the third one, who hears neither, and then is gone.
        isolate(&mut world, GRU);
        isolate(&mut world, AMS);
        for (site, disk) in [(AMS, older), (FRA, newer)] {
            world.cut.remove(&(GRU, site));
            restart_over(&mut world, site, disk);
            until(&mut world, "draining", |world| {
                phase(world, site) == "draining"
            });
        }
        isolate(&mut world, GRU);
        join(&mut world, AMS, FRA);
        let minted = world.notices["minted"];
        until(&mut world, "serving", |world| {
            world.sites[AMS].serving || world.sites[FRA].serving
        });
        assert!(world.sites[FRA].serving, "seed {seed}");
        in_step_but(&mut world, GRU);
        assert_eq!(world.notices["minted"] - minted, 2, "seed {seed}");
        comes_right(&mut world, seed);
    }
}

#[test]
fn a_region_that_emptied_itself_does_not_wait_for_one_that_waits_for_it() {
    for seed in 0..20 {
        let mut world = serving(seed, 3);
        let old = world.sites[FRA].data.clone();
        world.run(world.now + 4_000).unwrap();
        world.writing = false;
        in_step(&mut world);
        world.sites[FRA].stop();
        // Filled by one that never serves.
        let disk = world.sites[GRU].data.clone();
        restart_over(&mut world, GRU, disk);
        let mut emptied = Data::default();
        emptied.set("@kv/r/emptied", b"1");
        restart_over(&mut world, AMS, emptied);
        until(&mut world, "filled", |world| has_all_of(world, AMS, GRU));
        world.sites[GRU].stop();

        restart_over(&mut world, FRA, old);
        in_step_but(&mut world, GRU);
        world.start(GRU).unwrap();
        comes_right(&mut world, seed);
    }
}

#[test]
fn what_a_region_said_before_it_knew_that_another_starts_anew_empties_nothing() {
    let mut world = serving(1, 3);
    let old = [AMS, FRA].map(|site| world.sites[site].data.clone());
    world.run(world.now + 4_000).unwrap();
    world.writing = false;
    in_step(&mut world);
    isolate(&mut world, GRU);
    for (site, disk) in [AMS, FRA].into_iter().zip(old) {
        restart_over(&mut world, site, disk);
    }
    in_step_but(&mut world, GRU);
    // Said by one that serves and has all, and that may have to start anew itself by the time that it arrives.
    let hello = Hello {
        author: format!("fra/{}", world.sites[FRA].data.parts("@kv/r/life")[0])
            .parse()
            .unwrap(),
        vector: world.vector(FRA).unwrap(),
        wall_ms: world.clock(FRA).wall_ms,
        stage: Stage::Serving,
        asks: false,
        members: Vec::new(),
        origins: Vec::new(),
        relieves: Vec::new(),
    };
    world.sites[FRA].stop();
    world.cut.remove(&(GRU, AMS));
    until(&mut world, "draining", |world| {
        phase(world, AMS) == "draining"
    });
    world.run(world.now + 500).unwrap();
    let message = |hello| {
        Event::Message(wire::encode(&Envelope {
            group: "sim".to_owned(),
            from: "fra".parse().unwrap(),
            message: Message::Hello(hello),
        }))
    };
    world.step(AMS, message(hello)).unwrap();
    world.run(world.now + 500).unwrap();
    assert_eq!(phase(&world, AMS), "draining");

    world.start(FRA).unwrap();
    until(&mut world, "emptied", |world| {
        world.vector(AMS).unwrap().is_empty()
    });
    comes_right(&mut world, 1);
}

#[test]
fn what_dies_while_it_is_filled_from_an_old_copy_knows_where_it_comes_from() {
    for seed in 0..20 {
        let (mut world, old) = with_old_copy(seed, 3);
        serves_alone(&mut world, old);
        restart_over(&mut world, AMS, Data::default());
        until(&mut world, "begun", |world| {
            !world.sites[AMS].data.visible().is_empty()
        });
        world.sites[AMS].stop();
        world.sites[FRA].stop();
        world.start(AMS).unwrap();
        join(&mut world, AMS, GRU);
        until(&mut world, "anew", |world| {
            world.notices.contains_key(FILLED)
        });
        world.start(FRA).unwrap();
        comes_right(&mut world, seed);
    }
}

#[test]
fn what_comes_of_an_old_copy_that_is_lost_halfway_says_so_though_no_vector_shows_it() {
    let mut halfway = 0;
    for seed in 0..20 {
        let (mut world, old) = with_old_copy(seed, 4);
        serves_alone(&mut world, old);
        restart_over(&mut world, AMS, Data::default());
        until(&mut world, "there", |world| !gone(world, AMS));
        let taken = world.vector(AMS).unwrap();
        let own = |(author, _): (&Author, u64)| author.region.as_str() == "ams";
        halfway += u32::from(taken.iter().all(own));
        world.sites[FRA].stop();
        serves(&mut world, AMS);
        // Its log is read for the sake of this.
        write(&mut world, AMS, &[Write::Set("new".to_owned(), "x".into())]);
        restart_over(&mut world, IAD, Data::default());
        until(&mut world, "there", |world| !gone(world, IAD));
        serves(&mut world, IAD);
        in_step_of(&mut world, &[AMS, IAD]);
        world.sites[AMS].stop();
        world.cut.clear();
        until(&mut world, "anew", |world| {
            gone(world, IAD) && world.sites[IAD].serving
        });
        assert!(world.notices.contains_key(FILLED), "seed {seed}");
        for site in [AMS, FRA] {
            restart_over(&mut world, site, Data::default());
        }
        comes_right(&mut world, seed);
    }
    assert!(halfway > 0);
}

#[test]
fn an_empty_region_takes_from_those_that_all_took_from_one_old_copy_and_know_more_of_it() {
    for seed in 0..20 {
        let mut world = at_rest(seed, 3);
        isolate(&mut world, GRU);
        isolate(&mut world, FRA);
        write(&mut world, AMS, &[set("old")]);
        world.run(world.now + 100).unwrap();
        let old = world.sites[AMS].data.clone();
        // FRA hears of the next write, cannot ask for the one before, and keeps it until that is there.
        world.cut.remove(&(AMS, FRA));
        write(&mut world, AMS, &[set("new")]);
        world.run(world.now + 100).unwrap();
        restart_over(&mut world, AMS, old);
        serves(&mut world, AMS);
        let first = first_life(&world, AMS);
        join(&mut world, AMS, GRU);
        until(&mut world, "there", |world| has_all_of(world, GRU, AMS));
        join(&mut world, AMS, FRA);
        until(&mut world, "there", |world| {
            world.sites[FRA].data.visible().get("gone") == Some(&b"new".to_vec())
        });
        world.cut.clear();
        in_step(&mut world);
        for site in [FRA, GRU] {
            let kept = world.sites[site].data.hash("@kv/r/origins");
            assert!(kept.contains_key(&first), "seed {seed}: {kept:?}");
        }
        restart_over(&mut world, AMS, Data::default());
        comes_right(&mut world, seed);
    }
}

#[test]
fn a_store_that_cannot_keep_where_something_comes_from_takes_nothing_in() {
    for seed in 0..20 {
        let (mut world, old) = with_old_copy(seed, 3);
        serves_alone(&mut world, old);
        restart_over(&mut world, AMS, Data::default());
        joins_full(&mut world, AMS);
        until(&mut world, "refused", |world| {
            world
                .notices
                .get("step failed")
                .is_some_and(|failed| *failed > 2)
        });
        assert!(world.sites[AMS].data.visible().is_empty(), "seed {seed}");
        world.full.clear();
        until(&mut world, "filled", |world| !gone(world, AMS));
        world.sites[AMS].stop();
        world.start(AMS).unwrap();
        comes_right(&mut world, seed);
        assert!(world.notices.contains_key(FILLED), "seed {seed}");
    }
}

#[test]
fn stores_that_nobody_remembers_more_of_make_room_for_new_ones() {
    let mut world = serving(1, 3);
    world.writing = false;
    for _ in 0..30 {
        restart_over(&mut world, AMS, Data::default());
        serves(&mut world, AMS);
        // Its second life: it may have forgotten something of the first.
        let disk = world.sites[AMS].data.clone();
        restart_over(&mut world, AMS, disk);
        in_step(&mut world);
        world.run(world.now + 1_000).unwrap();
        // Something of FRA that comes to GRU by AMS alone, while all speak.
        world.cut.insert((FRA, GRU));
        write(&mut world, FRA, &[set("new")]);
        until(&mut world, "there", |world| has_all_of(world, GRU, FRA));
        let kept = world.sites[GRU].data.hash("@kv/r/origins");
        assert!(kept.len() <= 12, "{kept:?}");
        assert!(kept.contains_key(&first_life(&world, AMS)), "{kept:?}");
        world.cut.clear();
        in_step(&mut world);
    }
}

/// Takes a region's disk away under its provider, which goes on.
fn lose_disk(world: &mut World, site: usize) {
    world.step(site, Event::Disconnected).unwrap();
    let place = &mut world.sites[site];
    place.data = Data::default();
    place.run += 1;
    place.client = None;
    place.steps.clear();
    let run = place.run_id();
    place.session = Session::new(run.clone());
    world.step(site, Event::Connected(run)).unwrap();
}

#[test]
fn no_store_makes_room_of_which_one_that_is_silent_may_remember_more() {
    for seed in 0..5 {
        let mut world = serving(seed, 3);
        write(&mut world, AMS, &[set("old")]);
        world.writing = false;
        in_step(&mut world);
        world.run(world.now + 7_000).unwrap();
        in_step(&mut world);
        // GRU hears that it is deleted, and AMS hears no more of GRU, which then learns more of FRA than the copy has.
        world.cut.extend([(AMS, GRU), (FRA, GRU)]);
        world.run(world.now + 70).unwrap();
        let old = world.sites[FRA].data.clone();
        world.cut.remove(&(AMS, GRU));
        write(&mut world, AMS, &[delete()]);
        world.cut.insert((AMS, GRU));
        world.run(world.now + 1_500).unwrap();
        if !gone(&world, GRU) {
            // The news arrived after the cut.
            continue;
        }
        world.cut.insert((GRU, AMS));
        world.cut.remove(&(AMS, GRU));
        world.cut.remove(&(FRA, GRU));
        let more = |value: &'static str| [Write::Set("more".to_owned(), value.into())];
        write(&mut world, FRA, &more("x"));
        in_step(&mut world);
        until(&mut world, "without tombstones", without_tombstones);
        world.cut.insert((GRU, FRA));
        world.run(world.now + 100).unwrap();

        world.sites[FRA].stop();
        lose_disk(&mut world, AMS);
        restart_over(&mut world, FRA, old);
        until(&mut world, "filled", |world| {
            has_all_of(world, AMS, FRA) && world.sites[AMS].serving
        });
        // More new stores than origins are kept.
        for _ in 0..24 {
            restart_over(&mut world, FRA, Data::default());
            serves(&mut world, FRA);
            world.run(world.now + 600).unwrap();
            world.cut.insert((FRA, AMS));
            write(&mut world, FRA, &more("y"));
            world.run(world.now + 100).unwrap();
            let disk = world.sites[FRA].data.clone();
            restart_over(&mut world, FRA, disk);
            world.cut.remove(&(FRA, AMS));
            until(&mut world, "there", |world| {
                world.sites[FRA].serving && has_all_of(world, AMS, FRA)
            });
        }
        world.cut.clear();
        world.run(world.now + 30_000).unwrap();
        in_step(&mut world);
        for site in [AMS, FRA, GRU] {
            assert!(gone(&world, site), "seed {seed}: {site}");
        }
    }
}

#[test]
fn a_store_that_restarts_while_it_is_emptied_is_emptied_to_the_end() {
    let mut world = serving_much(1, 2);
    let older = world.sites[FRA].data.clone();
    write(&mut world, FRA, &[set("one")]);
    in_step(&mut world);
    let old = world.sites[AMS].data.clone();
    write(&mut world, AMS, &[set("two")]);
    in_step(&mut world);
    restart_over(&mut world, AMS, old);
    until(&mut world, "wiping", |world| phase(world, AMS) == "wiping");
    world.run(world.now + 300).unwrap();
    world.sites[FRA].stop();
    let half = world.sites[AMS].data.clone();
    restart_over(&mut world, AMS, half);
    world.run(world.now + 10_000).unwrap();
    // It has everything, though it was set back, and would start anew with what is left of the other one.
    restart_over(&mut world, FRA, older);
    in_step(&mut world);
    for site in [AMS, FRA] {
        let visible = world.sites[site].data.visible();
        assert!(visible.len() >= 6_000, "{site}: {}", visible.len());
    }
}

#[test]
fn two_regions_each_of_which_remembers_more_of_the_other_do_not_wait_for_ever() {
    let mut tried = 0;
    for seed in 0..40 {
        let mut world = at_rest(seed, 3);
        let older = world.sites[FRA].data.clone();
        isolate(&mut world, GRU);
        write(&mut world, FRA, &[set("b")]);
        until(&mut world, "there", |world| has_all_of(world, AMS, FRA));
        let old = world.sites[AMS].data.clone();
        world.cut.remove(&(AMS, GRU));
        write(&mut world, AMS, &[set("a")]);
        world.cut.insert((AMS, GRU));
        world.run(world.now + 100).unwrap();
        until(&mut world, "there", |world| has_all_of(world, FRA, AMS));
        if world.sites[GRU].data.visible().get("gone") != Some(&b"a".to_vec()) {
            continue;
        }
        // FRA, set back, has the one's number from GRU, and AMS, set back to before that, FRA's.
        world.sites[AMS].stop();
        join(&mut world, FRA, GRU);
        restart_over(&mut world, FRA, older);
        in_step_but(&mut world, AMS);
        world.sites[GRU].stop();
        world.cut.clear();
        restart_over(&mut world, AMS, old);
        until(&mut world, "draining", |world| {
            [AMS, FRA]
                .iter()
                .all(|site| phase(world, *site) == "draining")
        });
        tried += 1;
        in_step_but(&mut world, GRU);
        world.start(GRU).unwrap();
        in_step(&mut world);
    }
    assert!(tried > 0);
}

#[test]
fn an_emptied_region_that_can_take_from_nobody_is_not_waited_for_as_if_it_caught_up() {
    const HOUR: i64 = 3_600_000;
    for seed in 0..5 {
        let mut world = at_rest(seed, 4);
        let old = world.sites[AMS].data.clone();
        write(&mut world, AMS, &[set("a")]);
        in_step(&mut world);
        // A life of FRA that seems to come after the next store there, which does not know of it. That others lack something of
        // FRA when they take from it makes them keep where that came from.
        isolate(&mut world, FRA);
        write(&mut world, FRA, &[set("b")]);
        world.sites[FRA].clock_ms = HOUR;
        let disk = world.sites[FRA].data.clone();
        restart_over(&mut world, FRA, disk);
        world.cut.clear();
        in_step(&mut world);
        world.sites[FRA].clock_ms = 0;
        // An old copy, and what is filled from it.
        isolate(&mut world, AMS);
        isolate(&mut world, FRA);
        join(&mut world, AMS, FRA);
        restart_over(&mut world, AMS, old);
        restart_over(&mut world, FRA, Data::default());
        serves(&mut world, AMS);
        serves(&mut world, FRA);
        write(&mut world, FRA, &[set("c")]);
        in_step_of(&mut world, &[AMS, FRA]);
        // GRU starts anew with what it took from the earlier store in FRA, then nobody serves any more.
        join(&mut world, FRA, GRU);
        until(&mut world, "empty", |world| {
            world.vector(GRU).unwrap().is_empty()
        });
        world.cut.clear();
        until(&mut world, "draining", |world| {
            let draining = |site: &usize| phase(world, *site) == "draining";
            [AMS, IAD].iter().all(draining) && phase(world, GRU) == "joining"
        });
        comes_right(&mut world, seed);
    }
}

#[test]
fn a_region_that_emptied_itself_is_not_filled_by_what_another_had_while_it_was_empty_too() {
    for seed in 0..20 {
        let mut world = at_rest(seed, 3);
        // Its questions do not arrive, and it hears of one that is filled itself meanwhile.
        world.cut.extend([(AMS, FRA), (AMS, GRU), (FRA, AMS)]);
        for site in [AMS, GRU] {
            let mut emptied = Data::default();
            emptied.set("@kv/r/emptied", b"1");
            restart_over(&mut world, site, emptied);
        }
        serves(&mut world, GRU);
        world.run(world.now + 10_000).unwrap();
        assert!(!world.sites[AMS].serving, "seed {seed}");
        comes_right(&mut world, seed);
    }
}

#[test]
fn what_came_of_a_disk_that_is_lost_halfway_is_compared_all_the_same() {
    let mut halfway = 0;
    for seed in 0..10 {
        let mut world = at_rest(seed, 3);
        isolate(&mut world, GRU);
        // A pull of these takes two pages, each of which is put in place in two steps.
        for n in 0..14 {
            write(
                &mut world,
                GRU,
                &[Write::Set(format!("half{n}"), "x".into())],
            );
        }
        let halves = |world: &World, site: usize| {
            let shown = world.sites[site].data.visible();
            shown.keys().filter(|key| key.starts_with("half")).count()
        };
        join(&mut world, AMS, GRU);
        until(&mut world, "some have come", |world| halves(world, AMS) > 0);
        restart_over(&mut world, GRU, Data::default());
        world.cut.clear();
        in_step(&mut world);
        let orphans = has_orphans(&world).unwrap();
        halfway += u32::from(orphans);
        // What no vector shows to be missing comes with a reading that is made without need.
        until(&mut world, "the same everywhere", |world| {
            let [ams, fra, gru] = [AMS, FRA, GRU].map(|site| world.sites[site].data.visible());
            ams == fra && ams == gru
        });
        assert!(halves(&world, FRA) > 0, "seed {seed}");
        world.compared.clear();
        until(&mut world, "compared", |world| {
            not_compared(world).is_none()
        });
    }
    assert!(halfway > 0);
}

#[test]
fn a_new_region_with_its_clock_far_behind_writes_above_what_the_others_forgot() {
    const HOUR_MS: i64 = 3_600_000;
    let mut unseen = 0;
    for seed in 0..20 {
        let mut world = still(seed, 3);
        for site in [AMS, FRA] {
            world.start(site).unwrap();
            serves(&mut world, site);
        }
        world.run(world.now + 5_000).unwrap();
        world.writing = false;
        write(&mut world, AMS, &[set("old")]);
        write(&mut world, AMS, &[delete()]);
        let has = |world: &World, site: usize| {
            let dead = world.sites[site].data.sorted("@kv/r/dead");
            dead.iter().any(|key| key == "gone")
        };
        until(&mut world, "deleted", |world| {
            has(world, AMS) && has(world, FRA)
        });
        until(&mut world, "forgotten", |world| {
            !(has(world, AMS) && has(world, FRA))
        });
        world.sites[GRU].clock_ms = -HOUR_MS;
        world.start(GRU).unwrap();
        serves(&mut world, GRU);
        let others = has(&world, AMS) || has(&world, FRA);
        unseen += u32::from(others && !has(&world, GRU));
        until(&mut world, "known", |world| {
            world.sites[GRU].client.is_some()
        });
        write(&mut world, GRU, &[set("new")]);
        comes_right(&mut world, seed);
        assert!(!gone(&world, AMS), "seed {seed}");
    }
    assert!(unseen > 0);
}
