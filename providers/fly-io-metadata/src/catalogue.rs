//! The names of Fly's regions, from the Machines API.

use std::collections::HashMap;
use std::time::Duration;

use metadata_kit::{fetch, FetchError, Region, RegionCode};
use provider_kit::{within, Secret};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use crate::error::Error;

const MAX_ANSWER: usize = 1 << 20;
const MAX_REGIONS: usize = 1000;
const MAX_NAME: usize = 128;

/// The regions' names. Without a token, only those of the static table.
#[derive(Debug)]
pub struct Catalogue {
    source: Option<Source>,
    names: HashMap<RegionCode, String>,
    /// When to ask again.
    stale: Option<Instant>,
}

/// The API, and how to ask it.
#[derive(Debug)]
pub struct Source {
    pub address: Url,
    pub token: Secret,
    pub timeout: Duration,
    pub refresh: Duration,
}

impl Catalogue {
    pub fn new(source: Option<Source>) -> Self {
        Self {
            source,
            names: HashMap::new(),
            stale: None,
        }
    }

    /// The region with this code: named by the API, by the static table, or by its own code.
    pub fn region(&self, code: RegionCode) -> Region {
        match self.names.get(&code) {
            Some(name) => Region::named(code, name),
            None => Region::of(code),
        }
    }

    /// Asks the API for the names, when they are due.
    ///
    /// # Errors
    ///
    /// When it does not answer as it should; the names known so far stay.
    pub async fn refresh(&mut self) -> Result<(), Error> {
        let Some(source) = &self.source else {
            return Ok(());
        };
        let now = Instant::now();
        if self.stale.is_some_and(|due| now < due) {
            return Ok(());
        }
        let asked = within(source.timeout, "the Machines API", ask(source)).await?;
        self.names = read(&asked.map_err(Error::Ask)?)?;
        self.stale = now.checked_add(source.refresh);
        Ok(())
    }
}

async fn ask(source: &Source) -> Result<Vec<u8>, FetchError> {
    let mut url = source.address.clone();
    url.set_path("/v1/platform/regions");
    let http = reqwest::Client::builder()
        .no_proxy()
        // The token is for this address and no other.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(FetchError::Request)?;
    fetch(http.get(url).bearer_auth(source.token.expose()), MAX_ANSWER).await
}

#[derive(Deserialize)]
struct Answer {
    #[serde(alias = "Regions")]
    regions: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    code: String,
    name: String,
}

fn read(answer: &[u8]) -> Result<HashMap<RegionCode, String>, Error> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| Error::Regions)?;
    let names: HashMap<RegionCode, String> = answer
        .regions
        .into_iter()
        .take(MAX_REGIONS)
        .filter_map(|entry| {
            let code = RegionCode::try_from(entry.code.as_str()).ok()?;
            let fits = (1..=MAX_NAME).contains(&entry.name.chars().count());
            (fits && !entry.name.chars().any(char::is_control)).then_some((code, entry.name))
        })
        .collect();
    // A catalogue of nothing would un-name every region.
    if names.is_empty() {
        return Err(Error::Regions);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_apis_names_are_read() {
        let names = read(
            br#"{ "Regions": [
                { "code": "iad", "name": "Ashburn, Virginia (US)", "latitude": 39.0,
                  "gateway_available": true },
                { "code": "tau", "name": "Tau Ceti, Space" } ], "nearest": "iad" }"#,
        )
        .unwrap();
        assert_eq!(names.len(), 2);
        assert_eq!(names[&"tau".parse().unwrap()], "Tau Ceti, Space");
        assert!(read(br#"{ "regions": [ { "code": "iad", "name": "A" } ] }"#).is_ok());
    }

    #[test]
    fn an_answer_without_a_usable_region_is_malformed() {
        for answer in [
            "",
            "[]",
            "<html>",
            r#"{ "Regions": [] }"#,
            r#"{ "Regions": [ { "code": "two words", "name": "x" } ] }"#,
            r#"{ "Regions": [ { "code": "iad", "name": "line\nbreak" } ] }"#,
            r#"{ "Regions": [ { "code": 7, "name": "x" } ] }"#,
        ] {
            assert!(
                matches!(read(answer.as_bytes()), Err(Error::Regions)),
                "{answer}"
            );
        }
    }

    #[test]
    fn without_the_api_the_static_table_names_regions() {
        let catalogue = Catalogue::new(None);
        let name = |code: &str| catalogue.region(code.parse().unwrap()).name;
        assert_eq!(name("fra"), "Frankfurt, Germany");
        assert_eq!(name("qqq"), "qqq");
    }
}
