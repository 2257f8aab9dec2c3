//! Subscriptions, and the notifications that wait to be delivered.
//!
//! A change becomes one element for each living subscription that watches it.
//! What the switches swallow or double is decided when the change happens; an
//! element that an endpoint does not take is tried again for four hours.
//! Source: <https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks>.

mod health;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clock::later;
use crate::directory::{Access, Permission};
use crate::graph::filter::Filter;
use crate::graph::ids::{self, IdKind};
use crate::graph::json::{accepts, etag};
use crate::mailbox::{ChangeKind, FolderKey, Item, ItemKey, MailboxStatus};
use crate::state::State;
use health::{Condition, Health, SLOW};

pub(crate) use health::LATE;

/// Most elements in one request.
const BATCH: usize = 100;
/// First wait after a failed delivery; it doubles each time.
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LONGEST_RETRY: Duration = Duration::from_secs(15 * 60);
/// No try is later than this after the first; then the element is lost.
const GIVE_UP: SignedDuration = SignedDuration::from_hours(4);

/// A subscription on the messages of a folder or of a whole mailbox.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) id: Uuid,
    /// Greater than that of every older one.
    pub(crate) number: u64,
    /// The application that made it.
    pub(crate) client_id: Uuid,
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
    /// When its access was last confirmed: made, renewed or reauthorized.
    pub(crate) confirmed: Timestamp,
    /// Whether its owner was told that its access lapses.
    pub(crate) is_warned: bool,
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

/// Everything that is on its way, and what is known of the endpoints.
#[derive(Default)]
pub(crate) struct Deliveries {
    pending: Vec<Pending>,
    health: Health,
    /// Items that came into each mailbox in one second.
    arrivals: BTreeMap<usize, (i64, u32)>,
}

impl Batch {
    pub(crate) fn body(&self) -> Value {
        let elements: Vec<&Value> = self.elements.iter().map(|pending| &pending.element).collect();
        json!({"value": elements, "validationTokens": null})
    }

    /// Whether this is not the first attempt: a retry may wait longer for its answer.
    fn is_retry(&self) -> bool {
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
        let pairs = self.switches(mailbox).notify_pair && kind == ChangeKind::Created;
        let kinds = [Some(kind), pairs.then_some(ChangeKind::Updated)];
        let watches = |one: &&Subscription| {
            one.mailbox == mailbox
                && one.expires > now
                && one.folder.is_none_or(|folder| folder == item.folder)
        };
        let mut watching: Vec<&Subscription> = self.subscriptions.values().filter(watches).collect();
        // By age, as fates are counted: ids come in an order that other mailboxes have a part in.
        watching.sort_by_key(|subscription| subscription.number);
        let mut told: Vec<(Uuid, String, Value)> = Vec::new();
        for kind in kinds.into_iter().flatten() {
            for subscription in &watching {
                let passes = |item: &Item| {
                    subscription.filter.as_ref().is_none_or(|filter| accepts(filter, owner, item))
                };
                let Some(kind) = seen_as(kind, before.map(passes), passes(item)) else { continue };
                if subscription.kinds.contains(&kind) {
                    let element = element(subscription, owner.guid, item, kind);
                    told.push((subscription.id, subscription.notification_url.clone(), element));
                }
            }
        }
        let is_suppressed = kind == ChangeKind::Created && self.is_one_of_many(mailbox, now);
        for (id, url, element) in told {
            self.tell_one(mailbox, id, url, element, is_suppressed);
        }
    }

    /// Sends one element, unless fate or a switch is against it.
    fn tell_one(&mut self, mailbox: usize, id: Uuid, url: String, element: Value, is_suppressed: bool) {
        let now = self.now();
        let address = self.mailboxes.get(mailbox).map(|owner| owner.address.clone()).unwrap_or_default();
        self.record.figures.notifications.created += 1;
        let is_alive = self
            .subscriptions
            .get(&id)
            .is_some_and(|subscription| !subscription.is_mute && self.may_notify(subscription, now));
        let switches = self.board.of(&address);
        let is_lost = self.random.strikes(&address, "notify.loss_rate", &switches.notify_loss);
        let condition = if switches.notify_health {
            self.deliveries.health.condition(&url, now)
        } else {
            Condition::Well
        };
        let is_spurious =
            self.random.strikes(&address, "lifecycle.spurious_rate", &switches.lifecycle_spurious);
        if let Condition::Drop(end) = condition {
            self.tell_missed(id, end);
        }
        if is_spurious {
            self.tell_missed(id, now);
        }
        let switches = self.board.of(&address);
        let is_dropped = matches!(condition, Condition::Drop(_));
        if is_suppressed || !is_alive || is_lost || is_dropped || switches.notify_outage {
            self.record.figures.notifications.suppressed += 1;
            return;
        }
        let copies = if self.random.strikes(&address, "notify.duplicate_rate", &switches.notify_duplicate) {
            2
        } else {
            1
        };
        let (delay, jitter) = (switches.notify_delay.duration(), switches.notify_jitter.duration());
        for _ in 0..copies {
            let more = if jitter.is_zero() {
                Duration::ZERO
            } else {
                jitter.mul_f64(self.random.roll(&address, "notify.jitter_ms"))
            };
            let mut due = later(now, delay + more);
            if let Condition::Slow(end) = condition {
                due = due.max(end);
            }
            self.enqueue(url.clone(), element.clone(), due);
        }
    }

    /// Whether the application may still read what it subscribed to, and has said so lately.
    fn may_notify(&self, subscription: &Subscription, now: Timestamp) -> bool {
        let lapse = i64::from(self.switches(subscription.mailbox).sub_access.0);
        let age = now.duration_since(subscription.confirmed).as_secs();
        let application =
            self.applications.iter().find(|application| application.client_id == subscription.client_id);
        let roles = application.map(|application| application.roles.at(now).clone()).unwrap_or_default();
        let access = self.decide(subscription.client_id, &roles, subscription.mailbox, Permission::ReadBasic);
        let status = self.mailboxes.get(subscription.mailbox).map(|owner| owner.status);
        access == Access::Granted && status == Some(MailboxStatus::Active) && (lapse == 0 || age < 2 * lapse)
    }

    /// Counts an item that came in; answers whether too many came in this second.
    fn is_one_of_many(&mut self, mailbox: usize, now: Timestamp) -> bool {
        let most = self.switches(mailbox).notify_bulk.0;
        let arrivals = self.deliveries.arrivals.entry(mailbox).or_insert((0, 0));
        if arrivals.0 != now.as_second() {
            *arrivals = (now.as_second(), 0);
        }
        arrivals.1 += 1;
        most > 0 && arrivals.1 > most
    }

    /// Tells a subscriber about the life of its subscriptions on a mailbox.
    pub(crate) fn tell_lifecycle(&mut self, mailbox: usize, event: &str) {
        let now = self.now();
        let living = self.subscriptions.values().filter(|one| one.mailbox == mailbox && one.expires > now);
        for id in living.map(|subscription| subscription.id).collect::<Vec<_>>() {
            self.tell_life(id, event, now);
            if event == "subscriptionRemoved" {
                self.subscriptions.remove(&id);
            }
        }
    }

    fn tell_life(&mut self, id: Uuid, event: &str, due: Timestamp) {
        let Some(subscription) = self.subscriptions.get(&id) else { return };
        let Some(url) = subscription.lifecycle_url.clone() else { return };
        if subscription.is_mute || self.switches(subscription.mailbox).lifecycle_suppress {
            return;
        }
        let element = json!({
            "lifecycleEvent": event,
            "subscriptionId": subscription.id,
            "subscriptionExpirationDateTime": subscription.expires.to_string(),
            "clientState": subscription.client_state,
        });
        self.enqueue(url, element, due);
    }

    /// Tells once, at `due`, that notifications were not delivered.
    fn tell_missed(&mut self, id: Uuid, due: Timestamp) {
        let is_told = self.deliveries.pending.iter().any(|pending| {
            pending.due == due
                && pending.element["lifecycleEvent"] == "missed"
                && pending.element["subscriptionId"] == id.to_string()
        });
        if !is_told {
            self.tell_life(id, "missed", due);
        }
    }

    /// Warns those whose access lapses.
    pub(crate) fn warn_lapsing(&mut self) {
        let now = self.now();
        for id in self.subscriptions.keys().copied().collect::<Vec<_>>() {
            let is_due = self.next_warning(id).is_some_and(|due| due <= now);
            if is_due {
                self.tell_life(id, "reauthorizationRequired", now);
                if let Some(subscription) = self.subscriptions.get_mut(&id) {
                    subscription.is_warned = true;
                }
            }
        }
    }

    fn next_warning(&self, id: Uuid) -> Option<Timestamp> {
        let subscription = self.subscriptions.get(&id)?;
        let lapse = u64::from(self.switches(subscription.mailbox).sub_access.0);
        let is_awaited = lapse > 0 && !subscription.is_warned && subscription.expires > self.now();
        is_awaited.then(|| later(subscription.confirmed, Duration::from_secs(lapse)))
    }

    /// When somebody is to be warned next.
    pub(crate) fn first_warning(&self) -> Option<Timestamp> {
        self.subscriptions.keys().filter_map(|id| self.next_warning(*id)).min()
    }

    fn enqueue(&mut self, url: String, mut element: Value, due: Timestamp) {
        element["id"] = self.random.text(9).into();
        element["tenantId"] = self.tenant.clone().into();
        let made = self.now();
        self.deliveries.pending.push(Pending { url, element, made, due, tries: 0 });
    }

    /// Takes out what is due, in one batch or more for each endpoint.
    pub(crate) fn take_due(&mut self) -> Vec<Batch> {
        let now = self.now();
        let mut by_url: BTreeMap<(String, bool), Vec<Pending>> = BTreeMap::new();
        for pending in self.deliveries.pending.extract_if(.., |pending| pending.due <= now) {
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

    /// Notes how a delivery ended: whether a 2xx came, and after how long. A first attempt must be
    /// answered within 3 s. What was not taken waits for its next try.
    pub(crate) fn note_delivery(&mut self, batch: Batch, is_success: bool, took: SignedDuration) {
        let now = self.now();
        self.deliveries.health.note(&batch.url, now, took);
        let is_taken = is_success && took < if batch.is_retry() { LATE } else { SLOW };
        let figures = &mut self.record.figures.notifications;
        figures.posts += 1;
        if is_taken {
            figures.delivered += batch.elements.len() as u64;
            return;
        }
        figures.failed_posts += 1;
        for mut pending in batch.elements {
            let wait = FIRST_RETRY.saturating_mul(1 << pending.tries.min(10)).min(LONGEST_RETRY);
            pending.tries += 1;
            pending.due = later(now, wait);
            if pending.due.duration_since(pending.made) > GIVE_UP {
                figures.lost += 1;
                continue;
            }
            self.deliveries.pending.push(pending);
        }
    }

    /// When there is something to do next: a notification or a departure.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.deliveries.pending.iter().map(|pending| pending.due).chain(self.next_departure()).min()
    }
}

/// As what a subscription sees a change of an item that passed its filter before, or not, and passes
/// now, or not.
fn seen_as(kind: ChangeKind, passed: Option<bool>, passes: bool) -> Option<ChangeKind> {
    match (kind, passed, passes) {
        (ChangeKind::Updated, Some(false), true) => Some(ChangeKind::Created),
        (ChangeKind::Updated, Some(true), false) => Some(ChangeKind::Deleted),
        (_, _, true) => Some(kind),
        (_, _, false) => None,
    }
}

fn element(subscription: &Subscription, owner: Uuid, item: &Item, kind: ChangeKind) -> Value {
    let id = ids::item(subscription.ids, owner, item);
    let path = format!("Users/{owner}/Messages/{id}");
    json!({
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
    })
}
