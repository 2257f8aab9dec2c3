//! Bounds how often somebody may try to sign in: for each address, and for each
//! client whatever the address.
//!
//! In memory and bounded; a restart forgets it, which gives an attacker a handful
//! of tries more and nobody a locked account for good.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::SignedDuration;
use postroom_model::{Clock, Timestamp};

use crate::client::Client;

/// Wrong tries for one address from one client before it must wait.
const FOR_ADDRESS: u32 = 8;
/// Wrong tries from one client, whatever the address.
const FOR_CLIENT: u32 = 60;
/// Tries are forgotten this long after the first of them.
const WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// As many addresses and clients are remembered at once.
const REMEMBERED: usize = 20_000;

/// Who tried: a client, or a client with an address.
type Who = (Option<Client>, Option<String>);

struct Count {
    since: Timestamp,
    wrong: u32,
}

/// The tries that went wrong lately.
pub(crate) struct Tries {
    clock: Clock,
    counts: Mutex<BTreeMap<Who, Count>>,
}

impl Tries {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, counts: Mutex::default() }
    }

    /// Takes one try; it counts as wrong until [`Tries::right`] is called. Says how
    /// long to wait if there were too many.
    pub(crate) fn take(&self, client: Option<Client>, address: &str) -> Result<(), SignedDuration> {
        let now = self.clock.now();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= REMEMBERED {
            counts.retain(|_, count| now < count.since + WINDOW);
            // Still full: somebody floods us with addresses. The oldest quarter is forgotten at
            // once, so that a flood does not pay for a look at all of them with each try.
            if counts.len() >= REMEMBERED {
                let mut by_age: Vec<_> =
                    counts.iter().map(|(who, count)| (count.since, who.clone())).collect();
                by_age.sort();
                for (_, who) in by_age.into_iter().take(REMEMBERED / 4) {
                    counts.remove(&who);
                }
            }
        }
        let limits = [((client, Some(address.to_owned())), FOR_ADDRESS), ((client, None), FOR_CLIENT)];
        for (who, limit) in &limits {
            if let Some(count) = counts.get(who).filter(|c| now < c.since + WINDOW && c.wrong >= *limit) {
                return Err((count.since + WINDOW).duration_since(now));
            }
        }
        for (who, _) in limits {
            let count = counts.entry(who).or_insert(Count { since: now, wrong: 0 });
            if now >= count.since + WINDOW {
                *count = Count { since: now, wrong: 0 };
            }
            count.wrong += 1;
        }
        Ok(())
    }

    /// The try was right: the address may be tried anew.
    pub(crate) fn right(&self, client: Option<Client>, address: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.remove(&(client, Some(address.to_owned())));
        if let Some(count) = counts.get_mut(&(client, None)) {
            count.wrong = count.wrong.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    fn tries() -> (Tries, Arc<AtomicI64>) {
        let seconds = Arc::new(AtomicI64::new(1_000_000));
        let told = Arc::clone(&seconds);
        let clock = Clock::new(move || Timestamp::from_second(told.load(Ordering::Relaxed)).unwrap());
        (Tries::new(clock), seconds)
    }

    #[test]
    fn too_many_wrong_tries_wait_and_the_wait_ends() {
        let (tries, seconds) = tries();
        for _ in 0..FOR_ADDRESS {
            assert_eq!(tries.take(None, "ann@contoso.example"), Ok(()));
        }
        assert!(tries.take(None, "ann@contoso.example").is_err());
        assert_eq!(tries.take(None, "ben@contoso.example"), Ok(()), "another address is not held up");
        seconds.fetch_add(WINDOW.as_secs(), Ordering::Relaxed);
        assert_eq!(tries.take(None, "ann@contoso.example"), Ok(()));
    }

    #[test]
    fn who_knows_the_password_is_never_held_up() {
        let (tries, _) = tries();
        for _ in 0..FOR_CLIENT * 3 {
            assert_eq!(tries.take(None, "ann@contoso.example"), Ok(()));
            tries.right(None, "ann@contoso.example");
        }
    }

    #[test]
    fn one_client_can_not_go_through_all_addresses_and_memory_is_bounded() {
        let (tries, _) = tries();
        let refused = (0..200).filter(|n| tries.take(None, &format!("{n}@contoso.example")).is_err()).count();
        assert_eq!(refused, 200 - FOR_CLIENT as usize);
        for n in 0..REMEMBERED as u32 + 100 {
            let client = Some(Client(std::net::Ipv4Addr::from(n).into()));
            let _counted = tries.take(client, "ann@contoso.example");
        }
        assert!(tries.counts.lock().unwrap().len() <= REMEMBERED + 2);
    }
}
