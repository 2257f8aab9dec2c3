//! The administrator's screen of mailboxes: how each is, and when it was last heard of.

use askama::Template;
use axum::{extract::State, response::Html};
use postroom_engine::figures::Figures;

use crate::{
    failure::Failure,
    page::{Page, render},
    site::Site,
    visitor::{Admin, Person},
};

#[derive(Template)]
#[template(path = "mailboxes.html")]
struct MailboxesPage {
    page: Page,
    figures: Figures,
}

#[derive(Template)]
#[template(path = "mailboxes_table.html")]
struct MailboxesTable {
    page: Page,
    figures: Figures,
}

/// `GET /mailboxes`
pub(crate) async fn show(State(site): State<Site>, Admin(person): Admin) -> Result<Html<String>, Failure> {
    let figures = site.engine.figures().await?;
    render(&MailboxesPage { page: Page::live(&site, &person, "nav-mailboxes"), figures })
}

/// `GET /mailboxes/table`
pub(crate) async fn table(State(site): State<Site>, Admin(person): Admin) -> Result<Html<String>, Failure> {
    fragment(&site, &person).await
}

async fn fragment(site: &Site, person: &Person) -> Result<Html<String>, Failure> {
    let figures = site.engine.figures().await?;
    render(&MailboxesTable { page: Page::new(site, &person.visitor, ""), figures })
}
