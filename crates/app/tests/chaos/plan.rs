//! What happens in one run, decided beforehand and from the seed alone: which
//! mails arrive when, what breaks from when to when, when the power fails.

use std::fmt;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

/// How much happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) mailboxes: usize,
    pub(crate) mails: usize,
    /// How long mails arrive and things break.
    pub(crate) time: Duration,
    /// How many things break.
    pub(crate) faults: usize,
    /// Most power cuts.
    pub(crate) kills: usize,
}

impl Size {
    /// As in CI.
    pub(crate) const USUAL: Self =
        Self { mailboxes: 20, mails: 150, time: Duration::from_secs(45 * 60), faults: 8, kills: 3 };
    /// Days, in which subscriptions end and secrets are renewed.
    pub(crate) const LONG: Self =
        Self { mailboxes: 20, mails: 600, time: Duration::from_secs(4 * 24 * 3600), faults: 40, kills: 12 };
}

/// Something that is broken for a while.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// A switch of the simulator, of one mailbox or of all.
    Switch { mailbox: Option<usize>, name: &'static str, value: Value },
    /// The mailbox loses its licence.
    Licence { mailbox: usize },
    /// An access policy shuts the application out of the mailbox.
    Policy { mailbox: usize },
    /// Nothing is consented to any more.
    Consent,
    /// The database fails: each so manieth query or commit, or every one.
    Store { of: u64 },
    /// The answer of each so manieth commit is lost though it was done.
    LostAnswers { of: u64 },
}

/// What happens at a moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// A mail arrives.
    Arrives { mailbox: usize },
    /// A person opens the newest mail of the mailbox in Outlook.
    Opened { mailbox: usize },
    /// A fault begins; the number is its place in the list.
    Begins(usize),
    /// A fault ends.
    Ends(usize),
    /// The power fails.
    Kill,
    /// It is back.
    Restart,
}

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) size: Size,
    pub(crate) faults: Vec<Fault>,
    /// In the order of time.
    pub(crate) events: Vec<(Duration, Event)>,
}

impl Plan {
    /// The run of a seed.
    pub(crate) fn of(seed: u64, size: Size) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        let mut events = Vec::new();
        let mut burst = None;
        for _ in 0..size.mails {
            let at = moment(&mut dice, size.time);
            // Some come in bursts to one mailbox, in the same second even.
            let (at, mailbox) = match burst {
                Some(before) if dice.random_bool(0.4) => before,
                _ => (at, dice.random_range(0..size.mailboxes)),
            };
            burst = Some((at, mailbox));
            events.push((at, Event::Arrives { mailbox }));
        }
        for _ in 0..size.mails / 15 {
            let mailbox = dice.random_range(0..size.mailboxes);
            events.push((moment(&mut dice, size.time), Event::Opened { mailbox }));
        }
        let faults: Vec<Fault> = (0..size.faults).map(|_| fault(&mut dice, size.mailboxes)).collect();
        for (number, fault) in faults.iter().enumerate() {
            let begins = moment(&mut dice, size.time);
            let longest =
                if matches!(fault, Fault::Store { .. } | Fault::LostAnswers { .. }) { 5 } else { 30 };
            let lasts = Duration::from_secs(dice.random_range(20..60 * longest));
            events.push((begins, Event::Begins(number)));
            events.push((begins + lasts, Event::Ends(number)));
        }
        let mut up = Duration::from_secs(60);
        for _ in 0..dice.random_range(0..=size.kills) {
            let down = up + moment(&mut dice, size.time / u32::try_from(size.kills).unwrap_or(1));
            let again = down + Duration::from_millis(dice.random_range(1..600_000));
            events.extend([(down, Event::Kill), (again, Event::Restart)]);
            up = again + Duration::from_secs(1);
        }
        events.sort_by_key(|(at, _)| *at);
        Self { seed, size, faults, events }
    }
}

fn moment(dice: &mut SmallRng, within: Duration) -> Duration {
    Duration::from_micros(dice.random_range(0..u64::try_from(within.as_micros()).unwrap_or(u64::MAX)))
}

fn fault(dice: &mut SmallRng, mailboxes: usize) -> Fault {
    let mailbox = dice.random_range(0..mailboxes);
    let one_or_all = dice.random_bool(0.5).then_some(mailbox);
    let share = f64::from(dice.random_range(1_u32..=10)) / 10.0;
    let few = share / 3.0;
    let seconds = dice.random_range(1..40_u64);
    let switch = |mailbox, name, value| Fault::Switch { mailbox, name, value };
    match dice.random_range(0..45) {
        0 | 1 => switch(one_or_all, "notify.loss_rate", json!(share)),
        2 => switch(one_or_all, "notify.duplicate_rate", json!(share)),
        3 => switch(one_or_all, "notify.jitter_ms", json!(seconds * 1000)),
        4 => switch(one_or_all, "notify.outage", json!(true)),
        5 => switch(None, "notify.bulk_suppress", json!(2)),
        6 => switch(None, "notify.created_updated_pair", json!(true)),
        7 => switch(one_or_all, "throttle.rate", json!(few)),
        8 => switch(None, "throttle.retry_after", json!(["absent", "date"][dice.random_range(0..2)])),
        9 => switch(one_or_all, "throttle.concurrency", json!(2)),
        10 | 11 => switch(one_or_all, "error.rate", json!(share)),
        12 => switch(None, "error.statuses", json!([500, 502, 503, 504])),
        13 => switch(None, "error.shape", json!(["bare", "html"][dice.random_range(0..2)])),
        14 => switch(one_or_all, "store.replication_lag_ms", json!(seconds * 1000)),
        15 => switch(one_or_all, "delta.expire", json!(true)),
        16 => switch(None, "delta.expire_status", json!([400, 404][dice.random_range(0..2)])),
        17 => switch(one_or_all, "delta.expire_rate", json!(few)),
        18 => switch(one_or_all, "delta.replay", json!(share)),
        19 => switch(one_or_all, "delta.empty_page", json!(few)),
        20 => switch(one_or_all, "delta.no_link", json!(few)),
        21 => switch(one_or_all, "sub.silent_death", json!(true)),
        22 => switch(None, "sub.validation_flaky", json!(share)),
        23 => switch(None, "token.revoke", json!(true)),
        24 => switch(None, "secret.expire", json!(true)),
        25 => switch(None, "sts.error_rate", json!(share)),
        26 => switch(None, "sts.throttle_rate", json!(share)),
        27 => switch(None, "sub.error_rate", json!(share)),
        28 => switch(None, "sub.patch_noop", json!(true)),
        29 => switch(None, "sub.zombie", json!(true)),
        30 => switch(None, "sub.list_stale", json!(true)),
        31 => switch(None, "sub.list_error", json!(share)),
        32 => switch(None, "sub.answer_delay_ms", json!(seconds * 500)),
        33 => switch(None, "lifecycle.suppress", json!(true)),
        34 => switch(None, "lifecycle.spurious_rate", json!(share)),
        35 => switch(one_or_all, "delta.partial", json!(true)),
        36 => switch(one_or_all, "gateway.timeout_bytes", json!(dice.random_range(1000..8000))),
        37 => switch(one_or_all, "mailbox.quota", json!(true)),
        38 => switch(one_or_all, "value.broken_rate", json!(few)),
        39 => switch(None, "token.lifetime_s", json!(seconds * 20)),
        40 => Fault::Licence { mailbox },
        41 => Fault::Policy { mailbox },
        42 => Fault::Consent,
        43 => Fault::Store { of: dice.random_range(1..20) },
        _ => Fault::LostAnswers { of: dice.random_range(2..20) },
    }
}

impl Fault {
    /// Whether it may make a mail's bytes impossible to have, so that the mail is rebuilt.
    pub(crate) fn breaks_bytes(&self) -> bool {
        matches!(self, Self::Switch { name: "value.broken_rate", .. })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch { mailbox: None, name, value } => write!(f, "{name} = {value}"),
            Self::Switch { mailbox: Some(mailbox), name, value } => {
                write!(f, "{name} = {value} for {}", address(*mailbox))
            }
            Self::Licence { mailbox } => write!(f, "{} has no licence", address(*mailbox)),
            Self::Policy { mailbox } => write!(f, "a policy shuts us out of {}", address(*mailbox)),
            Self::Consent => f.write_str("the application has no permission"),
            Self::Store { of } => write!(f, "the database fails once in {of}"),
            Self::LostAnswers { of } => write!(f, "the answer of one commit in {of} is lost"),
        }
    }
}

impl fmt::Display for Plan {
    /// What breaks when, one a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, event) in &self.events {
            let at = format!("{:>9.1} s", at.as_secs_f64());
            match event {
                Event::Begins(number) => writeln!(f, "{at}  begins: {}", self.faults[*number])?,
                Event::Ends(number) => writeln!(f, "{at}  ends:   {}", self.faults[*number])?,
                Event::Kill => writeln!(f, "{at}  the power fails")?,
                Event::Restart => writeln!(f, "{at}  the power is back")?,
                Event::Arrives { .. } | Event::Opened { .. } => {}
            }
        }
        Ok(())
    }
}

/// The address of a mailbox of the run.
pub(crate) fn address(mailbox: usize) -> String {
    format!("box{mailbox}@contoso.example")
}
