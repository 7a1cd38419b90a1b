//! Links that never arrived.
//!
//! A host hands a starting provider the links it has config for, and sends later ones to the providers
//! that it has started. What it sends in between, before the provider listens, reaches nobody, and neither
//! does a link whose config it could not read at that moment, because the hub was away. Nobody sends either
//! again. So the kit compares its links with those of the lattice, and reads the config of one that is not
//! among them from where the host would have.
//!
//! Secrets come from a host only, and only at a start. For them the provider has to leave, which the host
//! answers by starting it again. That must not become a habit: see [`may_leave`].

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::{sleep, Instant};
use tracing::{debug, warn};
use wasmcloud_control_interface::Client;

use crate::adapter::{subject, Adapter};
use crate::lattice;
use crate::{Capability, Environment, LinkId};

/// The pause before the first look, and before the second at a link that was missed.
const FIRST_LOOK: Duration = Duration::from_millis(500);
/// The pause doubles up to this while a link is absent.
const OFTEN: Duration = Duration::from_secs(2);
/// And up to this while none is.
const SELDOM: Duration = Duration::from_secs(30);
/// How long a link with secrets may be absent from a provider that has no other link.
const ABSENT: Duration = Duration::from_secs(5);
/// How long from one that serves others, who bear a restart for it.
const ABSENT_AMONG_OTHERS: Duration = Duration::from_secs(300);

/// A link that the lattice has and the provider has not.
struct Absence {
    since: Instant,
    /// What the log and the health say about it.
    told: String,
}

impl Default for Absence {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            told: String::new(),
        }
    }
}

/// Fetches links that never arrived, as long as the provider runs. Resolves with one that only a
/// restart can bring. `handed` are those that came with the host data.
pub(crate) async fn watch<C: Capability>(
    adapter: Adapter<C>,
    environment: Environment<C::Link>,
    client: Client,
    handed: HashSet<LinkId>,
) -> LinkId {
    let health = &environment.health;
    let mut absent = HashMap::<LinkId, Absence>::new();
    let mut pause = FIRST_LOOK;
    loop {
        sleep(pause).await;
        let cap = if absent.is_empty() { SELDOM } else { OFTEN };
        pause = pause.saturating_mul(2).min(cap);
        let listed = match lattice::links_to(&environment.provider_id, &client).await {
            Ok(listed) => listed,
            Err(reason) => {
                debug!(reason, "the links of the lattice are not known");
                continue;
            }
        };
        absent.retain(|id, _| {
            let arrived = adapter.has_heard_of(id);
            if !arrived && !listed.contains_key(id) {
                health.well(&subject(id));
            }
            !arrived && listed.contains_key(id)
        });
        for (id, sources) in listed {
            if adapter.has_heard_of(&id) {
                continue;
            }
            // A link that was put a moment ago is still on its way: it is absent when it is missed twice.
            let Some(Absence { since, told }) = absent.get_mut(&id) else {
                absent.insert(id, Absence::default());
                pause = FIRST_LOOK;
                continue;
            };
            let problem = match sources.read(&client).await {
                Err(reason) => reason,
                Ok(config) if !sources.are_secret() => {
                    adapter.recover_link(id.clone(), config);
                    absent.remove(&id);
                    continue;
                }
                Ok(_) if handed.contains(&id) => "its secrets cannot be read".to_owned(),
                Ok(_) if may_leave(*since, &environment) => return id,
                Ok(_) => "its secrets come with a restart of the provider".to_owned(),
            };
            let reason = format!("link {id} was put but never arrived; {problem}");
            if *told != reason {
                warn!(reason, "a link is absent");
                health.trouble(subject(&id), &reason);
                *told = reason;
            }
        }
    }
}

/// Whether to be started again for the sake of a link that is absent since `since`.
///
/// The host may be unable to give the link's secrets whatever the provider does, so what else the provider
/// does decides. One that has no other link serves nobody: it leaves soon. One that has gives them
/// minutes between any two restarts, so that they do not pay for their neighbour.
fn may_leave<L>(since: Instant, environment: &Environment<L>) -> bool {
    let alone = environment.links.ready().is_empty();
    let patience = if alone { ABSENT } else { ABSENT_AMONG_OTHERS };
    since.elapsed() >= patience
}
