//! Delta query on the folders of a mailbox: made, changed and removed ones.
//!
//! A folder counts as changed when its name or parent changed, or what is in it,
//! for its counts are properties of it.
//! Source: <https://learn.microsoft.com/en-us/graph/api/mailfolder-delta>.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::{Answer, Failure};
use super::delta::{read, written};
use super::folders::{owner, selected};
use super::{Call, ids, json as shapes};
use crate::mailbox::ROOT;
use crate::state::State;

/// What a token says.
#[derive(Serialize, Deserialize)]
struct Track {
    folders_of: uuid::Uuid,
    generation: u64,
    after: u64,
}

/// `GET …/mailFolders/delta`. All changes are on one page.
pub(crate) fn page(state: &State, call: &Call, mailbox: usize) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let token = call.query.find("$deltatoken").or(call.query.find("$skiptoken"));
    let after = match token.map(read::<Track>) {
        None => 0,
        Some(None) => return Err(Failure::bad_request("Badly formed token.")),
        Some(Some(track)) if track.folders_of == owner.guid && track.generation == owner.generation => {
            track.after
        }
        Some(Some(_)) => return Err(Failure::no_sync_state(state.switches(mailbox).delta_status)),
    };
    let changes = owner.folder_changes(after).into_iter().filter_map(|(_, folder)| match folder {
        Ok(folder) if folder.key == ROOT || folder.is_hidden => None,
        Ok(folder) => {
            let mut object = selected(call, shapes::folder(owner, folder, call.now));
            object["@odata.type"] = "#microsoft.graph.mailFolder".into();
            Some(object)
        }
        Err(_) if after == 0 => None,
        Err(gone) => {
            Some(json!({ "@removed": { "reason": "deleted" }, "id": ids::folder(owner.guid, gone) }))
        }
    });
    let value: Vec<Value> = changes.collect();
    let next = Track { folders_of: owner.guid, generation: owner.generation, after: owner.folder_sequence() };
    let link = format!(
        "{}/v1.0/users/{}/mailFolders/delta?$deltatoken={}",
        call.graph_url,
        owner.guid,
        written(&next)
    );
    Ok(Answer::json(json!({
        "@odata.context": format!("{}/v1.0/$metadata#Collection(mailFolder)", call.graph_url),
        "value": value,
        "@odata.deltaLink": link,
    })))
}
