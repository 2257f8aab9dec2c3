//! The administrator's screen of mailboxes: how each is, and when it was last heard of.

use std::collections::BTreeMap;

use askama::Template;
use axum::{extract::State, response::Html};
use postroom_model::Timestamp;
use postroom_store::{
    credentials, credentials::Expiry, folders, jobs, mailboxes, mailboxes::Mailbox, subscriptions,
};

use crate::{
    failure::Failure,
    page::{Page, render},
    site::Site,
    visitor::{Admin, Person},
};

/// A mailbox with what its folders tell.
struct Row {
    mailbox: Mailbox,
    last_notification: Option<Timestamp>,
    last_delta: Option<Timestamp>,
    subscription_expires: Option<Timestamp>,
    older: i64,
    open_jobs: i64,
}

#[derive(Template)]
#[template(path = "mailboxes.html")]
struct MailboxesPage {
    page: Page,
    rows: Vec<Row>,
    expiries: Vec<Expiry>,
}

#[derive(Template)]
#[template(path = "mailboxes_table.html")]
struct MailboxesTable {
    page: Page,
    rows: Vec<Row>,
    expiries: Vec<Expiry>,
}

/// `GET /mailboxes`
pub(crate) async fn show(State(site): State<Site>, Admin(person): Admin) -> Result<Html<String>, Failure> {
    let (rows, expiries) = read(&site).await?;
    render(&MailboxesPage { page: Page::live(&site, &person, "nav-mailboxes"), rows, expiries })
}

/// `GET /mailboxes/table`
pub(crate) async fn table(State(site): State<Site>, Admin(person): Admin) -> Result<Html<String>, Failure> {
    fragment(&site, &person).await
}

async fn fragment(site: &Site, person: &Person) -> Result<Html<String>, Failure> {
    let (rows, expiries) = read(site).await?;
    render(&MailboxesTable { page: Page::new(site, &person.visitor, ""), rows, expiries })
}

async fn read(site: &Site) -> Result<(Vec<Row>, Vec<Expiry>), Failure> {
    let db = &site.engine.store().db;
    let folders = folders::list(db).await?;
    let subscriptions = subscriptions::list(db).await?;
    let mut open: BTreeMap<String, i64> = BTreeMap::new();
    for (lane, _, count) in jobs::list_counts(db).await? {
        *open.entry(lane).or_default() += count;
    }
    let mut rows = Vec::new();
    for mailbox in mailboxes::list(db).await? {
        let own = || folders.iter().filter(|folder| folder.mailbox == mailbox.id);
        let expires = |subscription: &subscriptions::Subscription| {
            (subscription.mailbox == mailbox.id).then_some(subscription.expires_at).flatten()
        };
        rows.push(Row {
            last_notification: own().filter_map(|folder| folder.last_notification_at).max(),
            last_delta: own().filter_map(|folder| folder.last_delta_at).max(),
            subscription_expires: subscriptions.iter().filter_map(expires).max(),
            older: own().map(|folder| folder.older_count).sum(),
            open_jobs: open.get(&jobs::Lane::Mailbox(mailbox.id).to_string()).copied().unwrap_or_default(),
            mailbox,
        });
    }
    Ok((rows, credentials::list_expiries(db).await?))
}
