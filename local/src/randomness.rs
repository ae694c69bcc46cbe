//! The world's one source of chance: identifiers, tokens, passwords.
//!
//! Seeded, so that a test that runs on one thread sees the same identifiers
//! every time.

use std::sync::{Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use uuid::Uuid;

const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The world's source of chance.
pub struct Randomness(Mutex<StdRng>);

impl Randomness {
    /// The same seed gives the same sequence.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// A version 4 UUID.
    pub fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        self.with(|rng| rng.fill_bytes(&mut bytes));
        uuid::Builder::from_random_bytes(bytes)
            .into_uuid()
            .to_string()
    }

    /// A UUID without hyphens, as in request ids of some services.
    pub fn simple_uuid(&self) -> String {
        Uuid::parse_str(&self.uuid())
            .unwrap_or_default()
            .simple()
            .to_string()
    }

    /// Letters and digits, as in the suffix of a secret's ARN.
    pub fn alphanumeric(&self, length: usize) -> String {
        (0..length)
            .map(|_| char::from(self.pick(ALPHANUMERIC)))
            .collect()
    }

    /// Capital letters and digits, as in access key ids.
    pub fn base32(&self, length: usize) -> String {
        (0..length).map(|_| char::from(self.pick(BASE32))).collect()
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&self, bound: usize) -> usize {
        if bound == 0 {
            0
        } else {
            self.with(|rng| rng.random_range(0..bound))
        }
    }

    fn pick(&self, alphabet: &[u8]) -> u8 {
        alphabet
            .get(self.below(alphabet.len()))
            .copied()
            .unwrap_or(b'0')
    }

    fn with<R>(&self, act: impl FnOnce(&mut StdRng) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A seed nobody chose.
#[must_use]
pub fn unpredictable_seed() -> u64 {
    rand::rng().next_u64()
}
