//! Subscriptions, and the notifications that wait to be delivered.
//!
//! A change becomes one element for each living subscription that watches it.
//! What the switches swallow or double is decided when the change happens; an
//! element that an endpoint does not take is tried again for four hours.
//! Source: <https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks>.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clock::later;
use crate::graph::filter::Filter;
use crate::graph::ids::{self, IdKind};
use crate::graph::json::{accepts, etag};
use crate::mailbox::{ChangeKind, FolderKey, Item, ItemKey};
use crate::state::State;

/// Most elements in one request.
const BATCH: usize = 100;
/// First wait after a failed delivery; it doubles each time.
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LONGEST_RETRY: Duration = Duration::from_secs(15 * 60);
/// After this long an element is lost.
const GIVE_UP: SignedDuration = SignedDuration::from_hours(4);

/// A subscription on the messages of a folder or of a whole mailbox.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) id: Uuid,
    pub(crate) mailbox: usize,
    pub(crate) folder: Option<FolderKey>,
    /// Only items that pass are watched: one that begins to pass is created, one that ends is deleted.
    pub(crate) filter: Option<Filter>,
    pub(crate) resource: String,
    pub(crate) change_type: String,
    pub(crate) kinds: Vec<ChangeKind>,
    pub(crate) notification_url: String,
    pub(crate) lifecycle_url: Option<String>,
    pub(crate) client_state: Option<String>,
    pub(crate) tls_version: String,
    pub(crate) expires: Timestamp,
    pub(crate) ids: IdKind,
    /// Seems alive and tells nothing any more.
    pub(crate) is_mute: bool,
}

/// One element on its way.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) url: String,
    pub(crate) element: Value,
    made: Timestamp,
    due: Timestamp,
    tries: u32,
}

/// Elements for one endpoint, delivered in one request.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) url: String,
    pub(crate) elements: Vec<Pending>,
}

impl Batch {
    pub(crate) fn body(&self) -> Value {
        let elements: Vec<&Value> = self.elements.iter().map(|pending| &pending.element).collect();
        json!({"value": elements, "validationTokens": null})
    }

    /// Whether this is not the first attempt: a retry may wait longer for its answer.
    pub(crate) fn is_retry(&self) -> bool {
        self.elements.iter().any(|pending| pending.tries > 0)
    }
}

impl State {
    /// Tells the subscriptions that watch the item's folder what happened to it.
    pub(crate) fn tell(&mut self, mailbox: usize, item: ItemKey, kind: ChangeKind) {
        self.tell_change(mailbox, item, kind, None);
    }

    /// The same; `before` is the item as it was before an update.
    pub(crate) fn tell_change(
        &mut self,
        mailbox: usize,
        item: ItemKey,
        kind: ChangeKind,
        before: Option<&Item>,
    ) {
        let now = self.now();
        let Some(owner) = self.mailboxes.get(mailbox) else { return };
        let Some(item) = owner.find_item(item) else { return };
        let passes = |filter: &Filter, item: &Item| accepts(filter, owner, item);
        let watching = self.subscriptions.values().filter_map(|subscription| {
            let kind = match &subscription.filter {
                None => kind,
                Some(filter) => {
                    match (kind, before.map(|before| passes(filter, before)), passes(filter, item)) {
                        (ChangeKind::Updated, Some(false), true) => ChangeKind::Created,
                        (ChangeKind::Updated, Some(true), false) => ChangeKind::Deleted,
                        (_, _, true) => kind,
                        (_, _, false) => return None,
                    }
                }
            };
            let is_watching = subscription.mailbox == mailbox
                && subscription.expires > now
                && subscription.folder.is_none_or(|folder| folder == item.folder)
                && subscription.kinds.contains(&kind);
            is_watching.then_some((subscription, kind))
        });
        let told: Vec<(String, Value, bool)> = watching
            .map(|(subscription, kind)| {
                let id = ids::item(subscription.ids, owner.guid, item);
                let path = format!("Users/{}/Messages/{id}", owner.guid);
                let element = json!({
                    "subscriptionId": subscription.id,
                    "subscriptionExpirationDateTime": subscription.expires.to_string(),
                    "clientState": subscription.client_state,
                    "changeType": kind.name(),
                    "resource": path,
                    "resourceData": {
                        "@odata.type": "#Microsoft.Graph.Message",
                        "@odata.id": path,
                        "@odata.etag": etag(item),
                        "id": id,
                    },
                });
                (subscription.notification_url.clone(), element, subscription.is_mute)
            })
            .collect();
        let address = owner.address.clone();
        for (url, element, is_mute) in told {
            self.record.figures.notifications.created += 1;
            let is_lost = self.random.strikes(&address, "notify.loss", self.switches.notify_loss.rate());
            if is_mute || is_lost || self.switches.notify_outage {
                self.record.figures.notifications.suppressed += 1;
                continue;
            }
            if self.random.strikes(&address, "notify.duplicate", self.switches.notify_duplicate.rate()) {
                self.enqueue(url.clone(), element.clone());
            }
            self.enqueue(url, element);
        }
    }

    /// Tells a subscriber about the life of its subscriptions on a mailbox.
    pub(crate) fn tell_lifecycle(&mut self, mailbox: usize, event: &str) {
        let of_mailbox = self.subscriptions.values().filter(|subscription| subscription.mailbox == mailbox);
        let told: Vec<(Uuid, Option<String>, Value)> = of_mailbox
            .map(|subscription| {
                let element = json!({
                    "lifecycleEvent": event,
                    "subscriptionId": subscription.id,
                    "subscriptionExpirationDateTime": subscription.expires.to_string(),
                    "clientState": subscription.client_state,
                });
                (subscription.id, subscription.lifecycle_url.clone(), element)
            })
            .collect();
        for (id, url, element) in told {
            if event == "subscriptionRemoved" {
                self.subscriptions.remove(&id);
            }
            if let Some(url) = url {
                self.enqueue(url, element);
            }
        }
    }

    fn enqueue(&mut self, url: String, mut element: Value) {
        let made = self.now();
        element["id"] = self.random.text(9).into();
        element["tenantId"] = self.tenant.clone().into();
        let due = later(made, self.switches.notify_delay.duration());
        self.pending.push(Pending { url, element, made, due, tries: 0 });
    }

    /// Takes out what is due, in one batch or more for each endpoint.
    pub(crate) fn take_due(&mut self) -> Vec<Batch> {
        let now = self.now();
        let mut by_url: BTreeMap<(String, bool), Vec<Pending>> = BTreeMap::new();
        for pending in self.pending.extract_if(.., |pending| pending.due <= now) {
            by_url.entry((pending.url.clone(), pending.tries > 0)).or_default().push(pending);
        }
        by_url
            .into_iter()
            .flat_map(|((url, _), elements)| {
                elements
                    .chunks(BATCH)
                    .map(|chunk| Batch { url: url.clone(), elements: chunk.to_vec() })
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// Notes how a delivery ended; what was not taken waits for its next try.
    pub(crate) fn note_delivery(&mut self, batch: Batch, taken: bool) {
        let now = self.now();
        let figures = &mut self.record.figures.notifications;
        figures.posts += 1;
        if taken {
            figures.delivered += batch.elements.len() as u64;
            return;
        }
        figures.failed_posts += 1;
        for mut pending in batch.elements {
            if now.duration_since(pending.made) >= GIVE_UP {
                figures.lost += 1;
                continue;
            }
            let wait = FIRST_RETRY.saturating_mul(1 << pending.tries.min(10)).min(LONGEST_RETRY);
            pending.tries += 1;
            pending.due = later(now, wait);
            self.pending.push(pending);
        }
    }

    /// When there is something to do next: a notification or a departure.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.pending.iter().map(|pending| pending.due).chain(self.next_departure()).min()
    }
}
