//! The rules: what may happen to licenses, maintenance, activations and upgrades, and what may not.
//!
//! Pure: the same inputs give the same answer. No clock (`now` and `today` are parameters), no randomness, no I/O, no gRPC, no
//! store. Flows call it inside a transaction; ids such as N-05 or T-17 name the rule that a line follows.
#![warn(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing
)]

pub mod activation;
pub(crate) mod assurance;
pub mod catalogue;
pub mod credential;
pub mod enrollment;
pub mod explain;
pub mod external;
pub mod guess;
pub mod license;
pub mod machine;
pub mod mail;
pub mod maintenance;
pub mod money;
pub mod order;
pub mod party;
pub mod price_book;
pub mod programme;
pub mod quote;
pub mod refusal;
pub mod seat;
pub mod story;
pub mod tpm;
pub mod upgrade;
pub mod upgrade_check;
pub mod virtual_machine;

mod vocabulary;
