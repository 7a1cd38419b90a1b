//! What worlds draw too rarely to be relied on, acted out step by step.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fastrand::Rng;
use simulation::check::{describe, is_in_step};
use simulation::valkey::Data;
use simulation::World;

const AMS: usize = 0;
const FRA: usize = 1;

/// Two regions that have not begun, on a network that loses nothing; nothing goes wrong by itself.
fn still(seed: u64) -> World {
    let mut world = World::new(Rng::with_seed(seed), 2, None).unwrap();
    world.failing = false;
    (world.weather.loss, world.weather.twice, world.weather.late) = (0, 0, 0);
    world
}

/// The same, and they serve and have written.
fn pair(seed: u64) -> World {
    let mut world = still(seed);
    world.start(AMS).unwrap();
    world.start(FRA).unwrap();
    until(&mut world, "serving", |world| {
        world.sites.iter().all(|site| site.serving)
    });
    world.run(world.now + 5_000).unwrap();
    world
}

/// Lets time pass until something is so.
fn until(world: &mut World, what: &str, is_so: impl Fn(&World) -> bool) {
    let patience = world.now + 60_000;
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

/// Another server process, over this disk.
fn restart_over(world: &mut World, site: usize, disk: Data) {
    world.sites[site].data = disk;
    world.sites[site].restart_store();
    world.start(site).unwrap();
}

/// The wall time that a store's clock has reached.
fn mark(world: &World, site: usize) -> u64 {
    world.sites[site].data.hash("@kv/r/state")["m"]
        .parse()
        .unwrap()
}

#[test]
fn a_region_that_emptied_itself_and_one_that_forgot_do_not_wait_for_each_other() {
    for seed in 0..20 {
        let mut world = pair(seed);
        let old = world.sites[FRA].data.clone();
        world.run(world.now + 4_000).unwrap();
        world.writing = false;
        until(&mut world, "in step", |world| is_in_step(world).unwrap());

        let mut emptied = Data::default();
        emptied.set("@kv/r/emptied", b"1");
        restart_over(&mut world, AMS, emptied);
        until(&mut world, "filled", |world| {
            let (ams, fra) = (world.vector(AMS).unwrap(), world.vector(FRA).unwrap());
            ams.includes(&fra)
        });
        // It has all that the other had, does not serve yet, and then the other one forgets.
        assert!(!world.sites[AMS].serving, "seed {seed}");
        restart_over(&mut world, FRA, old);
        until(&mut world, "in step", |world| is_in_step(world).unwrap());
        assert!(world.notices.contains_key("starts anew"), "seed {seed}");
    }
}

#[test]
fn a_clock_an_hour_ahead_moves_no_other_one() {
    const HOUR_MS: u64 = 3_600_000;
    let mut world = pair(1);
    world.sites[AMS].clock_ms = i64::try_from(HOUR_MS).unwrap();
    world.run(world.now + 4_000).unwrap();
    world.writing = false;
    until(&mut world, "in step", |world| is_in_step(world).unwrap());
    assert!(world.notices.contains_key("ahead"));
    assert!(mark(&world, AMS) > world.clock(FRA).wall_ms + HOUR_MS / 2);
    // Those that it heard of within the bound are the ones from before.
    assert!(mark(&world, FRA) <= world.clock(FRA).wall_ms);
}

#[test]
fn a_page_that_a_full_store_refuses_is_asked_for_again_with_those_behind_it() {
    for seed in 0..20 {
        let mut world = still(seed);
        world.writing = false;
        // Two pages of a pull, each of which is put in place in two steps.
        for n in 0..14 {
            world.sites[AMS].data.set(&format!("text{n}"), b"old");
        }
        world.start(AMS).unwrap();
        until(&mut world, "serving", |world| world.sites[AMS].serving);
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
        until(&mut world, "in step", |world| is_in_step(world).unwrap());
        let [held, here] = [AMS, FRA].map(|site| world.sites[site].data.visible());
        assert_eq!(held.len(), 14);
        assert!(here == held, "seed {seed}: {} of 14 came", here.len());
    }
}
