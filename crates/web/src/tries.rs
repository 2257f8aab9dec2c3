//! Bounds how often somebody may try to sign in. Three counts of wrong tries:
//!
//! - of one client with one e-mail address, and of one client with whatever address, both
//!   for some minutes;
//! - of one e-mail address from all clients together, for an hour: who has many clients must
//!   not have many guesses. A client that has lately signed in to the address is *known* to
//!   it: its tries stand apart from this count, so that nobody can keep a person out of the
//!   browser they work in.
//!
//! Too many are refused before the password is looked at, whether somebody has the address
//! or not. In memory and bounded; a restart forgets it, which gives an attacker a handful of
//! tries more and nobody a locked account for good.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::SignedDuration;
use postroom_model::{Clock, Timestamp};

use crate::client::Client;

/// Wrong tries for one address from one client before it must wait.
const FOR_PAIR: u32 = 8;
/// Wrong tries from one client, whatever the address.
const FOR_CLIENT: u32 = 60;
/// Wrong tries for one address from all clients that are not known to it.
const FOR_ADDRESS: u32 = 100;
/// Tries of a client are forgotten this long after the first of them.
const WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// Tries for an address are forgotten this long after the first of them.
const ADDRESS_WINDOW: SignedDuration = SignedDuration::from_hours(1);
/// A client stays known to an address this long after its last sign-in.
const KNOWN_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);
/// As many counts, and as many known clients, are remembered at once.
const REMEMBERED: usize = 20_000;
/// No e-mail address is longer, in bytes; of what is, the beginning is counted.
const LONGEST_ADDRESS: usize = 320;

/// A client, as far as it is known, with an address.
type Pair = (Option<Client>, String);

/// Whose tries are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Pair(Pair),
    Client(Option<Client>),
    Address(String),
}

impl Who {
    const fn limit(&self) -> u32 {
        match self {
            Who::Pair(_) => FOR_PAIR,
            Who::Client(_) => FOR_CLIENT,
            Who::Address(_) => FOR_ADDRESS,
        }
    }

    const fn window(&self) -> SignedDuration {
        match self {
            Who::Pair(_) | Who::Client(_) => WINDOW,
            Who::Address(_) => ADDRESS_WINDOW,
        }
    }
}

struct Count {
    since: Timestamp,
    wrong: u32,
}

#[derive(Default)]
struct State {
    counts: BTreeMap<Who, Count>,
    /// When a client last signed in to an address.
    known: BTreeMap<Pair, Timestamp>,
}

/// The tries that went wrong lately.
pub(crate) struct Tries {
    clock: Clock,
    state: Mutex<State>,
}

/// A try that was let through.
#[must_use = "a right try is given back"]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Try {
    pair: Pair,
    counted: Vec<Who>,
}

impl Tries {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Takes one try; it counts as wrong until [`Tries::right`] is called. Says how
    /// long to wait if there were too many.
    pub(crate) fn take(&self, client: Option<Client>, address: &str) -> Result<Try, SignedDuration> {
        let now = self.clock.now();
        let address = &address[..address.floor_char_boundary(LONGEST_ADDRESS)];
        let pair = (client, address.to_owned());
        let mut state = self.state();
        let is_known = state.known.get(&pair).is_some_and(|signed_in| now < *signed_in + KNOWN_FOR);
        let mut counted = vec![Who::Pair(pair.clone()), Who::Client(client)];
        if !is_known {
            counted.push(Who::Address(address.to_owned()));
        }
        for who in &counted {
            let end = state.counts.get(who).filter(|count| count.wrong >= who.limit());
            if let Some(end) = end.map(|count| count.since + who.window()).filter(|end| now < *end) {
                return Err(end.duration_since(now));
            }
        }
        forget_some(&mut state.counts, |who, count| {
            (now < count.since + who.window()).then_some((count.wrong, count.since))
        });
        for who in &counted {
            let count = state.counts.entry(who.clone()).or_insert(Count { since: now, wrong: 0 });
            if now >= count.since + who.window() {
                *count = Count { since: now, wrong: 0 };
            }
            count.wrong += 1;
        }
        Ok(Try { pair, counted })
    }

    /// The try was right: its client may try the address anew, and is known to it.
    pub(crate) fn right(&self, right: Try) {
        let now = self.clock.now();
        let mut state = self.state();
        for who in &right.counted {
            if let Some(count) = state.counts.get_mut(who) {
                count.wrong = count.wrong.saturating_sub(1);
            }
        }
        state.counts.remove(&Who::Pair(right.pair.clone()));
        forget_some(&mut state.known, |_, signed_in| (now < *signed_in + KNOWN_FOR).then_some(*signed_in));
        state.known.insert(right.pair, now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a map bounded: without what has no worth any more, and if it is still full, without
/// the quarter of least worth at once, so that a flood does not pay for a look at all of it
/// with each try. A count of many tries is worth more than the single ones of a flood.
fn forget_some<K: Ord + Clone, V, W: Ord>(map: &mut BTreeMap<K, V>, worth: impl Fn(&K, &V) -> Option<W>) {
    if map.len() < REMEMBERED {
        return;
    }
    map.retain(|key, value| worth(key, value).is_some());
    if map.len() < REMEMBERED {
        return;
    }
    let mut by_worth: Vec<_> = map.iter().map(|(key, value)| (worth(key, value), key.clone())).collect();
    by_worth.sort();
    for (_, key) in by_worth.into_iter().take(REMEMBERED / 4) {
        map.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use http::HeaderMap;

    use super::*;
    use crate::client::Peer;

    const ANN: &str = "ann@contoso.example";

    fn tries() -> (Tries, Arc<AtomicI64>) {
        let seconds = Arc::new(AtomicI64::new(1_000_000));
        let told = Arc::clone(&seconds);
        let clock = Clock::new(move || Timestamp::from_second(told.load(Ordering::Relaxed)).unwrap());
        (Tries::new(clock), seconds)
    }

    fn client(number: u32) -> Option<Client> {
        let peer = Peer(std::net::Ipv4Addr::from(number).into());
        Some(Client::find(peer, &HeaderMap::new(), &[]))
    }

    #[test]
    fn too_many_wrong_tries_wait_and_the_wait_ends() {
        let (tries, seconds) = tries();
        for _ in 0..FOR_PAIR {
            assert!(tries.take(None, ANN).is_ok());
        }
        assert_eq!(tries.take(None, ANN), Err(WINDOW));
        assert!(tries.take(None, "ben@contoso.example").is_ok(), "another address is not held up");
        assert!(tries.take(client(1), ANN).is_ok(), "another client is not held up");
        seconds.fetch_add(WINDOW.as_secs(), Ordering::Relaxed);
        assert!(tries.take(None, ANN).is_ok());
    }

    #[test]
    fn who_knows_the_password_is_never_held_up() {
        let (tries, _) = tries();
        for n in 0..FOR_ADDRESS * 3 {
            let right = tries.take(None, ANN).unwrap();
            tries.right(right);
            let right = tries.take(client(n), ANN).unwrap();
            tries.right(right);
        }
    }

    #[test]
    fn many_clients_together_have_few_guesses_for_an_address() {
        let (tries, seconds) = tries();
        let refused = (0..FOR_ADDRESS * 2).filter(|n| tries.take(client(*n), ANN).is_err()).count();
        assert_eq!(refused, FOR_ADDRESS as usize);
        seconds.fetch_add(WINDOW.as_secs(), Ordering::Relaxed);
        assert!(tries.take(client(1), ANN).is_err(), "it lasts longer than the wait of a client");
        assert!(tries.take(client(1), "ben@contoso.example").is_ok());
        seconds.fetch_add(ADDRESS_WINDOW.as_secs(), Ordering::Relaxed);
        assert!(tries.take(client(1), ANN).is_ok());
    }

    #[test]
    fn nobody_can_keep_a_person_out_of_the_browser_they_work_in() {
        let (tries, seconds) = tries();
        let hers = client(1);
        let right = tries.take(hers, ANN).unwrap();
        tries.right(right);
        while tries.take(client(seconds.fetch_add(1, Ordering::Relaxed) as u32), ANN).is_ok() {}
        for _ in 0..FOR_PAIR {
            assert!(tries.take(hers, ANN).is_ok(), "she may even mistype");
        }
        assert!(tries.take(hers, ANN).is_err(), "but not for ever");
        seconds.fetch_add(WINDOW.as_secs(), Ordering::Relaxed);
        let right = tries.take(hers, ANN).unwrap();
        tries.right(right);
        assert!(tries.take(client(2), ANN).is_err(), "what she does tells nothing of the others");
    }

    #[test]
    fn one_client_can_not_go_through_all_addresses() {
        let (tries, _) = tries();
        let refused = (0..200).filter(|n| tries.take(None, &format!("{n}@contoso.example")).is_err()).count();
        assert_eq!(refused, 200 - FOR_CLIENT as usize);
    }

    #[test]
    fn memory_is_bounded_and_a_flood_does_not_wash_away_what_counts() {
        let (tries, _) = tries();
        for n in 0..FOR_ADDRESS {
            assert!(tries.take(client(n), ANN).is_ok());
        }
        for n in 1000..1000 + REMEMBERED as u32 * 2 {
            let right = tries.take(client(n), &format!("{n}@{}", "x".repeat(1000))).unwrap();
            if n % 2 == 0 {
                tries.right(right);
            }
        }
        assert!(tries.take(client(7), ANN).is_err());
        let state = tries.state();
        assert!(state.counts.len() <= REMEMBERED + 2 && state.known.len() <= REMEMBERED);
        assert!(state.known.keys().all(|(_, address)| address.len() <= LONGEST_ADDRESS));
    }
}
