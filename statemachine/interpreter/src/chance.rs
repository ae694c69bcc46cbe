//! Everything random in an execution, from one generator with a known seed.
//!
//! Jitter, UUIDs, `States.MathRandom` and task tokens draw from here in the order
//! the execution asks, so the same seed and the same run draw the same numbers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

/// One execution's generator.
#[derive(Debug)]
pub(crate) struct Chance(Mutex<StdRng>);

impl Chance {
    /// A generator for the execution of this ARN.
    pub(crate) fn new(seed: u64, execution_arn: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_be_bytes());
        hash.update(execution_arn);
        Self(Mutex::new(StdRng::from_seed(hash.finalize().into())))
    }

    /// A number from 0 up to but not including 1.
    pub(crate) fn fraction(&self) -> f64 {
        self.lock().random()
    }

    /// An integer from `from` up to but not including `to`.
    pub(crate) fn integer(&self, from: i64, to: i64) -> i64 {
        self.lock().random_range(from..to)
    }

    /// A version 4 UUID.
    pub(crate) fn uuid(&self) -> uuid::Uuid {
        uuid::Builder::from_random_bytes(self.lock().random()).into_uuid()
    }

    /// Random bytes.
    pub(crate) fn bytes<const N: usize>(&self) -> [u8; N] {
        self.lock().random()
    }

    fn lock(&self) -> MutexGuard<'_, StdRng> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An integer from `from` up to but not including `to`, the same for the same seed.
pub(crate) fn seeded_integer(seed: u64, from: i64, to: i64) -> i64 {
    StdRng::seed_from_u64(seed).random_range(from..to)
}
