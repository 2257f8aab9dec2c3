//! All randomness of the simulator, from one seed.
//!
//! Two kinds: a stream for names nobody predicts (tokens, request ids), and
//! fates, which are a function of (seed, subject, kind, k-th since the switch was
//! set) and never of the order in which different mailboxes happen to act: the
//! same seed gives the same faults.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use crate::switches::Chance;

pub(crate) struct Random {
    seed: u64,
    stream: StdRng,
    turns: BTreeMap<(String, &'static str), u64>,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, stream: StdRng::seed_from_u64(seed), turns: BTreeMap::new() }
    }

    pub(crate) fn guid(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        self.stream.fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// `bytes` random bytes as URL-safe text.
    pub(crate) fn text(&mut self, bytes: usize) -> String {
        let mut buffer = vec![0; bytes];
        self.stream.fill_bytes(&mut buffer);
        URL_SAFE_NO_PAD.encode(buffer)
    }

    /// Whether `kind`, the name of a switch, strikes `subject` this time.
    pub(crate) fn strikes(&mut self, subject: &str, kind: &'static str, chance: &Chance) -> bool {
        if chance.is_never() {
            return false;
        }
        let turn = self.turn(subject, kind);
        chance.strikes(turn, self.fate(subject, kind, turn))
    }

    /// The next fate of `kind` for `subject`, from 0 up to 1.
    pub(crate) fn roll(&mut self, subject: &str, kind: &'static str) -> f64 {
        let turn = self.turn(subject, kind);
        self.fate(subject, kind, turn)
    }

    /// The fate of a certain turn, from 0 up to 1.
    pub(crate) fn fate(&self, subject: &str, kind: &str, turn: u64) -> f64 {
        let words = [self.seed, digest(subject.as_bytes()), digest(kind.as_bytes()), turn];
        let fate = words.into_iter().fold(0, |state, word| mix(state ^ word));
        (fate >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Begins to count the turns of a switch anew.
    pub(crate) fn forget_turns(&mut self, kind: &str) {
        self.turns.retain(|(_, counted), _| *counted != kind);
    }

    /// The same for one subject.
    pub(crate) fn forget_turns_of(&mut self, subject: &str, kind: &str) {
        self.turns.retain(|(counted_for, counted), _| counted_for != subject || *counted != kind);
    }

    fn turn(&mut self, subject: &str, kind: &'static str) -> u64 {
        let turn = self.turns.entry((subject.to_owned(), kind)).or_insert(0);
        *turn += 1;
        *turn
    }
}

/// One step of SplitMix64: <https://prng.di.unimi.it/splitmix64.c>.
pub(crate) fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A 64-bit digest of bytes. Finds accidents, keeps nobody out.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(bytes.len() as u64, |state, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(state ^ u64::from_le_bytes(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates_do_not_depend_on_what_others_do() {
        let fates = |others: usize| {
            let mut random = Random::new(7);
            (0..50)
                .map(|_| {
                    for _ in 0..others {
                        random.strikes("b@x.example", "loss", &Chance::rate_of(0.5));
                    }
                    random.strikes("a@x.example", "loss", &Chance::rate_of(0.5))
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(fates(0), fates(3));
        assert!(fates(0).contains(&true) && fates(0).contains(&false));
    }

    #[test]
    fn rates_at_the_ends_are_never_and_always() {
        let mut random = Random::new(1);
        assert!((0..100).all(|_| !random.strikes("a", "x", &Chance::rate_of(0.0))));
        assert!((0..100).all(|_| random.strikes("a", "x", &Chance::rate_of(1.0))));
    }

    #[test]
    fn the_k_th_is_struck_and_setting_a_switch_counts_anew() {
        let second = Chance::try_from(serde_json::json!({ "at": [2] })).unwrap();
        let mut random = Random::new(1);
        let struck =
            |random: &mut Random| (0..3).map(|_| random.strikes("a", "x", &second)).collect::<Vec<_>>();
        assert_eq!(struck(&mut random), [false, true, false]);
        random.forget_turns("x");
        assert_eq!(struck(&mut random), [false, true, false]);
    }

    #[test]
    fn the_same_seed_gives_the_same_names() {
        assert_eq!(Random::new(3).guid(), Random::new(3).guid());
        assert_ne!(Random::new(3).guid(), Random::new(4).guid());
    }
}
