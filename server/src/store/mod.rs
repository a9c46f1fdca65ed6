//! The store: a ledger that is the truth, sled as its index.
