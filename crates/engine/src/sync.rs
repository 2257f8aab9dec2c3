//! Follows the delta track of each watched folder: the truth about what arrived.
//!
//! Called by the mailbox's loop. Notifications only make a folder *dirty*; what
//! a delta round finds goes through the same `ensure_seen`, so a mail that was
//! announced and found is in the ledger once (design invariant 3).

use jiff::SignedDuration;
use postroom_graph::{DeltaFrom, DeltaItem, DeltaNext, GraphError, GraphErrorKind, Mailbox as Lane};
use postroom_model::{Timestamp, ledger::Reason};
use postroom_store::{
    Unit,
    folders::{self, Folder},
    mailboxes::Mailbox,
    subscriptions,
};

use crate::{Engine, intake::Heard, jobs::JobError};

/// A dirty folder is followed at most this often.
pub(crate) const DIRTY_EVERY: SignedDuration = SignedDuration::from_secs(30);
/// A folder of which announcements went missing is followed this often.
pub(crate) const WATCHED_EVERY: SignedDuration = SignedDuration::from_mins(1);
/// A quiet folder is followed this often.
pub(crate) const QUIET_EVERY: SignedDuration = SignedDuration::from_mins(5);
/// The sweep over received dates runs this often.
const SWEEP_EVERY: SignedDuration = SignedDuration::from_hours(24);
/// How far the sweep looks back beyond its last run.
const SWEEP_OVERLAP: SignedDuration = SignedDuration::from_hours(48);
/// Ids on one page: enough that pages cost nothing beside the mails they name, and few enough that those
/// of a hundred mailboxes at once don't fill the memory.
const PAGE: u32 = 250;

/// When the next delta round of a folder is due that has been followed since `begun`; a time gone by, or
/// none, means now. Before `begun` announcements may have gone unheard, so the first round is due at once.
pub(crate) fn next_round(folder: &Folder, begun: Timestamp) -> Option<Timestamp> {
    let is_whole = folder.crawled_at.is_some() && folder.resume_link.is_none();
    let last = folder.last_delta_at.filter(|last| is_whole && *last >= begun)?;
    let watched = folder.watched_until.is_some_and(|until| last < until);
    Some(
        last + match folder.dirty_since {
            Some(_) => DIRTY_EVERY,
            None if watched => WATCHED_EVERY,
            None => QUIET_EVERY,
        },
    )
}

/// Whether a link that was kept is of no use any more: Microsoft forgot the track, refuses the link for
/// whatever reason, or it leads to where Graph was before.
fn is_track_lost(error: &GraphError) -> bool {
    matches!(error.kind(), GraphErrorKind::SyncStateLost | GraphErrorKind::Refused)
}

/// Where a page is too much for Graph, which then answers 504, less is asked for at a time, in two
/// steps: the breaker opens at five failures in a row.
/// <https://github.com/microsoftgraph/microsoft-graph-docs/issues/5853>
fn smaller_page(error: &GraphError, page: u32) -> Option<u32> {
    (error.is_too_slow() && page >= 50).then_some(page / 5)
}

impl Engine {
    /// One delta round of a folder, from where the last one ended to the present.
    pub(crate) async fn delta_round(
        &self,
        mailbox: &Mailbox,
        lane: &Lane,
        folder: &Folder,
    ) -> Result<(), JobError> {
        let mut folder = folder.clone();
        let started = self.now();
        let mut page_size = PAGE;
        let mut is_begun_anew = false;
        loop {
            let from = folder.resume_link.clone().or_else(|| folder.delta_link.clone());
            let target = folder.graph_id.as_deref().unwrap_or(&folder.name);
            let page = match &from {
                Some(link) => lane.delta(target, DeltaFrom::Link(link), page_size).await,
                None => lane.delta(target, DeltaFrom::Start, page_size).await,
            };
            let page = match page {
                Ok(page) => page,
                Err(error) if let Some(less) = smaller_page(&error, page_size) => {
                    page_size = less;
                    continue;
                }
                Err(error) if from.is_some() && !is_begun_anew && is_track_lost(&error) => {
                    // Crawled anew at once, but not again and again; what is known stays known.
                    is_begun_anew = true;
                    tracing::info!(
                        folder.id = %folder.id,
                        error = %error,
                        "The delta track can't be followed any more, the folder is crawled anew"
                    );
                    self.store().commit(Unit::new().with(folders::forget_track(folder.id))).await?;
                    folder.delta_link = None;
                    folder.resume_link = None;
                    continue;
                }
                Err(error) if error.kind() == GraphErrorKind::Gone && folder.graph_id.is_some() => {
                    // The folder itself is gone, perhaps made anew under the same name.
                    let unit = Unit::new()
                        .with(folders::forget_track(folder.id))
                        .with(folders::forget_graph_id(folder.id))
                        .with(subscriptions::record_ended(folder.id, self.now()));
                    self.store().commit(unit).await?;
                    return Err(JobError::Graph(error));
                }
                Err(error) => return Err(error.into()),
            };
            let older = self.take_page(mailbox, lane, &folder, &page.items).await?;
            // Items of the first round that are too old are counted once, for the page "Mailboxes".
            let older = if folder.crawled_at.is_none() { older } else { 0 };
            let from = from.as_deref();
            match page.next {
                DeltaNext::Next(link) => {
                    let stmt = folders::record_page(folder.id, from, &link, older);
                    if !self.store().commit_guarded(Unit::new().with(stmt)).await? {
                        return Ok(());
                    }
                    folder.resume_link = Some(link);
                }
                DeltaNext::Done(link) => {
                    let stmt = folders::record_round(folder.id, from, &link, older, started, self.now());
                    self.store().commit_guarded(Unit::new().with(stmt)).await?;
                    return Ok(());
                }
            }
        }
    }

    /// Puts the items of a page into the ledger; gives the number that are too old to be taken.
    async fn take_page(
        &self,
        mailbox: &Mailbox,
        lane: &Lane,
        folder: &Folder,
        items: &[DeltaItem],
    ) -> Result<u32, JobError> {
        let takes_from = mailbox.takes_from().unwrap_or_else(|| self.now());
        let mut older = 0;
        let mut heard = Vec::new();
        for item in items.iter().filter(|item| !item.removed) {
            match item.received_at {
                Some(at) if at < takes_from => older += 1,
                received_at => heard.push(Heard { graph_id: &item.id, received_at }),
            }
        }
        // An update may come without the date; only an unknown mail needs it asked for.
        let dateless: Vec<&str> =
            heard.iter().filter(|h| h.received_at.is_none()).map(|h| h.graph_id).collect();
        let known = postroom_store::messages::list_known(&self.store().db, mailbox.id, &dateless).await?;
        let mut taken = Vec::with_capacity(heard.len());
        for mut h in heard {
            if h.received_at.is_none() && !known.contains_key(h.graph_id) {
                match lane.message_meta(h.graph_id).await {
                    Ok(meta) => h.received_at = meta.received_at,
                    Err(error) if error.kind() == GraphErrorKind::Gone => continue,
                    Err(error) => return Err(error.into()),
                }
                if h.received_at.is_some_and(|at| at < takes_from) {
                    continue;
                }
            }
            taken.push(h);
        }
        self.ensure_seen(mailbox.id, folder.id, &taken, Reason::FoundByDelta).await?;
        Ok(older)
    }

    /// The nightly proof: every mail received since the last sweep must be in the ledger.
    pub(crate) async fn sweep_if_due(
        &self,
        mailbox: &Mailbox,
        lane: &Lane,
        folder: &Folder,
    ) -> Result<(), JobError> {
        let now = self.now();
        let Some(crawled) = folder.crawled_at else { return Ok(()) };
        let last = folder.last_sweep_at.unwrap_or(crawled);
        if now < last + SWEEP_EVERY {
            return Ok(());
        }
        let takes_from = mailbox.takes_from().unwrap_or(now);
        let since = takes_from.max(last - SWEEP_OVERLAP);
        let target = folder.graph_id.as_deref().unwrap_or(&folder.name);
        let (mut link, mut page_size) = (None::<String>, PAGE);
        loop {
            let page = match lane.list_ids_since(target, since, link.as_deref(), page_size).await {
                Ok(page) => page,
                Err(error) if let Some(less) = smaller_page(&error, page_size) => {
                    // The links carry the size of the first page: begun anew; what is known stays known.
                    page_size = less;
                    link = None;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let heard: Vec<Heard<'_>> = page
                .items
                .iter()
                .map(|item| Heard { graph_id: &item.id, received_at: item.received_at })
                .collect();
            let missed = self.ensure_seen(mailbox.id, folder.id, &heard, Reason::FoundBySweep).await?;
            if missed > 0 {
                tracing::warn!(mailbox.id = %mailbox.id, missed, "The sweep found mails that delta had not shown");
            }
            match page.next {
                Some(next) => link = Some(next),
                None => break,
            }
        }
        self.store().commit(Unit::new().with(folders::record_sweep(folder.id, now))).await?;
        Ok(())
    }

    /// Finds the folder's id behind its name, once.
    pub(crate) async fn resolve_folder(&self, lane: &Lane, folder: &Folder) -> Result<Folder, JobError> {
        if folder.graph_id.is_some() {
            return Ok(folder.clone());
        }
        let Some(found) = lane.find_folder(&folder.name).await? else {
            return Err(JobError::NoFolder(folder.name.clone()));
        };
        self.store().commit(Unit::new().with(folders::record_graph_id(folder.id, &found))).await?;
        Ok(Folder { graph_id: Some(found), ..folder.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postroom_model::{FolderId, MailboxId};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn folder(last: i64, dirty: bool) -> Folder {
        Folder {
            id: FolderId::from_uuid(uuid::Uuid::nil()),
            mailbox: MailboxId::from_uuid(uuid::Uuid::nil()),
            name: "inbox".into(),
            graph_id: None,
            delta_link: Some("link".into()),
            resume_link: None,
            crawled_at: Some(at(0)),
            older_count: 0,
            dirty_since: dirty.then(|| at(last)),
            last_notification_at: None,
            last_delta_at: Some(at(last)),
            last_sweep_at: None,
            watched_until: None,
        }
    }

    #[test]
    fn a_dirty_folder_is_followed_after_half_a_minute_a_watched_one_after_one_and_a_quiet_one_after_five() {
        assert_eq!(next_round(&folder(100, true), at(100)), Timestamp::from_second(130).ok());
        assert_eq!(next_round(&folder(100, false), at(0)), Timestamp::from_second(400).ok());
        let watched =
            |until| Folder { watched_until: Timestamp::from_second(until).ok(), ..folder(100, false) };
        assert_eq!(next_round(&watched(101), at(0)), Timestamp::from_second(160).ok());
        assert_eq!(next_round(&watched(100), at(0)), Timestamp::from_second(400).ok());
    }

    #[test]
    fn a_folder_never_crawled_or_left_in_the_middle_or_by_another_process_is_due_at_once() {
        assert_eq!(next_round(&folder(100, false), at(101)), None);
        assert_eq!(next_round(&Folder { crawled_at: None, ..folder(100, false) }, at(0)), None);
        assert_eq!(next_round(&Folder { resume_link: Some("x".into()), ..folder(100, false) }, at(0)), None);
    }
}
