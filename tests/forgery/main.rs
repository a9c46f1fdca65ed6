//! Forgery and guessing, by the rows of the threat model: artefacts that nobody issued (G10), bytes that no reader may choke on (G8),
//! what the time of an answer gives away (G12), and that each attack listed in docs/attacks.md has the tests it names.
//!
//! What a server does with forged calls stands in `tests/model` (`forged`, `tenants`, `totality`), where its world is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and may look at the clock"
)]

mod asking;
mod decoders;
#[path = "../e2e/device.rs"]
#[allow(dead_code, reason = "the tests over TLS use the rest of it")]
mod device;
#[path = "../e2e/dial.rs"]
mod dial;
mod known_answers;
mod listed;
mod mutants;
mod mutation;
mod page;
#[path = "../vectors/samples.rs"]
mod samples;
mod timing;
#[path = "../e2e/world.rs"]
#[allow(dead_code, reason = "the tests over TLS use the rest of it")]
mod world;

/// The size of a row: what CI runs, or what the environment asks for.
fn size(variable: &str, ci: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.replace('_', "").parse().unwrap(),
        Err(_) => ci,
    }
}

/// SplitMix64: the cases follow from their seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}
