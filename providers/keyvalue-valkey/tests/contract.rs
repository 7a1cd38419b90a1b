//! What a backend promises: one suite, run against the reference, a real Valkey, and a replicated one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use keyvalue_valkey::bucket::Buckets;
use keyvalue_valkey::limit::{Limits, PageLimits};
use keyvalue_valkey::replicated::{Ack, Replicated};
use keyvalue_valkey::{Backend, Error, Memory, Page, Store, Valkey};

/// Makes an empty store.
trait Lab {
    type Backend: Backend;
    async fn store(&mut self, buckets: Buckets, limits: Limits) -> Store<Self::Backend>;

    async fn plain(&mut self) -> Store<Self::Backend> {
        self.store(Buckets::default(), Limits::DEFAULT).await
    }
}

#[derive(Default)]
struct MemoryLab;

impl Lab for MemoryLab {
    type Backend = Memory;
    async fn store(&mut self, buckets: Buckets, limits: Limits) -> Store<Memory> {
        Store::new(Memory::new(), buckets, limits)
    }
}

#[derive(Default)]
struct ValkeyLab(Vec<support::Server>);

impl Lab for ValkeyLab {
    type Backend = Valkey;
    async fn store(&mut self, buckets: Buckets, limits: Limits) -> Store<Valkey> {
        let server = support::Server::start();
        let connection = support::connected(server.endpoint()).await;
        self.0.push(server);
        // Correctness is at stake here, not latency, and the machine may be busy.
        let valkey = Valkey::new(connection, std::time::Duration::from_secs(5));
        Store::new(
            valkey.with_answer_bytes(limits.batch_bytes),
            buckets,
            limits,
        )
    }
}

/// A region alone.
#[derive(Default)]
struct ReplicatedLab(Vec<(provider_harness::NatsServer, support::region::Region)>);

impl Lab for ReplicatedLab {
    type Backend = Replicated;
    async fn store(&mut self, buckets: Buckets, limits: Limits) -> Store<Replicated> {
        let nats = provider_harness::NatsServer::start().await.unwrap();
        let region = support::region::Region::start(&nats, "iad").await;
        let replica = region.replica.clone();
        self.0.push((nats, region));
        let replicated = Replicated::new(replica, std::time::Duration::from_secs(5), Ack::Local);
        Store::new(
            replicated.with_answer_bytes(limits.batch_bytes),
            buckets,
            limits,
        )
    }
}

macro_rules! every_backend {
    ($($rule:ident)*) => {
        mod memory { $(#[tokio::test] async fn $rule() { super::rule::$rule(super::MemoryLab::default()).await })* }
        mod valkey { $(#[tokio::test] async fn $rule() { super::rule::$rule(super::ValkeyLab::default()).await })* }
        mod replicated { $(#[tokio::test] async fn $rule() { super::rule::$rule(super::ReplicatedLab::default()).await })* }
    };
}

every_backend! {
    a_missing_key_is_none_and_does_not_exist
    any_bytes_come_back_as_they_were_set
    any_text_is_a_key
    a_deleted_key_is_gone_and_deleting_it_again_is_no_error
    increment_starts_at_zero_and_keeps_a_decimal_string
    increment_is_exact_up_to_u64_max_and_stops_there
    increment_of_what_is_no_counter_changes_nothing
    concurrent_increments_lose_nothing
    get_many_keeps_the_order_and_says_what_is_missing
    get_many_keeps_the_order_of_thousands
    set_many_sets_all_and_of_duplicates_the_last
    delete_many_removes_all_and_skips_the_missing
    empty_batches_do_nothing
    two_thousand_keys_are_one_page
    an_empty_store_has_no_keys_and_no_cursor
    pages_name_every_key_and_none_twice_on_a_page
    a_page_of_long_keys_stays_near_its_bytes
    keys_that_stay_are_listed_while_others_come_and_go
    buckets_keep_their_keys_apart
    a_bucket_that_is_not_declared_is_no_such_bucket
    oversized_input_is_refused_with_its_bound_and_changes_nothing
    a_value_too_large_to_answer_is_refused_on_reading
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn all_keys<B: Backend>(store: &Store<B>, bucket: &str) -> (Vec<Page>, BTreeSet<String>) {
    let mut pages: Vec<Page> = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.list_keys(bucket, cursor).await.unwrap();
        cursor = page.cursor;
        pages.push(page);
        if cursor.is_none() {
            let keys = pages
                .iter()
                .flat_map(|page| page.keys.iter().cloned())
                .collect();
            return (pages, keys);
        }
        assert!(pages.len() < 100_000, "the listing does not end");
    }
}

mod rule {
    use super::*;

    pub(super) async fn a_missing_key_is_none_and_does_not_exist(mut lab: impl Lab) {
        let store = lab.plain().await;
        assert_eq!(store.get("default", "k").await, Ok(None));
        assert_eq!(store.exists("default", "k").await, Ok(false));
        assert_eq!(store.delete("default", "k").await, Ok(()));
    }

    pub(super) async fn any_bytes_come_back_as_they_were_set(mut lab: impl Lab) {
        let store = lab.plain().await;
        let every_byte: Bytes = (0..=255).collect();
        for value in [
            Bytes::new(),
            bytes("a"),
            every_byte,
            Bytes::from(vec![0xff; Limits::DEFAULT.value_bytes]),
        ] {
            store.set("default", "k", &value).await.unwrap();
            assert_eq!(store.get("default", "k").await, Ok(Some(value)));
            assert_eq!(store.exists("default", "k").await, Ok(true));
        }
    }

    pub(super) async fn any_text_is_a_key(mut lab: impl Lab) {
        let store = lab.plain().await;
        let longest = "x".repeat(Limits::DEFAULT.key_bytes);
        let names = [
            " ",
            "a b",
            "*",
            "\0",
            "\r\n",
            "ключ",
            "🔑",
            "{tag}",
            "@kv",
            "default",
            longest.as_str(),
        ];
        for name in names {
            store.set("default", name, &bytes(name)).await.unwrap();
        }
        for name in names {
            assert_eq!(store.get("default", name).await, Ok(Some(bytes(name))));
        }
        let (_, listed) = all_keys(&store, "default").await;
        assert_eq!(listed, names.map(str::to_owned).into());
    }

    pub(super) async fn a_deleted_key_is_gone_and_deleting_it_again_is_no_error(mut lab: impl Lab) {
        let store = lab.plain().await;
        store.set("default", "k", &bytes("v")).await.unwrap();
        for _ in 0..2 {
            assert_eq!(store.delete("default", "k").await, Ok(()));
            assert_eq!(store.get("default", "k").await, Ok(None));
        }
    }

    pub(super) async fn increment_starts_at_zero_and_keeps_a_decimal_string(mut lab: impl Lab) {
        let store = lab.plain().await;
        assert_eq!(store.increment("default", "zero", 0).await, Ok(0));
        assert_eq!(store.get("default", "zero").await, Ok(Some(bytes("0"))));
        assert_eq!(store.increment("default", "k", 7).await, Ok(7));
        assert_eq!(store.increment("default", "k", 35).await, Ok(42));
        assert_eq!(store.get("default", "k").await, Ok(Some(bytes("42"))));
        store.set("default", "k", &bytes("100")).await.unwrap();
        assert_eq!(store.increment("default", "k", 1).await, Ok(101));
    }

    pub(super) async fn increment_is_exact_up_to_u64_max_and_stops_there(mut lab: impl Lab) {
        let store = lab.plain().await;
        let i64_max = u64::try_from(i64::MAX).unwrap();
        for start in [
            0,
            1,
            999_999_999_999_999,
            1 << 53,
            i64_max - 1,
            i64_max,
            i64_max + 1,
            u64::MAX - 1,
        ] {
            for delta in [0, 1, 9_999_999_999, 1 << 53, i64_max, u64::MAX - start] {
                store
                    .set("default", "k", &bytes(&start.to_string()))
                    .await
                    .unwrap();
                let got = store.increment("default", "k", delta).await;
                let (expected, left) = match start.checked_add(delta) {
                    Some(sum) => (Ok(sum), sum),
                    None => (Err(Error::Overflow), start),
                };
                assert_eq!(got, expected, "{start} + {delta}");
                assert_eq!(
                    store.get("default", "k").await,
                    Ok(Some(bytes(&left.to_string())))
                );
            }
        }
    }

    pub(super) async fn increment_of_what_is_no_counter_changes_nothing(mut lab: impl Lab) {
        let store = lab.plain().await;
        for value in [
            "",
            "one",
            "-5",
            "+5",
            " 5",
            "5 ",
            "05",
            "5.0",
            "1e3",
            "5\0",
            "5\n",
            "18446744073709551616",
            "99999999999999999999999",
        ] {
            store.set("default", "k", &bytes(value)).await.unwrap();
            for delta in [0, 7, u64::MAX] {
                assert_eq!(
                    store.increment("default", "k", delta).await,
                    Err(Error::NotANumber),
                    "{value:?}"
                );
            }
            assert_eq!(store.get("default", "k").await, Ok(Some(bytes(value))));
        }
    }

    pub(super) async fn concurrent_increments_lose_nothing(mut lab: impl Lab) {
        let store = Arc::new(lab.plain().await);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let store = store.clone();
            tasks.spawn(async move {
                let mut seen = Vec::new();
                for _ in 0..50 {
                    seen.push(store.increment("default", "k", 3).await.unwrap());
                }
                seen
            });
        }
        let sums: BTreeSet<u64> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!(sums, (1..=800).map(|n| n * 3).collect());
        assert_eq!(store.get("default", "k").await, Ok(Some(bytes("2400"))));
    }

    pub(super) async fn get_many_keeps_the_order_and_says_what_is_missing(mut lab: impl Lab) {
        let store = lab.plain().await;
        store.set("default", "a", &bytes("1")).await.unwrap();
        store.set("default", "b", &Bytes::new()).await.unwrap();
        let names = ["b", "nope", "a", "b"].map(str::to_owned).to_vec();
        let b = Some(("b".to_owned(), Bytes::new()));
        let expected = vec![b.clone(), None, Some(("a".to_owned(), bytes("1"))), b];
        assert_eq!(store.get_many("default", names).await, Ok(expected));
    }

    pub(super) async fn get_many_keeps_the_order_of_thousands(mut lab: impl Lab) {
        let store = lab.plain().await;
        let names: Vec<String> = (0..3500).map(|n| n.to_string()).collect();
        let there = |n: usize| !n.is_multiple_of(3);
        let entries = names.iter().enumerate().filter(|(n, _)| there(*n));
        let entries = entries.map(|(_, name)| (name.clone(), bytes(name)));
        store.set_many("default", entries.collect()).await.unwrap();
        let expected = names
            .iter()
            .enumerate()
            .map(|(n, name)| there(n).then(|| (name.clone(), bytes(name))));
        let expected = expected.collect();
        assert_eq!(store.get_many("default", names.clone()).await, Ok(expected));
    }

    pub(super) async fn set_many_sets_all_and_of_duplicates_the_last(mut lab: impl Lab) {
        let store = lab.plain().await;
        let entries =
            [("a", "1"), ("b", "2"), ("a", "3")].map(|(key, value)| (key.to_owned(), bytes(value)));
        assert_eq!(store.set_many("default", entries.to_vec()).await, Ok(()));
        assert_eq!(store.get("default", "a").await, Ok(Some(bytes("3"))));
        assert_eq!(store.get("default", "b").await, Ok(Some(bytes("2"))));
    }

    pub(super) async fn delete_many_removes_all_and_skips_the_missing(mut lab: impl Lab) {
        let store = lab.plain().await;
        for name in ["a", "b", "c"] {
            store.set("default", name, &bytes("v")).await.unwrap();
        }
        let names = ["a", "nope", "c", "a"].map(str::to_owned).to_vec();
        assert_eq!(store.delete_many("default", names).await, Ok(()));
        let (_, left) = all_keys(&store, "default").await;
        assert_eq!(left, ["b".to_owned()].into());
    }

    pub(super) async fn empty_batches_do_nothing(mut lab: impl Lab) {
        let store = lab.plain().await;
        assert_eq!(store.get_many("default", Vec::new()).await, Ok(Vec::new()));
        assert_eq!(store.set_many("default", Vec::new()).await, Ok(()));
        assert_eq!(store.delete_many("default", Vec::new()).await, Ok(()));
    }

    pub(super) async fn two_thousand_keys_are_one_page(mut lab: impl Lab) {
        let store = lab.plain().await;
        let names: BTreeSet<String> = (0..2000)
            .map(|n| format!("visits/region-{n}/browser/os"))
            .collect();
        let entries = names
            .iter()
            .map(|name| (name.clone(), bytes("1")))
            .collect();
        store.set_many("default", entries).await.unwrap();
        let page = store.list_keys("default", None).await.unwrap();
        assert_eq!(page.cursor, None);
        assert_eq!(page.keys.into_iter().collect::<BTreeSet<_>>(), names);
        assert_eq!(
            store
                .list_keys("default", Some(0))
                .await
                .unwrap()
                .keys
                .len(),
            2000
        );
    }

    pub(super) async fn an_empty_store_has_no_keys_and_no_cursor(mut lab: impl Lab) {
        let store = lab.plain().await;
        assert_eq!(store.list_keys("default", None).await, Ok(Page::default()));
    }

    pub(super) async fn pages_name_every_key_and_none_twice_on_a_page(mut lab: impl Lab) {
        let page = PageLimits {
            keys: 50,
            bytes: 1 << 20,
        };
        let store = lab
            .store(
                Buckets::default(),
                Limits {
                    page,
                    ..Limits::DEFAULT
                },
            )
            .await;
        let names: BTreeSet<String> = (0..1000).map(|n| format!("k{n}")).collect();
        let entries = names
            .iter()
            .map(|name| (name.clone(), bytes("1")))
            .collect();
        store.set_many("default", entries).await.unwrap();
        let (pages, listed) = all_keys(&store, "default").await;
        assert_eq!(listed, names);
        assert!(pages.len() >= 10, "{} pages", pages.len());
        for page in pages {
            // SCAN's COUNT is a wish: a step may bring a few keys more.
            assert!(page.keys.len() <= 100, "{} keys on a page", page.keys.len());
            assert_eq!(
                page.keys.iter().collect::<BTreeSet<_>>().len(),
                page.keys.len()
            );
        }
    }

    pub(super) async fn a_page_of_long_keys_stays_near_its_bytes(mut lab: impl Lab) {
        let page = PageLimits {
            keys: 10_000,
            bytes: 64 * 1024,
        };
        let store = lab
            .store(
                Buckets::default(),
                Limits {
                    page,
                    ..Limits::DEFAULT
                },
            )
            .await;
        let names: BTreeSet<String> = (0..500).map(|n| format!("{n:01000}")).collect();
        let entries = names
            .iter()
            .map(|name| (name.clone(), bytes("1")))
            .collect();
        store.set_many("default", entries).await.unwrap();
        let (pages, listed) = all_keys(&store, "default").await;
        assert_eq!(listed, names);
        for page in pages {
            let size: usize = page.keys.iter().map(String::len).sum();
            assert!(size <= 128 * 1024, "{size} bytes on a page");
        }
    }

    pub(super) async fn keys_that_stay_are_listed_while_others_come_and_go(mut lab: impl Lab) {
        let page = PageLimits {
            keys: 100,
            bytes: 1 << 20,
        };
        let store = lab
            .store(
                Buckets::default(),
                Limits {
                    page,
                    ..Limits::DEFAULT
                },
            )
            .await;
        let stay: BTreeSet<String> = (0..1000).map(|n| format!("stay{n}")).collect();
        store
            .set_many(
                "default",
                stay.iter().map(|name| (name.clone(), bytes("1"))).collect(),
            )
            .await
            .unwrap();
        let mut listed = BTreeSet::new();
        let mut cursor = None;
        for round in 0.. {
            let page = store.list_keys("default", cursor).await.unwrap();
            listed.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
            if round >= 6 {
                continue; // a crowd that never stops growing never stops being listed
            }
            // Enough newcomers to make a hash table grow, and enough leavers to make it shrink.
            let crowd: Vec<String> = (0..2000).map(|n| format!("go{round}-{n}")).collect();
            store
                .set_many(
                    "default",
                    crowd
                        .iter()
                        .map(|name| (name.clone(), bytes("1")))
                        .collect(),
                )
                .await
                .unwrap();
            if round % 2 == 1 {
                store.delete_many("default", crowd).await.unwrap();
            }
        }
        assert!(
            listed.is_superset(&stay),
            "{} of 1000 listed",
            listed.intersection(&stay).count()
        );
    }

    pub(super) async fn buckets_keep_their_keys_apart(mut lab: impl Lab) {
        let buckets = Buckets::declared(["default", "a", "a-b"]).unwrap();
        let store = lab.store(buckets, Limits::DEFAULT).await;
        for bucket in ["default", "a", "a-b"] {
            store.set(bucket, "k", &bytes(bucket)).await.unwrap();
            store.increment(bucket, "n", 1).await.unwrap();
        }
        for bucket in ["default", "a", "a-b"] {
            assert_eq!(store.get(bucket, "k").await, Ok(Some(bytes(bucket))));
            assert_eq!(store.increment(bucket, "n", 1).await, Ok(2));
            let (_, listed) = all_keys(&store, bucket).await;
            assert_eq!(listed, ["k".to_owned(), "n".to_owned()].into());
        }
        assert_eq!(
            store.get("", "k").await,
            Ok(Some(bytes("default"))),
            "the empty name is the default bucket"
        );
        store.delete("a", "k").await.unwrap();
        assert_eq!(store.exists("default", "k").await, Ok(true));
        assert_eq!(store.exists("a-b", "k").await, Ok(true));
        let place = "@kv/bucket/a-b/k";
        assert_eq!(store.get("default", place).await, Err(Error::ReservedKey));
        assert_eq!(
            store.set("default", place, &bytes("x")).await,
            Err(Error::ReservedKey)
        );
        assert_eq!(store.set("a", place, &bytes("x")).await, Ok(()));
        assert_eq!(store.get("a-b", "k").await, Ok(Some(bytes("a-b"))));
    }

    pub(super) async fn a_bucket_that_is_not_declared_is_no_such_bucket(mut lab: impl Lab) {
        let store = lab
            .store(Buckets::declared(["sessions"]).unwrap(), Limits::DEFAULT)
            .await;
        assert_eq!(store.set("sessions", "k", &bytes("v")).await, Ok(()));
        for bucket in ["default", "", "other", "Sessions"] {
            let unknown = Error::NoSuchBucket;
            assert_eq!(store.get(bucket, "k").await, Err(unknown.clone()));
            assert_eq!(
                store.set(bucket, "k", &bytes("v")).await,
                Err(unknown.clone())
            );
            assert_eq!(store.delete(bucket, "k").await, Err(unknown.clone()));
            assert_eq!(store.exists(bucket, "k").await, Err(unknown.clone()));
            assert_eq!(store.increment(bucket, "k", 1).await, Err(unknown.clone()));
            assert_eq!(store.list_keys(bucket, None).await, Err(unknown.clone()));
            assert_eq!(
                store.get_many(bucket, Vec::new()).await,
                Err(unknown.clone())
            );
            assert_eq!(
                store.set_many(bucket, Vec::new()).await,
                Err(unknown.clone())
            );
            assert_eq!(store.delete_many(bucket, Vec::new()).await, Err(unknown));
        }
    }

    pub(super) async fn oversized_input_is_refused_with_its_bound_and_changes_nothing(
        mut lab: impl Lab,
    ) {
        let limits = Limits {
            key_bytes: 8,
            value_bytes: 16,
            batch_keys: 4,
            batch_bytes: 64,
            ..Limits::DEFAULT
        };
        let store = lab.store(Buckets::default(), limits).await;
        let long = "k".repeat(9);
        let too_long = Error::KeyTooLong { bytes: 9, max: 8 };
        let large = Bytes::from(vec![b'v'; 17]);
        let too_large = Error::ValueTooLarge { bytes: 17, max: 16 };

        for (name, error) in [("", Error::EmptyKey), (long.as_str(), too_long.clone())] {
            assert_eq!(store.get("default", name).await, Err(error.clone()));
            assert_eq!(
                store.set("default", name, &bytes("v")).await,
                Err(error.clone())
            );
            assert_eq!(store.delete("default", name).await, Err(error.clone()));
            assert_eq!(store.exists("default", name).await, Err(error.clone()));
            assert_eq!(
                store.increment("default", name, 1).await,
                Err(error.clone())
            );
            let batch = vec!["a".to_owned(), name.to_owned()];
            assert_eq!(
                store.get_many("default", batch.clone()).await,
                Err(error.clone())
            );
            assert_eq!(
                store.delete_many("default", batch.clone()).await,
                Err(error.clone())
            );
            let entries = batch.into_iter().map(|name| (name, bytes("v"))).collect();
            assert_eq!(store.set_many("default", entries).await, Err(error));
        }
        assert_eq!(
            store.set("default", "k", &large).await,
            Err(too_large.clone())
        );
        let entries = vec![("a".to_owned(), bytes("v")), ("b".to_owned(), large)];
        assert_eq!(store.set_many("default", entries).await, Err(too_large));

        let five: Vec<String> = (0..5).map(|n| n.to_string()).collect();
        let too_many = Error::BatchTooLong { keys: 5, max: 4 };
        assert_eq!(
            store.get_many("default", five.clone()).await,
            Err(too_many.clone())
        );
        assert_eq!(
            store.delete_many("default", five.clone()).await,
            Err(too_many.clone())
        );
        let entries = five.into_iter().map(|name| (name, Bytes::new())).collect();
        assert_eq!(store.set_many("default", entries).await, Err(too_many));
        let entries = (0..4)
            .map(|n| (n.to_string(), Bytes::from(vec![b'v'; 16])))
            .collect();
        assert_eq!(
            store.set_many("default", entries).await,
            Err(Error::BatchTooLarge { bytes: 68, max: 64 })
        );

        assert_eq!(store.list_keys("default", None).await, Ok(Page::default()));
    }

    pub(super) async fn a_value_too_large_to_answer_is_refused_on_reading(mut lab: impl Lab) {
        let limits = Limits {
            value_bytes: 40,
            batch_bytes: 64,
            ..Limits::DEFAULT
        };
        let store = lab.store(Buckets::default(), limits).await;
        for name in ["a", "b"] {
            store
                .set("default", name, &Bytes::from(vec![b'v'; 40]))
                .await
                .unwrap();
        }
        let names = vec!["a".to_owned(), "b".to_owned()];
        let error = Error::BatchTooLarge { bytes: 80, max: 64 };
        assert_eq!(store.get_many("default", names).await, Err(error));
        assert!(store.get("default", "a").await.unwrap().is_some());
    }
}
