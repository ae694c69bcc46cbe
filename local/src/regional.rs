//! What a service keeps, apart for every account and region.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::request::Caller;

/// One `T` for every account and region, made empty on first use.
pub(crate) struct Regional<T> {
    places: Mutex<BTreeMap<(String, String), T>>,
}

impl<T> Default for Regional<T> {
    fn default() -> Self {
        Self {
            places: Mutex::default(),
        }
    }
}

impl<T: Default> Regional<T> {
    /// Looks at or changes what the caller's account has in the caller's region.
    pub(crate) fn with<R>(&self, caller: &Caller, act: impl FnOnce(&mut T) -> R) -> R {
        self.at(&caller.account, &caller.region, act)
    }

    /// The same for an account and region that are not the caller's.
    pub(crate) fn at<R>(&self, account: &str, region: &str, act: impl FnOnce(&mut T) -> R) -> R {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        act(places
            .entry((account.to_owned(), region.to_owned()))
            .or_default())
    }

    /// Looks at every account and region in turn.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&str, &str, &T)) {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        for ((account, region), contents) in places.iter() {
            look(account, region, contents);
        }
    }
}
