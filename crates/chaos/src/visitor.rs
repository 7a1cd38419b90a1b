//! Visitors of the page, through the edge.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::history::Visit;
use crate::recorder::Recorder;

/// How long a visitor waits: longer than the edge promises, so that a broken promise shows as what it is.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a visitor does between two requests: look at the page.
const PAUSE: Duration = Duration::from_millis(60);

/// Visits the page at `url` as somebody from `home` until told to stop.
pub async fn visit(
    url: String,
    home: String,
    recorder: Arc<Recorder>,
    over: watch::Receiver<bool>,
) {
    let client = reqwest::Client::builder().timeout(PATIENCE).build();
    let Ok(client) = client else {
        return;
    };
    while !*over.borrow() {
        let start = recorder.now();
        let (page, failure) = match look(&client, &url, &home).await {
            Ok(region) => (Some(region), None),
            Err(reason) => (None, Some(reason)),
        };
        recorder.visit(Visit {
            home: home.clone(),
            start,
            end: recorder.now(),
            page,
            failure,
        });
        sleep(PAUSE).await;
    }
}

/// Gets the whole page; who served it, or why there was none.
async fn look(client: &reqwest::Client, url: &str, home: &str) -> Result<String, String> {
    let request = client.get(url).header("x-home-region", home);
    let response = request.send().await.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let served = response.headers().get("x-served-by");
    let region = served.and_then(|name| name.to_str().ok()).unwrap_or("?");
    let region = region.to_owned();
    let body = response.text().await.map_err(|error| error.to_string())?;
    if status != 200 {
        return Err(format!("{region} answers {status}"));
    }
    if !body.trim_end().ends_with("</html>") {
        return Err(format!("not the whole page: {} bytes", body.len()));
    }
    Ok(region)
}
