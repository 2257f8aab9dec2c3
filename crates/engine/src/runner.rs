//! Carries out the jobs of one lane: claims what is due, runs some at once,
//! commits each effect together with the job's end.
//!
//! Started by `supervise`, one for each mailbox this node holds and one for the
//! common work. What an error means is said by [`JobError::retry`]; an outage
//! parks the lane and counts against no item.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use jiff::SignedDuration;
use postroom_model::Timestamp;
use postroom_store::{
    DbError, Unit,
    jobs::{self, Job, Lane},
    signals::Wake,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Engine,
    jobs::{BEGINNINGS, JobError, Retry, TRIES, Work, backoff, in_full},
};

/// How many jobs of a lane run at once. A mailbox's Graph lane lets four through;
/// the others stand ready, so that no slot is ever empty.
const fn at_once(lane: Lane) -> usize {
    match lane {
        Lane::Mailbox(_) => 16,
        Lane::Work => 32,
    }
}

/// A claim is held this long; who is alive renews nothing, because each request ends far earlier.
const LEASE: SignedDuration = SignedDuration::from_mins(15);
/// A lane whose node's leases have run out looks this often whether they are renewed.
const LEASES_LOOK: SignedDuration = SignedDuration::from_secs(1);
/// How long a lane rests after an outage of which nobody said when it ends.
const OUTAGE_REST: Duration = Duration::from_secs(10);
/// How often a job whose race was lost is run again at once.
const RACES: u32 = 5;

/// What a mail needs is tried this often when its usual tries are over, up to [`BEGINNINGS`]: for most of a
/// day, for whatever ails Microsoft with it may heal.
const PATIENT_WAIT: Duration = Duration::from_secs(3600);

/// Whether this is work on a mail that came in. A reply that fails waits for its writer instead.
fn is_patient(job: &Job) -> bool {
    matches!(Work::of(job), Ok(Work::Fetch { .. } | Work::Process { .. } | Work::AfterTaking { .. }))
}

/// What a job asks of its lane.
enum Verdict {
    /// Nothing.
    GoOn,
    /// To look for it again then.
    Again(Timestamp),
    /// To leave everything until then.
    Rest(Timestamp),
}

/// When a lane does what next.
#[derive(Default)]
struct Rhythm {
    /// It leaves everything until then.
    rest_until: Option<Timestamp>,
    /// Nothing is due before; absent when that is not known.
    look_at: Option<Timestamp>,
}

impl Rhythm {
    fn heed(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::GoOn => {}
            Verdict::Again(at) => self.look_at = self.look_at.map(|look| look.min(at)),
            Verdict::Rest(until) => self.rest_until = self.rest_until.max(Some(until)),
        }
    }

    fn is_due(&mut self, now: Timestamp) -> bool {
        self.rest_until = self.rest_until.filter(|until| *until > now);
        self.rest_until.is_none() && self.look_at.is_none_or(|at| at <= now)
    }
}

impl Engine {
    /// Runs the lane until `end`.
    pub(crate) async fn run_lane(&self, lane: Lane, end: CancellationToken) {
        let woken = self.store().signals.waiter(Wake::Lane(lane));
        let mut running = FuturesUnordered::new();
        let mut rhythm = Rhythm::default();
        // Whoever had the lane before dropped its jobs with it.
        let unit = Unit::new().with(jobs::release_lane(lane, self.node()));
        if let Err(error) = self.store().commit(unit).await {
            tracing::warn!(lane = %lane, error = %error, "Jobs left behind run again when their time is up");
        }
        loop {
            let now = self.now();
            let room = at_once(lane) - running.len();
            // Claiming by halves keeps the number of commits down and the slots filled.
            let may_claim = rhythm.is_due(now)
                && room * 2 >= at_once(lane)
                && !self.is_paused(lane)
                && self.holds_its_leases(now);
            if may_claim {
                // What jobs ask for meanwhile counts beside what the claim finds.
                rhythm.look_at = Some(Timestamp::MAX);
                // The jobs go on meanwhile: they hold connections of the pool, for one of which the
                // claim may have to wait.
                let claiming = self.claim(lane, now, room);
                tokio::pin!(claiming);
                let claimed = loop {
                    tokio::select! {
                        claimed = &mut claiming => break claimed,
                        Some(verdict) = running.next() => rhythm.heed(verdict),
                    }
                };
                match claimed {
                    Ok((claimed, look)) => {
                        rhythm.look_at = look.map(|look| rhythm.look_at.map_or(look, |at| at.min(look)));
                        running.extend(claimed.into_iter().map(|job| self.carry_out(job)));
                    }
                    Err(error) => {
                        tracing::warn!(lane = %lane, error = %error, "Jobs could not be claimed");
                        rhythm.heed(Verdict::Rest(now + SignedDuration::from_secs(1)));
                        rhythm.look_at = None;
                    }
                }
            }
            let idle = if self.holds_its_leases(now) { self.heartbeat().look } else { LEASES_LOOK };
            let wake_at = rhythm.rest_until.or(rhythm.look_at).unwrap_or(now + idle);
            tokio::select! {
                () = end.cancelled() => return,
                Some(verdict) = running.next() => rhythm.heed(verdict),
                () = woken.notified() => rhythm.look_at = None,
                () = self.sleep_until(wake_at), if running.len() * 2 <= at_once(lane) => rhythm.look_at = None,
            }
        }
    }

    /// Claims up to `room` jobs; if there were fewer, says when to look again.
    async fn claim(
        &self,
        lane: Lane,
        now: Timestamp,
        room: usize,
    ) -> Result<(Vec<Job>, Option<Timestamp>), DbError> {
        let claimed = jobs::claim(&self.store().db, lane, self.node(), now, now + LEASE, room as u32).await?;
        let look = if claimed.len() < room { Some(self.next_look(lane, now).await) } else { None };
        Ok((claimed, look))
    }

    async fn next_look(&self, lane: Lane, now: Timestamp) -> Timestamp {
        let latest = now + self.heartbeat().look;
        match jobs::find_next_due(&self.store().db, lane, now).await {
            Ok(Some(due)) => due.min(latest),
            Ok(None) | Err(_) => latest,
        }
    }

    /// Runs one job to the commit that ends, postpones or gives it up.
    async fn carry_out(&self, job: Job) -> Verdict {
        if job.attempts > BEGINNINGS {
            self.end_without_success(&job, &JobError::Interrupted).await;
            return Verdict::GoOn;
        }
        for _ in 0..RACES {
            // A panic over one mail must not end the lane of all.
            let ran = AssertUnwindSafe(self.run_and_commit(&job)).catch_unwind().await;
            let error = match ran.unwrap_or(Err(JobError::Panicked)) {
                Ok(()) => return Verdict::GoOn,
                Err(error) => error,
            };
            let now = self.now();
            match error.retry() {
                Retry::Again => {}
                Retry::Park(until) => {
                    let until =
                        until.unwrap_or(now + SignedDuration::try_from(OUTAGE_REST).unwrap_or_default());
                    self.postpone(&job, until, false, &error).await;
                    return Verdict::Rest(until);
                }
                Retry::Wait(wait) => {
                    let until = now + SignedDuration::try_from(wait).unwrap_or_default();
                    self.postpone(&job, until, false, &error).await;
                    return Verdict::Again(until);
                }
                Retry::After(wait) if job.attempts < TRIES => {
                    self.postpone(&job, now + wait, true, &error).await;
                    return Verdict::Again(now + wait);
                }
                Retry::Later if job.attempts < TRIES => {
                    let until = now + self.jittered(backoff(job.attempts));
                    self.postpone(&job, until, true, &error).await;
                    return Verdict::Again(until);
                }
                Retry::After(_) | Retry::Later if job.attempts < BEGINNINGS && is_patient(&job) => {
                    let until = now + self.jittered(PATIENT_WAIT);
                    self.hold_meanwhile(&job, until, &error).await;
                    return Verdict::Again(until);
                }
                Retry::Never | Retry::After(_) | Retry::Later => {
                    self.end_without_success(&job, &error).await;
                    return Verdict::GoOn;
                }
            }
        }
        // Lost again and again: somebody works on the same thing; look later.
        let again = self.now() + SignedDuration::from_secs(1);
        self.postpone(&job, again, false, &JobError::Store(DbError::Lost)).await;
        Verdict::Again(again)
    }

    async fn run_and_commit(&self, job: &Job) -> Result<(), JobError> {
        let mut arrived_at = None;
        let mut unit = match Work::of(job)? {
            Work::Fetch { mailbox, message } => self.fetch(mailbox, message, job.attempts).await?,
            Work::AfterTaking { mailbox, message } => self.after_taking(mailbox, message).await?,
            Work::Process { message } => {
                let processed = self.process(message, job.attempts).await?;
                arrived_at = processed.arrived_at;
                processed.unit
            }
            Work::Send { mailbox, outgoing } => self.send(mailbox, outgoing).await?,
            Work::ConfirmSent { mailbox, outgoing } => self.confirm_sent(mailbox, outgoing).await?,
        };
        unit.push(jobs::complete(job));
        self.store().commit(unit).await?;
        if let Some(at) = arrived_at {
            self.arrival_to_queue().observe(self.now().duration_since(at).as_secs_f64().max(0.0));
        }
        Ok(())
    }

    async fn postpone(&self, job: &Job, run_at: Timestamp, counts: bool, error: &JobError) {
        tracing::debug!(job.id = %job.id, job.kind = %job.kind, error = %error, "Job is postponed");
        let stmt = jobs::postpone(job, run_at, counts, &in_full(error));
        if let Err(error) = self.store().commit(Unit::new().with(stmt)).await {
            // Its lease runs out, or the next start voids it: it runs again either way.
            tracing::warn!(job.id = %job.id, error = %error, "Job could not be postponed");
        }
    }

    /// Puts the mail where everybody sees that something is wrong with it, and the job to `until`.
    async fn hold_meanwhile(&self, job: &Job, until: Timestamp, error: &JobError) {
        tracing::warn!(job.id = %job.id, job.kind = %job.kind, error = %error, "Job is tried each hour from now on");
        let unit = match Work::of(job) {
            Ok(work @ (Work::Fetch { .. } | Work::Process { .. })) => self.give_up(work, error).await,
            Ok(_) | Err(_) => Ok(Unit::new()),
        };
        let held = match unit {
            Ok(unit) => {
                let postponed = jobs::postpone(job, until, true, &in_full(error));
                self.store().commit(unit.with(postponed)).await.map(drop)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = held {
            // Its lease runs out, or the next start voids it: it runs again either way.
            tracing::warn!(job.id = %job.id, error = %error, "Job could not be postponed");
        }
    }

    async fn end_without_success(&self, job: &Job, error: &JobError) {
        tracing::warn!(job.id = %job.id, job.kind = %job.kind, error = %error, "Job is given up");
        let unit = match Work::of(job) {
            Ok(work) => self.give_up(work, error).await,
            Err(_unreadable) => return,
        };
        let ended = match unit {
            Ok(unit) => self.store().commit(unit.with(jobs::complete(job))).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::warn!(job.id = %job.id, error = %error, "Giving up could not be recorded");
        }
    }

    fn jittered(&self, wait: Duration) -> Duration {
        wait.mul_f64(0.8 + 0.4 * self.entropy().unit())
    }
}
