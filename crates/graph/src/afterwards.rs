//! What can be done to a mail in its mailbox once it is ours: read flag, category,
//! folder.
//!
//! Called by the engine's job after taking. Rule kept: each is safe to repeat.
//! <https://learn.microsoft.com/en-us/graph/api/resources/message>

use serde::Deserialize;
use serde_json::json;

use crate::{
    call::{Call, encoded, quoted},
    client::parsed,
    errors::{GraphError, GraphErrorKind},
    lane::Priority,
    mailbox::{Folder, Mailbox},
    requests::Operation,
};

/// Names by which Graph knows folders in any language
/// (<https://learn.microsoft.com/en-us/graph/api/resources/mailfolder>).
const WELL_KNOWN: [&str; 8] =
    ["archive", "deleteditems", "drafts", "inbox", "junkemail", "msgfolderroot", "outbox", "sentitems"];

impl Mailbox {
    /// Sets the read flag. Safe to repeat.
    ///
    /// # Errors
    /// See [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn mark_read(&self, id: &str) -> Result<(), GraphError> {
        let call = Call::patch(Operation::MarkRead, self.at(&format!("/messages/{}", encoded(id))));
        self.call(Priority::MarkRead, call.json(&json!({ "isRead": true }))).await.map(drop)
    }

    /// Adds a category to those that the message has. Safe to repeat.
    ///
    /// # Errors
    /// See [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn categorize(&self, id: &str, category: &str) -> Result<(), GraphError> {
        #[derive(Deserialize)]
        struct Categories {
            #[serde(default)]
            categories: Vec<String>,
        }
        let operation = Operation::Categorize;
        let target = self.at(&format!("/messages/{}?$select=categories", encoded(id)));
        let body = self.call(Priority::MarkRead, Call::get(operation, target)).await?;
        let Categories { mut categories } = parsed(operation, &body)?;
        if categories.iter().any(|known| known == category) {
            return Ok(());
        }
        categories.push(category.to_owned());
        let call = Call::patch(operation, self.at(&format!("/messages/{}", encoded(id))));
        self.call(Priority::MarkRead, call.json(&json!({ "categories": categories }))).await.map(drop)
    }

    /// Moves a message to a folder, by its id or well-known name. Its immutable id stays. Safe to repeat.
    ///
    /// # Errors
    /// `Gone` when message or folder is not there; else see [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn move_to(&self, id: &str, folder: &str) -> Result<(), GraphError> {
        let call = Call::post(Operation::Move, self.at(&format!("/messages/{}/move", encoded(id))));
        self.call(Priority::MarkRead, call.json(&json!({ "destinationId": folder }))).await.map(drop)
    }

    /// The id (or well-known name) of the folder at a path such as `Inbox/Done`; what is not
    /// there yet is made. The first part may be a well-known name in any case.
    ///
    /// # Errors
    /// See [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn folder_at(&self, path: &str) -> Result<String, GraphError> {
        let mut at: Option<String> = None;
        for name in segments(path) {
            at = Some(match at {
                None if let Some(known) = well_known(name) => known.to_owned(),
                parent => match self.child(parent.as_deref(), name).await? {
                    Some(found) => found,
                    None => match self.make_child(parent.as_deref(), name).await {
                        Ok(made) => made,
                        // Somebody else was faster.
                        Err(error) if error.answer().is_some_and(|answer| answer.status == 409) => {
                            self.child(parent.as_deref(), name).await?.ok_or(error)?
                        }
                        Err(error) => return Err(error),
                    },
                },
            });
        }
        Ok(at.unwrap_or_else(|| "inbox".to_owned()))
    }

    /// The id of the folder that a person would name so: by a well-known name, by a path such as
    /// `Inbox/Orders`, or by its id. Nothing if there is none.
    ///
    /// # Errors
    /// See [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn find_folder(&self, named: &str) -> Result<Option<String>, GraphError> {
        if well_known(named).is_some() || is_id(named) {
            return match self.folder(named).await {
                Ok(found) => Ok(Some(found.id)),
                Err(error) if error.kind() == GraphErrorKind::Gone => Ok(None),
                Err(error) => Err(error),
            };
        }
        let mut at: Option<String> = None;
        for name in segments(named) {
            at = match at {
                None if let Some(known) = well_known(name) => Some(known.to_owned()),
                parent => match self.child(parent.as_deref(), name).await? {
                    Some(found) => Some(found),
                    None => return Ok(None),
                },
            };
        }
        Ok(at)
    }

    /// The folder of this display name below another.
    async fn child(&self, parent: Option<&str>, name: &str) -> Result<Option<String>, GraphError> {
        #[derive(Deserialize)]
        struct Page {
            value: Vec<Folder>,
        }
        let within = within(parent);
        let filter = encoded(&format!("displayName eq {}", quoted(name)));
        let target = self.at(&format!("{within}?$filter={filter}&$select=id,displayName"));
        let body = self.call(Priority::MarkRead, Call::get(Operation::FindFolder, target)).await?;
        let page: Page = parsed(Operation::FindFolder, &body)?;
        Ok(page.value.into_iter().next().map(|found| found.id))
    }

    async fn make_child(&self, parent: Option<&str>, name: &str) -> Result<String, GraphError> {
        let call = Call::post(Operation::CreateFolder, self.at(&within(parent)));
        let body = self.call(Priority::MarkRead, call.json(&json!({ "displayName": name }))).await?;
        parsed(Operation::CreateFolder, &body).map(|folder: Folder| folder.id)
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').map(str::trim).filter(|name| !name.is_empty())
}

fn well_known(name: &str) -> Option<&'static str> {
    let name = name.replace(' ', "");
    WELL_KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(&name))
}

/// Ids are long and without spaces; names that people give are neither.
fn is_id(text: &str) -> bool {
    text.len() >= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=+".contains(&byte))
}

fn within(parent: Option<&str>) -> String {
    match parent {
        None => "/mailFolders".to_owned(),
        Some(parent) => format!("/mailFolders/{}/childFolders", encoded(parent)),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{answer, graph, refusal};
    use std::sync::atomic::{AtomicU32, Ordering};

    use bytes::Bytes;
    use http::{Method, Request};

    #[tokio::test(start_paused = true)]
    async fn a_category_joins_those_that_people_gave() {
        let (graph, record) = graph(|request: Request<Bytes>| async move {
            let body = if request.method() == Method::GET { r#"{"categories":["Red"]}"# } else { "{}" };
            Ok(answer(200, body))
        });
        let mailbox = graph.mailbox("a@b.example");
        mailbox.categorize("id", "Taken").await.unwrap();
        assert_eq!(record.graph()[1].body().as_ref(), br#"{"categories":["Red","Taken"]}"#);
        mailbox.categorize("id", "Red").await.unwrap();
        assert_eq!(record.graph().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_somebody_else_makes_meanwhile_is_found() {
        let (graph, record) = graph({
            let looked = AtomicU32::new(0);
            move |request: Request<Bytes>| {
                let made = request.method() == Method::POST;
                let found = if !made && looked.fetch_add(1, Ordering::Relaxed) > 0 {
                    r#"{"value":[{"id":"theirs"}]}"#
                } else {
                    r#"{"value":[]}"#
                };
                async move { Ok(if made { refusal(409, "ErrorFolderExists") } else { answer(200, found) }) }
            }
        });
        assert_eq!(graph.mailbox("a@b.example").folder_at("Inbox/Done").await.unwrap(), "theirs");
        assert_eq!(record.graph().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_is_found_by_its_path_and_made_where_it_is_missing() {
        let (graph, record) = graph(|request: Request<Bytes>| async move {
            let made = request.method() == Method::POST;
            Ok(if made { answer(201, r#"{"id":"new="}"#) } else { answer(200, r#"{"value":[]}"#) })
        });
        let mailbox = graph.mailbox("a@b.example");
        assert_eq!(mailbox.folder_at("Deleted Items").await.unwrap(), "deleteditems");
        assert!(record.graph().is_empty());
        assert_eq!(mailbox.folder_at("Inbox/済み").await.unwrap(), "new=");
        let asked: Vec<_> = record.graph().iter().map(|request| request.uri().path().to_owned()).collect();
        assert_eq!(asked, ["/v1.0/users/a%40b.example/mailFolders/inbox/childFolders"; 2]);
        assert_eq!(mailbox.find_folder("Orders").await.unwrap(), None);
        mailbox.move_to("id", "new=").await.unwrap();
        let moved = &record.graph()[3];
        assert!(moved.uri().path().ends_with("/messages/id/move"));
        assert_eq!(moved.body().as_ref(), br#"{"destinationId":"new="}"#);
    }
}
