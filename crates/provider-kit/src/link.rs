//! The links of a provider, by component and link name.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tracing::Span;
use wasmcloud_provider_sdk::Context;

use crate::{ConfigError, LabelSet, RawConfig};

/// Names a link: which component calls, under which link name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId {
    component: String,
    name: String,
}

impl LinkId {
    /// The link called `name` of `component`.
    pub fn new(component: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            component: component.into(),
            name: name.into(),
        }
    }

    /// The id of the component at the other end.
    #[must_use]
    pub fn component(&self) -> &str {
        &self.component
    }

    /// The name of the link, `default` unless the manifest gives one.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.component, self.name)
    }
}

/// Why a call has no link to go by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The call does not say which component it comes from.
    #[error("the call names no component")]
    Anonymous,
    /// The component has no link of that name to this provider (or not yet).
    #[error("component `{}` has no link `{}` to this provider", .0.component, .0.name)]
    Missing(LinkId),
    /// The link's config needs the host's labels, which are not known yet.
    #[error("link {0} waits for the labels of its host")]
    Pending(LinkId),
    /// The link's config was refused.
    #[error("link {id} is refused: {source}")]
    Refused {
        /// The link.
        id: LinkId,
        /// What is wrong with its config.
        source: Box<ConfigError>,
    },
}

impl LinkError {
    /// Whether trying again without any change of config may help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Pending(_) | Self::Missing(_))
    }
}

enum State<L> {
    Pending,
    Ready(Arc<L>),
    Refused(ConfigError),
}

struct Entry<L> {
    config: RawConfig,
    state: State<L>,
}

/// The provider's links, each with the state `L` that the provider made for it. Cheap to
/// clone; clones share one table.
pub struct Links<L> {
    table: Arc<RwLock<HashMap<LinkId, Entry<L>>>>,
}

impl<L> Clone for Links<L> {
    fn clone(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
        }
    }
}

impl<L> Default for Links<L> {
    fn default() -> Self {
        Self {
            table: Arc::default(),
        }
    }
}

impl<L> fmt::Debug for Links<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.read().keys()).finish()
    }
}

impl<L> Links<L> {
    /// The state of the link that a call came by. The span of the call gets the fields
    /// `component` and `link`.
    ///
    /// # Errors
    ///
    /// [`LinkError`] when there is none, or none yet.
    pub fn of_call(&self, context: Option<&Context>) -> Result<Arc<L>, LinkError> {
        let context = context.ok_or(LinkError::Anonymous)?;
        let component = context.component.as_deref().ok_or(LinkError::Anonymous)?;
        let link = context.link_name();
        let span = Span::current();
        span.record("component", component);
        span.record("link", link);
        self.get(&LinkId::new(component, link))
    }

    /// The state of a link.
    ///
    /// # Errors
    ///
    /// [`LinkError`] when there is none, or none yet.
    pub fn get(&self, id: &LinkId) -> Result<Arc<L>, LinkError> {
        match self.read().get(id).map(|entry| &entry.state) {
            Some(State::Ready(link)) => Ok(Arc::clone(link)),
            Some(State::Pending) => Err(LinkError::Pending(id.clone())),
            Some(State::Refused(source)) => Err(LinkError::Refused {
                id: id.clone(),
                source: Box::new(source.clone()),
            }),
            None => Err(LinkError::Missing(id.clone())),
        }
    }

    /// Whether there is such a link, ready or not.
    pub(crate) fn contains(&self, id: &LinkId) -> bool {
        self.read().contains_key(id)
    }

    /// All links that are ready.
    #[must_use]
    pub fn ready(&self) -> Vec<(LinkId, Arc<L>)> {
        self.read()
            .iter()
            .filter_map(|(id, entry)| match &entry.state {
                State::Ready(link) => Some((id.clone(), Arc::clone(link))),
                State::Pending | State::Refused(_) => None,
            })
            .collect()
    }

    /// Puts a link, replacing one of the same name. `make` turns its config into state; it is
    /// not called while the labels it needs are unknown.
    pub(crate) fn put(
        &self,
        id: LinkId,
        config: RawConfig,
        labels: Option<&LabelSet>,
        make: impl FnOnce(&LinkId, &RawConfig, &LabelSet) -> Result<L, ConfigError>,
    ) -> Result<(), LinkError> {
        let state = match labels {
            None if config.needs_labels() => State::Pending,
            _ => match make(&id, &config, labels.unwrap_or(&LabelSet::default())) {
                Ok(link) => State::Ready(Arc::new(link)),
                Err(err) => State::Refused(err),
            },
        };
        // Written outside of `make`, so that a slow one blocks no call.
        self.write().insert(id.clone(), Entry { config, state });
        self.get(&id).map(|_| ())
    }

    /// Links that wait for labels, or were refused and may be right with other labels.
    pub(crate) fn unready(&self) -> Vec<(LinkId, RawConfig)> {
        self.read()
            .iter()
            .filter(|(_, entry)| !matches!(entry.state, State::Ready(_)))
            .map(|(id, entry)| (id.clone(), entry.config.clone()))
            .collect()
    }

    /// Takes a link away and hands back its state.
    pub(crate) fn remove(&self, id: &LinkId) -> Option<Arc<L>> {
        match self.write().remove(id)?.state {
            State::Ready(link) => Some(link),
            State::Pending | State::Refused(_) => None,
        }
    }

    // A poisoned lock only means that a thread died between two whole operations.
    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<LinkId, Entry<L>>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<LinkId, Entry<L>>> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(component: &str, link: Option<&str>) -> Context {
        Context {
            component: Some(component.into()),
            tracing: link
                .map(|name| ("link-name".to_owned(), name.to_owned()))
                .into_iter()
                .collect(),
        }
    }

    fn put(links: &Links<String>, id: LinkId, url: &str, labels: Option<&LabelSet>) {
        let config = RawConfig::from_values([("url", url)]);
        let _ = links.put(id, config, labels, |_, raw, labels| {
            raw.parse::<Url>(labels).map(|url| url.0)
        });
    }

    struct Url(String);
    impl crate::FromConfig for Url {
        fn from_config(config: &mut crate::Config<'_>) -> Result<Self, ConfigError> {
            config.required("url").map(Self)
        }
    }

    #[test]
    fn two_links_of_one_component_are_told_apart_by_name() {
        let links = Links::default();
        put(&links, LinkId::new("hello", "default"), "a", None);
        put(&links, LinkId::new("hello", "cache"), "b", None);
        assert_eq!(*links.of_call(Some(&call("hello", None))).unwrap(), "a");
        let cache = call("hello", Some("cache"));
        assert_eq!(*links.of_call(Some(&cache)).unwrap(), "b");
        assert!(links.remove(&LinkId::new("hello", "cache")).is_some());
        assert_eq!(*links.of_call(Some(&call("hello", None))).unwrap(), "a");
        assert_eq!(
            links.of_call(Some(&cache)),
            Err(LinkError::Missing(LinkId::new("hello", "cache")))
        );
    }

    #[test]
    fn a_call_without_a_link_or_a_name_is_told_so() {
        let links = Links::<String>::default();
        assert_eq!(links.of_call(None), Err(LinkError::Anonymous));
        assert_eq!(
            links
                .of_call(Some(&call("hello", Some("x"))))
                .unwrap_err()
                .to_string(),
            "component `hello` has no link `x` to this provider"
        );
    }

    #[test]
    fn a_link_that_names_a_label_waits_until_the_labels_are_known() {
        let links = Links::default();
        let id = LinkId::new("hello", "default");
        put(&links, id.clone(), "{label:valkey}", None);
        assert_eq!(links.get(&id), Err(LinkError::Pending(id.clone())));
        assert_eq!(links.unready().len(), 1);

        put(
            &links,
            id.clone(),
            "{label:valkey}",
            Some(&LabelSet::default()),
        );
        let refused = links.get(&id).unwrap_err();
        assert!(!refused.is_temporary(), "{refused}");

        let labels = LabelSet::from_iter([("valkey", "v:1")]);
        put(&links, id.clone(), "{label:valkey}", Some(&labels));
        assert_eq!(*links.get(&id).unwrap(), "v:1");
        assert!(links.unready().is_empty());
        assert_eq!(links.ready().len(), 1);
    }
}
