//! Carries out the jobs of one lane: claims what is due, runs some at once,
//! commits each effect together with the job's end.
//!
//! Started by `supervise`, one for each mailbox this node holds and one for the
//! common work. What an error means is said by [`JobError::retry`]; an outage
//! parks the lane and counts against no item.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use jiff::SignedDuration;
use postroom_graph::GraphError;
use postroom_model::{JobId, Timestamp};
use postroom_store::{
    DbError, Stmt, Unit,
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

/// A claim is held this long, and made longer while its job runs: a large mail on a slow line takes its time.
const LEASE: SignedDuration = SignedDuration::from_mins(15);
/// How long before claims are made longer: often enough that it may fail twice.
const RENEW_AFTER: SignedDuration = SignedDuration::from_mins(5);
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

/// How a job's run ended.
struct Outcome {
    job: JobId,
    verdict: Verdict,
    /// What the store did not take: without it the job would stand claimed until its lease runs out.
    unwritten: Option<Stmt>,
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

/// What a lane has in hand.
struct Hand<'e> {
    running: FuturesUnordered<BoxFuture<'e, Outcome>>,
    /// The jobs that run, each with the try by which its claim is known.
    claimed: BTreeMap<JobId, u32>,
    rhythm: Rhythm,
    /// What has to be written before anything more is claimed.
    unwritten: Vec<Stmt>,
    /// The end of the latest claim. No two claims of a lane end at the same time, so that each is known by it.
    leased_until: Timestamp,
    /// When the claims of what runs are to be made longer.
    renew_at: Timestamp,
}

impl Hand<'_> {
    fn empty() -> Self {
        Self {
            running: FuturesUnordered::new(),
            claimed: BTreeMap::new(),
            rhythm: Rhythm::default(),
            unwritten: Vec::new(),
            leased_until: Timestamp::UNIX_EPOCH,
            renew_at: Timestamp::MAX,
        }
    }

    fn heed(&mut self, outcome: Outcome) {
        self.claimed.remove(&outcome.job);
        self.unwritten.extend(outcome.unwritten);
        self.rhythm.heed(outcome.verdict);
    }

    /// Does something while the jobs go on: they hold connections of the pool, for one of which it may
    /// have to wait.
    async fn meanwhile<T>(&mut self, doing: impl Future<Output = T>) -> T {
        tokio::pin!(doing);
        loop {
            tokio::select! {
                done = &mut doing => return done,
                Some(outcome) = self.running.next() => self.heed(outcome),
            }
        }
    }

    /// Until when a claim of this moment holds.
    fn next_lease(&mut self, now: Timestamp) -> Timestamp {
        self.leased_until = (now + LEASE).max(self.leased_until + SignedDuration::from_micros(1));
        self.leased_until
    }
}

impl Engine {
    /// Runs the lane until `end`.
    pub(crate) async fn run_lane(&self, lane: Lane, end: CancellationToken) {
        let woken = self.store().signals.waiter(Wake::Lane(lane));
        let hints = match lane {
            Lane::Mailbox(id) => self.hints(id),
            Lane::Work => Arc::default(),
        };
        let mut hand = Hand::empty();
        // Whoever had the lane before dropped its jobs with it.
        hand.unwritten.push(jobs::release_lane(lane, self.node()));
        loop {
            let now = self.now();
            // Claiming by halves keeps the number of commits down and the slots filled.
            let may_claim = hand.rhythm.is_due(now)
                && hand.running.len() * 2 <= at_once(lane)
                && !self.is_paused(lane)
                && self.holds_its_leases(now);
            if may_claim && let Err(error) = self.claim(lane, &mut hand, now).await {
                tracing::warn!(lane = %lane, error = %error, "Jobs could not be claimed");
                hand.rhythm.heed(Verdict::Rest(now + SignedDuration::from_secs(1)));
                hand.rhythm.look_at = None;
            }
            if hand.renew_at <= now && !hand.claimed.is_empty() {
                self.renew(&mut hand, now).await;
            }
            let idle = if self.holds_its_leases(now) { self.heartbeat().look } else { LEASES_LOOK };
            let wake_at = hand.rhythm.rest_until.or(hand.rhythm.look_at).unwrap_or(now + idle);
            tokio::select! {
                () = end.cancelled() => return,
                Some(outcome) = hand.running.next() => hand.heed(outcome),
                () = woken.notified() => hand.rhythm.look_at = None,
                () = hints.work.notified() => hand.rhythm = Rhythm::default(),
                () = self.sleep_until(wake_at), if hand.running.len() * 2 <= at_once(lane) => {
                    hand.rhythm.look_at = None;
                }
                () = self.sleep_until(hand.renew_at), if !hand.claimed.is_empty() => {}
            }
        }
    }

    /// Writes what is still to be written, then takes what is due in hand; if that leaves room, says when
    /// to look again.
    async fn claim<'e>(&'e self, lane: Lane, hand: &mut Hand<'e>, now: Timestamp) -> Result<(), DbError> {
        let owed = hand.unwritten.len();
        if owed > 0 {
            let mut unit = Unit::new();
            unit.extend(hand.unwritten.iter().cloned());
            hand.meanwhile(self.store().commit(unit)).await?;
            hand.unwritten.drain(..owed);
        }
        let (db, node, until) = (&self.store().db, self.node(), hand.next_lease(now));
        let room = at_once(lane) - hand.running.len();
        // What jobs ask for meanwhile counts beside what the claim finds.
        hand.rhythm.look_at = Some(Timestamp::MAX);
        let claimed = hand.meanwhile(jobs::claim(db, lane, node, now, until, room as u32)).await;
        if claimed.is_err() {
            // It may have been done all the same.
            hand.unwritten.push(jobs::give_back(lane, node, until));
        }
        let claimed = claimed?;
        if claimed.len() < room {
            let look = hand.meanwhile(self.next_look(lane, now)).await;
            hand.rhythm.look_at = hand.rhythm.look_at.map(|at| at.min(look));
        } else {
            hand.rhythm.look_at = None;
        }
        if hand.claimed.is_empty() {
            hand.renew_at = now + RENEW_AFTER;
        }
        for job in claimed {
            hand.claimed.insert(job.id, job.attempts);
            hand.running.push(self.carry_out(lane, job).boxed());
        }
        Ok(())
    }

    /// Makes the claims of what runs longer.
    async fn renew(&self, hand: &mut Hand<'_>, now: Timestamp) {
        let until = hand.next_lease(now);
        hand.renew_at = now + RENEW_AFTER;
        let mut unit = Unit::new();
        unit.extend(hand.claimed.iter().map(|(job, attempts)| jobs::renew(*job, *attempts, until)));
        if let Err(error) = hand.meanwhile(self.store().commit(unit)).await {
            tracing::warn!(error = %error, "Claims could not be renewed; it is tried again before they end");
        }
    }

    async fn next_look(&self, lane: Lane, now: Timestamp) -> Timestamp {
        let latest = now + self.heartbeat().look;
        match jobs::find_next_due(&self.store().db, lane, now).await {
            Ok(Some(due)) => due.min(latest),
            Ok(None) | Err(_) => latest,
        }
    }

    /// Runs one job to the commit that ends, postpones or gives it up.
    async fn carry_out(&self, lane: Lane, job: Job) -> Outcome {
        let (verdict, unwritten) = self.carried_out(lane, &job).await;
        Outcome { job: job.id, verdict, unwritten }
    }

    async fn carried_out(&self, lane: Lane, job: &Job) -> (Verdict, Option<Stmt>) {
        if job.attempts > BEGINNINGS {
            return (Verdict::GoOn, self.end_without_success(job, &JobError::Interrupted).await);
        }
        for _ in 0..RACES {
            // A panic over one mail must not end the lane of all.
            let ran = AssertUnwindSafe(self.run_and_commit(job)).catch_unwind().await;
            let error = match ran.unwrap_or(Err(JobError::Panicked)) {
                Ok(()) => return (Verdict::GoOn, None),
                Err(error) => error,
            };
            if let JobError::Graph(refused @ GraphError::OutOfScope(_)) = &error
                && refused.is_of_one_right()
                && let Lane::Mailbox(mailbox) = lane
            {
                self.record_failure(mailbox, &error, &in_full(&error)).await;
            }
            let now = self.now();
            return match error.retry() {
                Retry::Again => continue,
                Retry::Park(until) => {
                    let until = until.unwrap_or_else(|| now + OUTAGE_REST);
                    (Verdict::Rest(until), self.postpone(job, until, false, &error).await)
                }
                Retry::Until(until) => {
                    (Verdict::Again(until), self.postpone(job, until, false, &error).await)
                }
                Retry::Wait(wait) => {
                    (Verdict::Again(now + wait), self.postpone(job, now + wait, false, &error).await)
                }
                Retry::After(wait) if job.attempts < TRIES => {
                    (Verdict::Again(now + wait), self.postpone(job, now + wait, true, &error).await)
                }
                Retry::Later if job.attempts < TRIES => {
                    let until = now + self.jittered(backoff(job.attempts));
                    (Verdict::Again(until), self.postpone(job, until, true, &error).await)
                }
                Retry::After(_) | Retry::Later if job.attempts < BEGINNINGS && is_patient(job) => {
                    let until = now + self.jittered(PATIENT_WAIT);
                    (Verdict::Again(until), self.hold_meanwhile(job, until, &error).await)
                }
                Retry::Never | Retry::After(_) | Retry::Later => {
                    (Verdict::GoOn, self.end_without_success(job, &error).await)
                }
            };
        }
        // Lost again and again: somebody works on the same thing; look later.
        let again = self.now() + SignedDuration::from_secs(1);
        let lost = JobError::Store(DbError::Lost);
        (Verdict::Again(again), self.postpone(job, again, false, &lost).await)
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

    /// Gives what could not be written.
    async fn postpone(&self, job: &Job, run_at: Timestamp, counts: bool, error: &JobError) -> Option<Stmt> {
        tracing::debug!(job.id = %job.id, job.kind = %job.kind, error = %error, "Job is postponed");
        let stmt = jobs::postpone(job, run_at, counts, &in_full(error));
        match self.store().commit(Unit::new().with(stmt.clone())).await {
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(job.id = %job.id, error = %error, "Job could not be postponed yet");
                Some(stmt)
            }
        }
    }

    /// Puts the mail where everybody sees that something is wrong with it, and the job to `until`. Gives
    /// what is to be written if that could not be.
    async fn hold_meanwhile(&self, job: &Job, until: Timestamp, error: &JobError) -> Option<Stmt> {
        tracing::warn!(job.id = %job.id, job.kind = %job.kind, error = %error, "Job is tried each hour from now on");
        let unit = match Work::of(job) {
            Ok(work @ (Work::Fetch { .. } | Work::Process { .. })) => self.give_up(work, error).await,
            Ok(_) | Err(_) => Ok(Unit::new()),
        };
        let unit = unit.map(|unit| unit.with(jobs::postpone(job, until, true, &in_full(error))));
        self.written_or_again(job, unit).await
    }

    /// Gives what is to be written if the end could not be.
    async fn end_without_success(&self, job: &Job, error: &JobError) -> Option<Stmt> {
        tracing::warn!(job.id = %job.id, job.kind = %job.kind, error = %error, "Job is given up");
        let unit = match Work::of(job) {
            Ok(work) => self.give_up(work, error).await,
            Err(_unreadable) => return None,
        };
        self.written_or_again(job, unit.map(|unit| unit.with(jobs::complete(job)))).await
    }

    /// Commits the last word about a job; if that can't be, the job is to run again at once.
    async fn written_or_again(&self, job: &Job, unit: Result<Unit, DbError>) -> Option<Stmt> {
        let written = match unit {
            Ok(unit) => self.store().commit(unit).await.map(drop),
            Err(error) => Err(error),
        };
        let error = written.err()?;
        tracing::warn!(job.id = %job.id, error = %error, "What became of the job could not be recorded; it runs again");
        Some(jobs::postpone(job, self.now(), false, &in_full(&error)))
    }

    fn jittered(&self, wait: Duration) -> Duration {
        wait.mul_f64(0.8 + 0.4 * self.entropy().unit())
    }
}
