//! Permits, for connections and for calls: so many in all, so many to one subscriber. A permit returns when it is dropped.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::listener::network::Network;

/// The permits of one listener.
pub(super) struct Permits {
    total: usize,
    each: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    total: usize,
    by: HashMap<Network, usize>,
}

impl Permits {
    /// `total` permits, of which one subscriber may hold `each`.
    pub(super) fn new(total: usize, each: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            each,
            taken: Mutex::default(),
        })
    }

    /// Takes a permit for a connection or a call from `address`.
    ///
    /// # Errors
    /// [`Full`] says which cap is reached.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Permit, Full> {
        let subscriber = Network::subscriber(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.total >= self.total {
            return Err(Full::Total);
        }
        let held = taken.by.get(&subscriber).copied().unwrap_or(0);
        if held >= self.each {
            return Err(Full::Address);
        }
        taken.total += 1;
        taken.by.insert(subscriber, held + 1);
        Ok(Permit {
            permits: Arc::clone(self),
            subscriber,
        })
    }

    fn put_back(&self, subscriber: Network) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.total = taken.total.saturating_sub(1);
        if let Entry::Occupied(mut held) = taken.by.entry(subscriber) {
            *held.get_mut() = held.get().saturating_sub(1);
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

/// The right to one connection or call.
pub(super) struct Permit {
    permits: Arc<Permits>,
    subscriber: Network,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.put_back(self.subscriber);
    }
}

/// Which cap is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Total,
    Address,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Total => "the listener has all it may have at once",
            Self::Address => "the address has all it may have at once",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_capped_and_return() {
        let permits = Permits::new(3, 2);
        let (a, b): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let first = permits.take(a).ok().unwrap();
        let _second = permits.take(a).ok().unwrap();
        assert_eq!(permits.take(a).err(), Some(Full::Address));
        let _third = permits.take(b).ok().unwrap();
        assert_eq!(permits.take(b).err(), Some(Full::Total));
        drop(first);
        drop(permits.take(b).ok().unwrap());
        drop((_second, _third));
        let taken = permits.taken.lock().unwrap();
        assert!(taken.total == 0 && taken.by.is_empty(), "nothing is kept");
    }
}
