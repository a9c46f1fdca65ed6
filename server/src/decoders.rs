//! The readers of outside bytes that are private to this crate, each as a function of those bytes alone: for the fuzz targets in
//! `fuzz/` and their twins in `tests/forgery`. The server itself calls none of them; what they read is thrown away.

use chrono::DateTime;

use crate::challenge::{self, Purpose};
use crate::domain::activation::Activation;
use crate::domain::catalogue::{Product, Release};
use crate::domain::enrollment::Enrollment;
use crate::domain::license::License;
use crate::domain::mail::Mail;
use crate::domain::order::Order;
use crate::domain::party::{Customer, Partner};
use crate::domain::quote::Quote;
use crate::domain::upgrade::Upgrade;
use crate::keys::SecretKey32;
use crate::license_file::{Format, Mapping, Rows};
use crate::record::{Record, decode, decode_message};
use crate::secrets::Pepper;
use crate::{cli, config, endorsement, flow, record, store};

/// A challenge that comes back. True when it passes, which only a holder of this all-zero pepper can achieve.
pub fn challenge(bytes: &[u8]) -> bool {
    challenge::check(&zeros(), Purpose::Activate, bytes, DateTime::UNIX_EPOCH).is_ok()
}

/// A challenge of the all-zero pepper, as a seed.
pub fn a_challenge() -> Vec<u8> {
    let random = crate::random::SeededRandom::new(1);
    challenge::make(&zeros(), &random, Purpose::Activate, DateTime::UNIX_EPOCH).0
}

/// A page token that comes back. True when it passes.
pub fn page_token(token: &str) -> bool {
    flow::page_token::read(&zeros(), "licenses", &record::keys::licenses(), token)
        .is_ok_and(|key| key.is_some())
}

/// A page token of the all-zero pepper, as a seed.
pub fn a_page_token() -> String {
    flow::page_token::write(&zeros(), "licenses", b"l/NSP-0001")
}

/// A configuration file.
pub fn config(text: &str) -> bool {
    config::read_text(text).is_ok()
}

/// A list of hardware that is not believed.
pub fn deny_list(text: &str) -> bool {
    endorsement::is_deny_list(text)
}

/// A price file. True when every row is good.
pub fn prices(bytes: &[u8]) -> bool {
    cli::is_price_file(bytes)
}

/// The bytes of a ledger segment, from anywhere in it on: how many entries stand there.
pub fn ledger(bytes: &[u8]) -> usize {
    store::count_entries(bytes)
}

/// A license file: how many of its rows are good.
pub fn licenses(bytes: &[u8], format: Format) -> usize {
    let Ok(mut rows) = Rows::open(bytes, format, &Mapping::default()) else {
        return 0;
    };
    let mut good = 0_usize;
    while let Ok(Some(row)) = rows.next_row() {
        good = good.saturating_add(usize::from(row.problems.is_empty()));
    }
    good
}

/// A stored record of any kind. True when it is one of some kind.
pub fn record(value: &[u8]) -> bool {
    let kinds: [fn(&[u8]) -> bool; 13] = [
        is::<Activation>,
        is::<License>,
        is::<Upgrade>,
        is::<Product>,
        is::<Release>,
        is::<Customer>,
        is::<Partner>,
        is::<Enrollment>,
        is::<Mail>,
        is::<Quote>,
        is::<Order>,
        |value| decode_message::<record::event::Event>(b"", value).is_ok(),
        |value| decode_message::<record::once::Answered>(b"", value).is_ok(),
    ];
    // All of them read it, not only those up to the first that can.
    let read = kinds.iter().filter(|is| is(value)).count();
    read > 0
}

fn is<R: Record>(value: &[u8]) -> bool {
    decode::<R>(b"", value).is_ok_and(|found| {
        // What was read can be written.
        !record::encode(&found.to_wire()).is_empty()
    })
}

fn zeros() -> Pepper {
    Pepper::new(&SecretKey32::from_bytes([0; 32]))
}
