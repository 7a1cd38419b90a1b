//! How many calls a page view makes, counted on the NATS server of the region that serves it.

use std::collections::BTreeMap;

use e2e::stage::Running;
use e2e::wait::{seconds, until};
use futures::StreamExt as _;
use tokio::time::timeout;

use crate::hostile::{Stores, Strangers};
use crate::STAGE;

const EXPECTED: [&str; 4] = ["get", "get-many", "increment", "list-keys"];

#[test]
fn a_page_view_takes_four_calls_for_two_thousand_keys_as_for_a_few() {
    STAGE.play(async |running| {
        // The counter that the views below need exists by then.
        calls(running, "fra").await;
        assert_eq!(calls(running, "fra").await, EXPECTED);

        let mut stores = Stores::of(running).await;
        let strangers = Strangers::add(&mut stores, 2_000).await;
        let answer = running.told("fra").await;
        assert!(
            answer.regions.len() > 2_000,
            "{} regions",
            answer.regions.len()
        );
        assert_eq!(calls(running, "fra").await, EXPECTED);
        strangers.remove(&mut stores).await;
    });
}

/// The functions called for one view of a region's page, sorted. A page of which a call was lost never
/// comes (docs/performance.md); then another view is counted, from its start.
async fn calls(running: &Running, region: &str) -> Vec<String> {
    let place = running.lattice.place(region).unwrap();
    let nats = async_nats::connect(format!("127.0.0.1:{}", place.ports.nats))
        .await
        .unwrap();
    until("a view of which no call is lost", seconds(30), || async {
        // A call is one message on INVOCATION; what follows it, on both sides, goes to inboxes.
        let mut invocations = nats.subscribe("default.*.wrpc.0.0.1.>").await.unwrap();
        nats.flush().await.unwrap();
        view(running, region).await?;
        // Sent to the same server after the page had come, so it is behind every call for it.
        nats.publish("default.e2e.wrpc.0.0.1.end", "".into())
            .await
            .unwrap();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        loop {
            let message = timeout(seconds(20), invocations.next())
                .await
                .expect("the end")
                .unwrap();
            let subject = message.subject.to_string();
            if subject.ends_with(".end") {
                break;
            }
            *seen.entry(subject).or_default() += 1;
        }
        let mut functions: Vec<String> = Vec::new();
        for (subject, count) in &seen {
            let function = subject.rsplit('.').next().unwrap();
            functions.extend(vec![function.to_owned(); *count]);
        }
        functions.sort();
        Ok(functions)
    })
    .await
}

/// Past the edge, which might ask twice.
///
/// # Errors
///
/// The page does not come.
async fn view(running: &Running, region: &str) -> Result<(), String> {
    let client = reqwest::Client::builder()
        .timeout(seconds(10))
        .build()
        .unwrap();
    let page = async {
        let answer = client.get(running.url_of(region)).send().await?;
        assert_eq!(answer.status(), 200);
        answer.bytes().await
    };
    match page.await {
        Err(error) if error.is_timeout() => {
            e2e::tell(&format!("a page of {region} does not come"));
            Err(error.to_string())
        }
        page => {
            page.unwrap();
            Ok(())
        }
    }
}
