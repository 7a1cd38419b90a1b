//! The labels of the host a provider runs on.
//!
//! A provider does not inherit its host's environment, and wadm config is the same for the whole
//! lattice: labels are how a provider learns what is particular to its own host.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// Labels, by name. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSet(Arc<BTreeMap<String, String>>);

impl LabelSet {
    /// The value of a label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The first of several labels that is there and not empty.
    #[must_use]
    pub fn first_of(&self, names: &[&str]) -> Option<&str> {
        names
            .iter()
            .filter_map(|name| self.get(name))
            .find(|value| !value.is_empty())
    }

    /// The names of all labels, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// These labels, and those of `under` that are not among them.
    pub(crate) fn over(&self, under: &LabelSet) -> LabelSet {
        let mut all = (*under.0).clone();
        all.extend(self.0.iter().map(|(k, v)| (k.clone(), v.clone())));
        LabelSet(Arc::new(all))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for LabelSet {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        Self(Arc::new(
            labels
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        ))
    }
}

/// A view on the host's labels, which become known some time after the provider has started.
///
/// The kit asks the lattice's control interface for them, in the background, and falls back to
/// the environment's `OTEL_RESOURCE_ATTRIBUTES` when it gets no answer in time.
#[derive(Debug, Clone)]
pub struct Labels {
    known: watch::Receiver<Option<LabelSet>>,
}

impl Labels {
    pub(crate) fn new(known: watch::Receiver<Option<LabelSet>>) -> Self {
        Self { known }
    }

    /// Labels that are known from the beginning and never change: for tests.
    #[must_use]
    pub fn fixed(labels: LabelSet) -> Self {
        Self {
            known: watch::channel(Some(labels)).1,
        }
    }

    /// The labels, if they are known yet.
    #[must_use]
    pub fn current(&self) -> Option<LabelSet> {
        self.known.borrow().clone()
    }

    /// Waits until the labels are known. This always ends: there is a fallback.
    pub async fn wait(&self) -> LabelSet {
        let mut known = self.known.clone();
        let labels = match known.wait_for(Option::is_some).await {
            Ok(labels) => labels.clone(),
            Err(_) => None,
        };
        labels.unwrap_or_default()
    }

    /// Waits until the labels differ from what this handle has seen; `None` when they never
    /// will again.
    pub async fn changed(&mut self) -> Option<LabelSet> {
        loop {
            self.known.changed().await.ok()?;
            if let Some(labels) = self.known.borrow_and_update().clone() {
                return Some(labels);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_label_that_says_something_wins() {
        let labels = LabelSet::from_iter([("region", ""), ("fly_region", "iad")]);
        assert_eq!(labels.first_of(&["region", "fly_region"]), Some("iad"));
        assert_eq!(labels.first_of(&["zone"]), None);
    }

    #[test]
    fn labels_lie_over_what_they_do_not_name() {
        let host = LabelSet::from_iter([("region", "iad")]);
        let environment = LabelSet::from_iter([("region", "fra"), ("host.id", "7")]);
        assert_eq!(
            host.over(&environment),
            LabelSet::from_iter([("region", "iad"), ("host.id", "7")])
        );
    }

    #[tokio::test]
    async fn waiting_ends_when_the_labels_are_known() {
        let (sender, receiver) = watch::channel(None);
        let labels = Labels::new(receiver);
        assert_eq!(labels.current(), None);
        let waiting = tokio::spawn({
            let labels = labels.clone();
            async move { labels.wait().await }
        });
        let known = LabelSet::from_iter([("region", "iad")]);
        sender.send_replace(Some(known.clone()));
        assert_eq!(waiting.await.unwrap(), known);
        assert_eq!(labels.current(), Some(known));
    }
}
