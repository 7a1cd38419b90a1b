//! Pausing, resuming, draining, and the end of an orphan, with real processes and a real NATS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::Pid;
use provider_harness::{command, eventually, link, Host, NatsServer, Process};
use support::{binary, greet, greet_by, greet_name, greeted, host, start, PATIENCE, PROVIDER};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{sleep, Instant};

/// Calls a hundred times, and counts who answered.
async fn answers(host: &Host) -> BTreeMap<String, usize> {
    let caller = host.caller().await.unwrap();
    let mut answers = BTreeMap::new();
    for _ in 0..100 {
        let answer = greet_by(&caller, "default").await.unwrap().unwrap();
        *answers.entry(answer).or_default() += 1;
    }
    answers
}

async fn answer_only(host: &Host, names: &[&str]) {
    eventually(PATIENCE, || async {
        let answers = answers(host).await;
        let who: Vec<&str> = answers.keys().map(String::as_str).collect();
        anyhow::ensure!(who == names, "{answers:?}");
        Ok(())
    })
    .await
    .unwrap();
}

fn greeting(host: Host, greeting: &str) -> Host {
    host.with_link(link("hello", "default", [("greeting", greeting)]))
        .with_link(link(
            "hello",
            "slow",
            [("greeting", greeting), ("delay_ms", "700")],
        ))
}

/// A host whose provider is paused while the file exists.
fn pausable(host: Host, directory: &TempDir) -> (Host, PathBuf) {
    let file = directory.path().join("pause");
    let host = host.with_config([("pause_file", file.to_str().unwrap())]);
    (host, file)
}

#[tokio::test]
async fn a_paused_provider_leaves_its_queue_group_and_a_resumed_one_returns() {
    let nats = NatsServer::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (first, file) = pausable(greeting(host(&nats).await, "First"), &directory);
    let second = greeting(host(&nats).await, "Second");
    let _first = start(&first).await;
    greeted(&first, Ok("First, World")).await;

    // A call in flight when the pause comes is finished.
    let slow = tokio::spawn({
        let host = first.clone();
        async move { greet(&host, "slow").await }
    });
    sleep(Duration::from_millis(200)).await;
    let _second = start(&second).await;
    answer_only(&second, &["First, World", "Second, World"]).await;

    tokio::fs::write(&file, "").await.unwrap();
    answer_only(&second, &["Second, World"]).await;
    let slow = slow.await.unwrap().unwrap();
    assert_eq!(slow, Ok("First, World".into()));
    // Left for good, not only unlucky.
    for _ in 0..5 {
        assert_eq!(answers(&second).await.get("Second, World"), Some(&100));
    }

    tokio::fs::remove_file(&file).await.unwrap();
    answer_only(&second, &["First, World", "Second, World"]).await;
}

/// Calls without a pause until told to stop, and returns how many calls were answered by whom.
async fn call_until(host: Host, stop: Arc<AtomicBool>) -> BTreeMap<String, usize> {
    let caller = host.caller().await.unwrap();
    let mut answers = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let answer = greet_by(&caller, "default").await.unwrap().unwrap();
        *answers.entry(answer).or_default() += 1;
    }
    answers
}

/// Callers that call all the time. They have to run on one thread: on several, `wrpc_transport_nats`
/// 0.29 can read an answer before it has noted who waits for it, and drops it.
struct Load {
    stop: Arc<AtomicBool>,
    callers: JoinSet<BTreeMap<String, usize>>,
}

impl Load {
    fn on(host: &Host) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let callers = (0..16).map(|_| call_until(host.clone(), Arc::clone(&stop)));
        let callers = callers.collect();
        Self { stop, callers }
    }

    /// Ends it; every call must have been answered.
    async fn end(self) -> BTreeMap<String, usize> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = BTreeMap::new();
        for answers in self.callers.join_all().await {
            for (answer, count) in answers {
                *sum.entry(answer).or_default() += count;
            }
        }
        sum
    }
}

async fn logged(provider: &Process, text: &str, times: usize) {
    eventually(PATIENCE, || async {
        let count = provider.log().matches(text).count();
        anyhow::ensure!(count >= times, "{count} times `{text}`, not {times}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn pausing_under_load_loses_no_call() {
    let nats = NatsServer::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (first, file) = pausable(greeting(host(&nats).await, "First"), &directory);
    let second = greeting(host(&nats).await, "Second");
    let pausing = start(&first).await;
    let other = start(&second).await;
    logged(&pausing, ": serving\n", 1).await;
    logged(&other, ": serving\n", 1).await;

    let load = Load::on(&second);
    // It may have begun with a pause, before its file was looked for.
    let said = |text: &str| pausing.log().matches(text).count();
    for _ in 0..40 {
        let (paused, served) = (said("serving is paused"), said(": serving\n"));
        tokio::fs::write(&file, "").await.unwrap();
        logged(&pausing, "serving is paused", paused + 1).await;
        tokio::fs::remove_file(&file).await.unwrap();
        logged(&pausing, ": serving\n", served + 1).await;
    }
    let answers = load.end().await;
    println!("{answers:?}");
    assert!(answers["First, World"] > 0 && answers["Second, World"] > 0);
}

#[tokio::test]
async fn stopping_under_load_loses_no_call() {
    let nats = NatsServer::start().await.unwrap();
    // Only the stopped one listens to its host's stop: the other one has another host.
    let first = greeting(host(&nats).await, "First");
    let second = greeting(
        Host::new(&nats, "NOTHER", PROVIDER).await.unwrap(),
        "Second",
    );
    let _second = start(&second).await;
    greeted(&second, Ok("Second, World")).await;
    let load = Load::on(&second);
    for _ in 0..8 {
        let mut patient = command(binary());
        patient.env("ECHO_DRAIN_MS", "8000");
        let mut stopped = Process::start(patient, &first).await.unwrap();
        logged(&stopped, ": serving\n", 1).await;
        first.stop_provider().await.unwrap();
        let status = stopped.ended(PATIENCE).await.unwrap();
        assert_eq!(status.code(), Some(0), "{}", stopped.log());
    }
    let answers = load.end().await;
    println!("{answers:?}");
    assert!(answers["First, World"] > 0 && answers["Second, World"] > 0);
}

#[tokio::test]
async fn a_call_to_nobody_but_paused_providers_fails_at_once() {
    let nats = NatsServer::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (host, file) = pausable(greeting(host(&nats).await, "Hello"), &directory);
    tokio::fs::write(&file, "").await.unwrap();
    let _provider = start(&host).await;
    eventually(PATIENCE, || async {
        let health = host.health().await?;
        anyhow::ensure!(!health.healthy);
        Ok(())
    })
    .await
    .unwrap();
    for _ in 0..10 {
        let asked = Instant::now();
        assert!(greet(&host, "default").await.is_err());
        // Not after the deadline of a call.
        assert!(asked.elapsed() < PATIENCE / 2);
    }
    // Up and down again, several times.
    for _ in 0..3 {
        tokio::fs::remove_file(&file).await.unwrap();
        greeted(&host, Ok("Hello, World")).await;
        tokio::fs::write(&file, "").await.unwrap();
        eventually(PATIENCE, || async {
            anyhow::ensure!(greet(&host, "default").await.is_err());
            Ok(())
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_provider_that_is_stopped_finishes_what_takes_no_longer_than_the_grace() {
    let nats = NatsServer::start().await.unwrap();
    let host = host(&nats)
        .await
        .with_link(link("hello", "default", [("greeting", "Hello")]))
        .with_link(link(
            "hello",
            "quick",
            [("greeting", "Bye"), ("delay_ms", "1000")],
        ));
    let mut patient = command(binary());
    patient.env("ECHO_DRAIN_MS", "8000");
    let mut provider = Process::start(patient, &host).await.unwrap();
    greeted(&host, Ok("Hello, World")).await;
    let call = tokio::spawn({
        let host = host.clone();
        async move { greet(&host, "quick").await }
    });
    sleep(Duration::from_millis(300)).await;
    host.stop_provider().await.unwrap();
    assert_eq!(call.await.unwrap().unwrap(), Ok("Bye, World".into()));
    let status = provider.ended(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", provider.log());
}

#[tokio::test]
async fn a_provider_that_is_stopped_waits_for_nobody_longer_than_the_grace() {
    let nats = NatsServer::start().await.unwrap();
    let endless = [("greeting", "Bye"), ("delay_ms", "60000")];
    let host = greeting(host(&nats).await, "Hello").with_link(link("hello", "endless", endless));
    let mut provider = start(&host).await;
    greeted(&host, Ok("Hello, World")).await;
    let call = tokio::spawn({
        let host = host.clone();
        async move { greet(&host, "endless").await }
    });
    sleep(Duration::from_millis(300)).await;
    host.stop_provider().await.unwrap();
    // Long before the call would be over. That the grace fits into the host's is a unit test.
    provider.ended(PATIENCE).await.unwrap();
    call.abort();
}

#[tokio::test]
async fn an_orphan_ends_itself() {
    // Orphans become this process's children, so that their end can be seen.
    set_child_subreaper(true).unwrap();
    let nats = NatsServer::start().await.unwrap();
    let host = greeting(host(&nats).await, "Hello");
    let (mut parent, provider) = Process::start_below_a_parent(&binary(), &host)
        .await
        .unwrap();
    greeted(&host, Ok("Hello, World")).await;
    parent.kill().await.unwrap();
    let status = eventually(PATIENCE, || async {
        match waitpid(Pid::from_raw(provider), Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::StillAlive => anyhow::bail!("the orphan lives"),
            status => Ok(status),
        }
    })
    .await
    .unwrap();
    assert_eq!(status, WaitStatus::Exited(Pid::from_raw(provider), 3));
    assert!(parent.log().contains("its host"), "{}", parent.log());
    assert!(greet(&host, "default").await.is_err());
}

#[tokio::test]
async fn a_call_that_is_larger_than_a_message_is_heard_and_answered_in_full() {
    let nats = NatsServer::start().await.unwrap();
    let host = greeting(host(&nats).await, "Hello");
    let _provider = start(&host).await;
    greeted(&host, Ok("Hello, World")).await;
    let caller = host.caller().await.unwrap();
    let name = "a long name ".repeat(300_000);
    for _ in 0..3 {
        let answer = greet_name(&caller, "default", &name).await;
        assert!(answer.unwrap() == Ok(format!("Hello, {name}")));
    }
}

#[tokio::test]
async fn a_caller_that_dies_half_way_does_not_block_others_for_good() {
    let nats = NatsServer::start().await.unwrap();
    let host = greeting(host(&nats).await, "Hello");
    let _provider = start(&host).await;
    greeted(&host, Ok("Hello, World")).await;
    // A string of ten bytes is announced, three arrive.
    let subject = format!("{}.wrpc.0.0.1.example:echo/echo@0.1.0.greet", host.prefix());
    let inbox = host.nats().new_inbox();
    host.nats()
        .publish_with_reply(subject, inbox, "\u{a}abc".into())
        .await
        .unwrap();
    host.nats().flush().await.unwrap();
    let asked = Instant::now();
    greeted(&host, Ok("Hello, World")).await;
    assert!(asked.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_provider_without_usable_host_data_ends_with_one_line() {
    let nats = NatsServer::start().await.unwrap();
    let host = host(&nats).await.with_config([("unknown", "x")]);
    let mut provider = Process::start(command(binary()), &host).await.unwrap();
    let status = provider.ended(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(1));
    let log = provider.log();
    assert_eq!(
        log,
        "echo failed: failed to start: config key `unknown` is unknown, known are `pause_file`\n"
    );
}
