//! Delta query: what changed in a folder since a token.
//!
//! A token holds its whole state: the folder, how far it has come, and the
//! options of the first call. Source:
//! <https://learn.microsoft.com/en-us/graph/api/message-delta>.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::{Answer, Failure};
use super::folders::{self, owner};
use super::json::{View, find_property};
use super::query::Query;
use super::{Call, ids};
use crate::mailbox::{Change, ChangeKind, Folder, FolderKey, Mailbox};
use crate::random::digest;
use crate::state::State;
use crate::switches::ResyncStatus;

/// Options that the first call may have; later ones come from the token.
const OPTIONS: [&str; 6] = ["$select", "$top", "$expand", "$filter", "$orderby", "changeType"];
/// What a partial update has.
const PARTIAL: [&str; 3] = ["@odata.etag", "id", "isRead"];
/// Page size without a preference.
const DEFAULT_PAGE: usize = 10;

/// What a token says.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Track {
    generation: u64,
    mailbox: uuid::Uuid,
    folder: u64,
    /// Number of the last change that was told.
    after: u64,
    /// Where this round began; a younger item is a created one.
    round: u64,
    /// Whether this round tells everything there is.
    first: bool,
    /// The options of the first call, as a query.
    options: String,
}

/// Changes that a replayed page tells again.
const REPLAYED: usize = 5;

/// What goes wrong with one page.
#[derive(Clone, Copy)]
struct Faults {
    is_lost: bool,
    is_empty: bool,
    is_replay: bool,
    is_partial: bool,
    has_no_link: bool,
    refuses_offsets: bool,
    lost_status: ResyncStatus,
}

impl Faults {
    fn of(state: &mut State, mailbox: usize) -> Self {
        let State { random, board, mailboxes, .. } = state;
        let address = mailboxes.get(mailbox).map(|owner| owner.address.as_str()).unwrap_or_default();
        let switches = board.of(address);
        Self {
            is_lost: random.strikes(address, "delta.expire_rate", &switches.delta_lost),
            is_empty: random.strikes(address, "delta.empty_page", &switches.delta_empty),
            is_replay: random.strikes(address, "delta.replay", &switches.delta_replay),
            is_partial: switches.delta_partial,
            has_no_link: random.strikes(address, "delta.no_link", &switches.delta_no_link),
            refuses_offsets: switches.delta_filter,
            lost_status: switches.delta_status,
        }
    }
}

/// `GET …/mailFolders/{folder}/messages/delta`
pub(crate) fn page(
    state: &mut State,
    call: &Call,
    mailbox: usize,
    folder: Option<&str>,
) -> Result<Answer, Failure> {
    let Some(folder) = folder else {
        return Err(Failure::bad_request(
            "Change tracking is not supported against 'microsoft.graph.message'.",
        ));
    };
    let faults = Faults::of(state, mailbox);
    let owner = owner(state, mailbox)?;
    let key = folders::find(owner, folder)?;
    let folder = owner.find_folder(key).ok_or_else(Failure::no_item)?;
    let track = track(&faults, call, owner, key)?;
    let options = Query::parse(Some(&track.options));
    let view =
        View { mailbox: owner, prefer: call.prefer, select: options.select()?, expand: options.expand()? };
    let size =
        call.prefer.page.or(options.find("$top").and_then(|top| top.parse().ok())).unwrap_or(DEFAULT_PAGE);
    let horizon = folder.horizon(call.now);
    let told = if faults.is_empty {
        Told { value: Vec::new(), after: track.after, is_last: false }
    } else {
        told(&track, &faults, folder, &view, &options, horizon, size.clamp(1, 1000))?
    };
    let after = told.after;
    let (link, token) = if told.is_last {
        let next = Track { after, round: after, first: false, ..track };
        ("@odata.deltaLink", format!("$deltatoken={}", written(&next)))
    } else {
        ("@odata.nextLink", format!("$skiptoken={}", written(&Track { after, ..track })))
    };
    let folder_id = ids::folder(owner.guid, key);
    let target = format!(
        "{}/v1.0/users/{}/mailFolders('{folder_id}')/messages/delta?{token}",
        call.graph_url, owner.guid,
    );
    let mut answer = json!({
        "@odata.context": format!("{}/v1.0/$metadata#Collection(message)", call.graph_url),
        "value": told.value,
    });
    if !faults.has_no_link {
        answer[link] = target.into();
    }
    Ok(Answer::json(answer))
}

/// One page of changes.
struct Told {
    value: Vec<Value>,
    after: u64,
    is_last: bool,
}

fn told(
    track: &Track,
    faults: &Faults,
    folder: &Folder,
    view: &View<'_>,
    options: &Query,
    horizon: u64,
    size: usize,
) -> Result<Told, Failure> {
    let again = if faults.is_replay { REPLAYED } else { 0 };
    let (start, size) = (track.after.saturating_sub(again as u64), size + again);
    let filter = options.filter()?;
    let kinds = options.find("changeType").map(str::to_ascii_lowercase);
    let mut page = Told { value: Vec::new(), after: track.after, is_last: true };
    for (sequence, change) in folder.changes(start, horizon) {
        if page.value.len() == size {
            page.is_last = false;
            return Ok(page);
        }
        page.after = page.after.max(sequence);
        let kind = match change {
            Change { gone: true, .. } => "deleted",
            change if track.first || change.born > track.round => "created",
            _ => "updated",
        };
        if kinds.as_deref().is_some_and(|kinds| kinds != kind) || (track.first && change.gone) {
            continue;
        }
        match view.mailbox.find_item(change.item).filter(|_| !change.gone) {
            Some(item) => {
                let passes = filter.as_ref().is_none_or(|filter| {
                    filter.accepts(&|name| find_property(name).map(|property| property.value(view, item)))
                });
                if passes {
                    let mut message = view.message(item);
                    if faults.is_partial && kind == "updated" {
                        message.retain(|name, _| PARTIAL.contains(&name.as_str()));
                    }
                    message.insert("@odata.type".into(), "#microsoft.graph.message".into());
                    page.value.push(message.into());
                }
            }
            None => page.value.push(removed(view, folder.key, change)),
        }
    }
    Ok(page)
}

fn removed(view: &View<'_>, folder: FolderKey, change: &Change) -> Value {
    let id = ids::item_at(view.prefer.ids, view.mailbox.guid, folder, change.place, change.item);
    json!({ "@removed": { "reason": "deleted" }, "id": id })
}

/// The track of a request: from its token, or a new one.
fn track(faults: &Faults, call: &Call, owner: &Mailbox, folder: FolderKey) -> Result<Track, Failure> {
    let token = call.query.find("$deltatoken").or(call.query.find("$skiptoken"));
    if let Some(token) = token {
        let track: Track = read(token).ok_or_else(|| Failure::bad_request("Badly formed token."))?;
        let is_known =
            track.generation == owner.generation && track.mailbox == owner.guid && track.folder == folder.0;
        if !is_known || faults.is_lost {
            return Err(Failure::no_sync_state(faults.lost_status));
        }
        let filter = Query::parse(Some(&track.options)).find("$filter").map(str::to_owned);
        if faults.refuses_offsets && filter.is_some_and(|filter| !filter.trim_end().ends_with('Z')) {
            let message = "The query is invalid: the time of its filter can't be read.";
            return Err(Failure::new(StatusCode::BAD_REQUEST, "ErrorInvalidUrlQuery", message));
        }
        return Ok(track);
    }
    let filter = call.query.filter()?;
    if filter.is_some_and(|filter| !filter.is_lower_bound("receivedDateTime")) {
        return Err(Failure::bad_request(
            "The $filter is not supported for change tracking: only 'receivedDateTime ge' and 'gt' are.",
        ));
    }
    let order = call.query.order()?;
    if !matches!(&order[..], [] | [(_, true)])
        || order.iter().any(|(path, _)| path.len() != 1 || !path[0].eq_ignore_ascii_case("receivedDateTime"))
    {
        return Err(Failure::bad_request(
            "The $orderby is not supported for change tracking: only 'receivedDateTime desc' is.",
        ));
    }
    if call.query.find("$search").is_some() {
        return Err(Failure::bad_request(
            "The query parameter '$search' is not supported for change tracking.",
        ));
    }
    let kinds = call.query.find("changeType").map(str::to_ascii_lowercase);
    if kinds.is_some_and(|kind| !ChangeKind::ALL.iter().any(|known| known.name() == kind)) {
        return Err(Failure::bad_request("The changeType must be 'created', 'updated' or 'deleted'."));
    }
    call.query.select()?;
    call.query.expand()?;
    call.query.top()?;
    let mut options = url::form_urlencoded::Serializer::new(String::new());
    for name in OPTIONS {
        if let Some(value) = call.query.find(name) {
            options.append_pair(name, value);
        }
    }
    Ok(Track {
        generation: owner.generation,
        mailbox: owner.guid,
        folder: folder.0,
        after: 0,
        round: 0,
        first: true,
        options: options.finish(),
    })
}

/// The token's text: the state and a digest, so that a changed one is found out.
pub(crate) fn written(track: &impl Serialize) -> String {
    let state = serde_json::to_vec(track).unwrap_or_default();
    let mut bytes = digest(&state).to_be_bytes().to_vec();
    bytes.extend(state);
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn read<T: DeserializeOwned>(token: &str) -> Option<T> {
    let bytes: Arc<[u8]> = URL_SAFE_NO_PAD.decode(token).ok()?.into();
    let (head, state) = bytes.split_first_chunk()?;
    if u64::from_be_bytes(*head) != digest(state) {
        return None;
    }
    serde_json::from_slice(state).ok()
}
