//! The key layout: a table letter, `/`, then parts. Texts end with a zero byte, numbers are big-endian, so that prefixes are
//! exact and ranges sort.
//!
//! | key | holds |
//! | --- | --- |
//! | `p/product` | product |
//! | `v/product 0 version` | release |
//! | `c/customer`, `r/partner` | customer, partner |
//! | `l/serial` | the current generation of a license |
//! | `X/external` | the serial of the license that was imported under this id |
//! | `S/c 0 external`, `S/r 0 external` | the customer, the partner that an external id stands for |
//! | `k/serial 0 generation` | a superseded generation |
//! | `s/partner 0 serial`, `u/customer 0 serial`, `w/dongle 0 serial` | empty: find licenses |
//! | `a/activation` | activation with its return |
//! | `b/serial 0 activation` | empty: activations of a license, oldest first |
//! | `y/serial 0 generation device` | the live activation of a device on a license (16 bytes) |
//! | `e/device activation` | activations of a device, with its public key (65 bytes, SEC1) |
//! | `q/serial 0 mac` | the activation that a product code names; the mac is keyed |
//! | `f/activation` | the proof of deactivation as it came; never deleted |
//! | `g/upgrade`, `h/serial 0 upgrade` | update request; find them by license |
//! | `Z/serial 0 mac` | the update request (16 bytes) that an upgrade code belongs to, and its number (4); the mac is keyed |
//! | `n/expiry nonce` | a spent challenge: the key of the answer that it was spent for, if there is one |
//! | `i/principal 0 request` | the answer of a request, for retries |
//! | `j/expiry principal 0 request` | empty: which answers of calls without a challenge to forget when |
//! | `x/serial 0 sequence` | history of a license |
//! | `t/day serial`, `T/partner 0 day serial` | empty: licenses by the last day of their terms |
//! | `z/day serial` | empty: licenses for which something is due on that day |
//! | `P/programme 0 revision` | a programme revision as its file said it; never deleted |
//! | `M/mail` | mail in the outbox, whatever became of it |
//! | `N/time mail` | empty: mails that wait, by their next attempt; dead ones stand behind all times |
//! | `K/text` | the mail (16 bytes) that was queued for this, so that there is one |
//! | `B/product 0 item 0 edition 0 type 0 day` | price; `*` stands for all editions, all types |
//! | `Q/quote`, `J/serial 0 sequence quote` | quote; find them by license |
//! | `O/order`, `o/serial 0 sequence order` | order; find them by license |
//! | `G/dongle` | the last unlock code of a hardware key |
//! | `C/serial 0 time device` | empty: cooling seats of a license, by the end of the lease |
//! | `U/serial 0 device` | when the lease ends that a device left behind (8 bytes, milliseconds) |
//! | `E/device` | enrollment of a hardware key, by its device id |
//! | `R/device` | the raw evidence of an enrollment |
//! | `L/expiry device` | empty: enrollments that nobody has used, by when they lapse |
//! | `A/ak` | the endorsement key (32 bytes) of an attestation key, by its Name; never changed, never deleted |
//! | `D/name` | the enrollment (16 bytes) of a TPM's device key, by its Name |
//! | `m/ek` | what is remembered of a TPM |
//! | `I/ek nv` | the largest value of a TPM's counter, by the counter's Name |
//! | `F/epoch` | the epoch of the store, written by a restore (see `store::Epoch`) |
//! | `H/ek nv serial` | the live activation (16 bytes) of a license on a counter |
//! | `Y/key 0 kid` | issuing key, without its private half |
//! | `Y/list 0` | the newest key list that the root certified |
//! | `W/t ek`, `W/d dongle` | the enrollments that wait for their activation on one TPM or dongle |
//! | `d/keys` | a digest (32 bytes) that depends on the keys of the server whose records these are |
//! | `V/certificate 0 holder 0 sha256` | client certificate that was issued |
//! | `V/holder 0 holder` | since when none of a holder's earlier certificates counts |

mod hardware;
mod identity;
mod leases;

use chrono::{DateTime, Utc};
use upkeep::date::CivilDate;
use upkeep::id::{
    ActivationId, CustomerId, DongleNumber, MailId, OrderId, PartnerId, ProductId, ProgrammeId,
    QuoteId, RequestId, UpgradeId,
};
use upkeep::key::Thumbprint;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use crate::domain::external::ExternalId;
use crate::domain::price_book::Thing;

pub(crate) use self::hardware::*;
pub(crate) use self::identity::*;
pub(crate) use self::leases::*;

/// A half-open key range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// First key, inclusive.
    pub from: Vec<u8>,
    /// End, exclusive.
    pub to: Vec<u8>,
}

impl Range {
    /// All keys that start with `prefix`, which never consists of 0xFF alone.
    fn of_prefix(prefix: Vec<u8>) -> Self {
        let mut to = prefix.clone();
        while let Some(last) = to.pop() {
            if let Some(next) = last.checked_add(1) {
                to.push(next);
                break;
            }
        }
        Self { from: prefix, to }
    }

    /// The part of the range behind `key`.
    #[must_use]
    pub fn after(&self, key: &[u8]) -> Self {
        let mut from = key.to_vec();
        from.push(0);
        Self {
            from,
            to: self.to.clone(),
        }
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.from.as_slice() <= key && key < self.to.as_slice()
    }
}

/// All keys of a table, by its letter.
pub(crate) fn table(letter: u8) -> Range {
    Range::of_prefix(Key::table(letter).done())
}

/// The serial at the end of a `.../serial` index key whose prefix is `range.from`.
pub(crate) fn tail<'a>(key: &'a [u8], prefix: &Range) -> &'a [u8] {
    key.get(prefix.from.len()..).unwrap_or_default()
}

pub(crate) fn own_keys() -> Vec<u8> {
    Key::table(b'd').raw(b"keys").done()
}

pub(crate) fn product(id: &ProductId) -> Vec<u8> {
    Key::table(b'p').raw(id.as_str().as_bytes()).done()
}

pub(crate) fn products() -> Range {
    Range::of_prefix(Key::table(b'p').done())
}

pub(crate) fn release(product: &ProductId, version: &Version) -> Vec<u8> {
    Key::table(b'v')
        .text(product.as_str())
        .raw(version.as_str().as_bytes())
        .done()
}

pub(crate) fn releases(product: &ProductId) -> Range {
    Range::of_prefix(Key::table(b'v').text(product.as_str()).done())
}

pub(crate) fn customer(id: &CustomerId) -> Vec<u8> {
    Key::table(b'c').raw(id.as_str().as_bytes()).done()
}

pub(crate) fn customers() -> Range {
    Range::of_prefix(Key::table(b'c').done())
}

pub(crate) fn partner(id: &PartnerId) -> Vec<u8> {
    Key::table(b'r').raw(id.as_str().as_bytes()).done()
}

pub(crate) fn partners() -> Range {
    Range::of_prefix(Key::table(b'r').done())
}

pub(crate) fn license(serial: &SerialNumber) -> Vec<u8> {
    Key::table(b'l').raw(serial.as_str().as_bytes()).done()
}

/// All current licenses, by serial.
pub fn licenses() -> Range {
    Range::of_prefix(Key::table(b'l').done())
}

/// The serial of the license that was imported under an id.
pub(crate) fn external_license(id: &ExternalId) -> Vec<u8> {
    Key::table(b'X').raw(id.as_str().as_bytes()).done()
}

/// The id of the customer that an external id stands for.
pub(crate) fn external_customer(id: &ExternalId) -> Vec<u8> {
    Key::table(b'S')
        .text("c")
        .raw(id.as_str().as_bytes())
        .done()
}

/// The id of the partner that an external id stands for.
pub(crate) fn external_partner(id: &ExternalId) -> Vec<u8> {
    Key::table(b'S')
        .text("r")
        .raw(id.as_str().as_bytes())
        .done()
}

pub(crate) fn superseded(serial: &SerialNumber, generation: u32) -> Vec<u8> {
    Key::table(b'k')
        .text(serial.as_str())
        .raw(&generation.to_be_bytes())
        .done()
}

/// The superseded generations of a license, oldest first.
pub(crate) fn superseded_generations(serial: &SerialNumber) -> Range {
    Range::of_prefix(Key::table(b'k').text(serial.as_str()).done())
}

pub(crate) fn partner_license(partner: &PartnerId, serial: &SerialNumber) -> Vec<u8> {
    Key::table(b's')
        .text(partner.as_str())
        .raw(serial.as_str().as_bytes())
        .done()
}

pub(crate) fn partner_licenses(partner: &PartnerId) -> Range {
    Range::of_prefix(Key::table(b's').text(partner.as_str()).done())
}

pub(crate) fn customer_license(customer: &CustomerId, serial: &SerialNumber) -> Vec<u8> {
    Key::table(b'u')
        .text(customer.as_str())
        .raw(serial.as_str().as_bytes())
        .done()
}

pub(crate) fn customer_licenses(customer: &CustomerId) -> Range {
    Range::of_prefix(Key::table(b'u').text(customer.as_str()).done())
}

pub(crate) fn dongle_license(dongle: &DongleNumber, serial: &SerialNumber) -> Vec<u8> {
    Key::table(b'w')
        .text(dongle.as_str())
        .raw(serial.as_str().as_bytes())
        .done()
}

pub(crate) fn dongle_licenses(dongle: &DongleNumber) -> Range {
    Range::of_prefix(Key::table(b'w').text(dongle.as_str()).done())
}

pub(crate) fn activation(id: &ActivationId) -> Vec<u8> {
    Key::table(b'a').raw(id.as_bytes()).done()
}

/// The activation that the end of an index key names.
pub(crate) fn activation_of(tail: &[u8]) -> Vec<u8> {
    Key::table(b'a').raw(tail).done()
}

/// All activations, oldest first.
pub fn activations() -> Range {
    Range::of_prefix(Key::table(b'a').done())
}

pub(crate) fn license_activation(serial: &SerialNumber, id: &ActivationId) -> Vec<u8> {
    Key::table(b'b')
        .text(serial.as_str())
        .raw(id.as_bytes())
        .done()
}

pub(crate) fn license_activations(serial: &SerialNumber) -> Range {
    Range::of_prefix(Key::table(b'b').text(serial.as_str()).done())
}

pub(crate) fn live(serial: &SerialNumber, generation: u32, device: &Thumbprint) -> Vec<u8> {
    Key::table(b'y')
        .text(serial.as_str())
        .raw(&generation.to_be_bytes())
        .raw(device.as_bytes())
        .done()
}

pub(crate) fn device_activation(device: &Thumbprint, id: &ActivationId) -> Vec<u8> {
    Key::table(b'e')
        .raw(device.as_bytes())
        .raw(id.as_bytes())
        .done()
}

pub(crate) fn device_activations(device: &Thumbprint) -> Range {
    Range::of_prefix(Key::table(b'e').raw(device.as_bytes()).done())
}

pub(crate) fn product_code(serial: &SerialNumber, mac: &[u8; 32]) -> Vec<u8> {
    Key::table(b'q').text(serial.as_str()).raw(mac).done()
}

pub(crate) fn proof(id: &ActivationId) -> Vec<u8> {
    Key::table(b'f').raw(id.as_bytes()).done()
}

pub(crate) fn upgrade(id: &UpgradeId) -> Vec<u8> {
    Key::table(b'g').raw(id.as_bytes()).done()
}

/// The update request that the end of an index key names.
pub(crate) fn upgrade_of(tail: &[u8]) -> Vec<u8> {
    Key::table(b'g').raw(tail).done()
}

/// All update requests, oldest first.
pub fn upgrades() -> Range {
    Range::of_prefix(Key::table(b'g').done())
}

pub(crate) fn license_upgrade(serial: &SerialNumber, id: &UpgradeId) -> Vec<u8> {
    Key::table(b'h')
        .text(serial.as_str())
        .raw(id.as_bytes())
        .done()
}

/// The update requests of a license, oldest first.
pub(crate) fn license_upgrades(serial: &SerialNumber) -> Range {
    Range::of_prefix(Key::table(b'h').text(serial.as_str()).done())
}

pub(crate) fn upgrade_code(serial: &SerialNumber, mac: &[u8; 32]) -> Vec<u8> {
    Key::table(b'Z').text(serial.as_str()).raw(mac).done()
}

/// The value under [`upgrade_code`].
pub(crate) fn code_number(id: &UpgradeId, number: u32) -> Vec<u8> {
    [id.as_bytes().as_slice(), &number.to_be_bytes()].concat()
}

/// Reads what [`code_number`] wrote.
pub(crate) fn read_code_number(value: &[u8]) -> Option<(UpgradeId, u32)> {
    let (id, number) = value.split_last_chunk::<4>()?;
    Some((UpgradeId::from_slice(id).ok()?, u32::from_be_bytes(*number)))
}

pub(crate) fn spent_challenge(expires_at: DateTime<Utc>, nonce: &[u8; 16]) -> Vec<u8> {
    Key::table(b'n').time(expires_at).raw(nonce).done()
}

pub(crate) fn spent_before(now: DateTime<Utc>) -> Range {
    Range {
        from: Key::table(b'n').done(),
        to: Key::table(b'n').time(now).done(),
    }
}

pub(crate) fn once(principal: &str, request: &RequestId) -> Vec<u8> {
    Key::table(b'i')
        .text(principal)
        .raw(request.as_bytes())
        .done()
}

pub(crate) fn once_expiry(expires_at: DateTime<Utc>, once_key: &[u8]) -> Vec<u8> {
    Key::table(b'j').time(expires_at).raw(once_key).done()
}

pub(crate) fn once_expired(now: DateTime<Utc>) -> Range {
    Range {
        from: Key::table(b'j').done(),
        to: Key::table(b'j').time(now).done(),
    }
}

/// The key of the answer that an expiry key of [`once_expiry`] speaks of.
pub(crate) fn once_of_expiry(key: &[u8]) -> &[u8] {
    key.get(10..).unwrap_or_default()
}

pub(crate) fn history_entry(serial: &SerialNumber, sequence: u64) -> Vec<u8> {
    Key::table(b'x')
        .text(serial.as_str())
        .raw(&sequence.to_be_bytes())
        .done()
}

pub(crate) fn history(serial: &SerialNumber) -> Range {
    Range::of_prefix(Key::table(b'x').text(serial.as_str()).done())
}

/// A license in the index by last day.
pub(crate) fn expiring(last_day: CivilDate, serial: &SerialNumber) -> Vec<u8> {
    Key::table(b't')
        .day(last_day)
        .raw(serial.as_str().as_bytes())
        .done()
}

/// Licenses whose last day lies in `from..=to`, by day.
pub(crate) fn expiring_between(from: CivilDate, to: CivilDate) -> Range {
    days(Key::table(b't'), from, to)
}

/// The same license among its partner's.
pub(crate) fn partner_expiring(
    partner: &PartnerId,
    last_day: CivilDate,
    serial: &SerialNumber,
) -> Vec<u8> {
    Key::table(b'T')
        .text(partner.as_str())
        .day(last_day)
        .raw(serial.as_str().as_bytes())
        .done()
}

/// The partner's licenses whose last day lies in `from..=to`, by day.
pub(crate) fn partner_expiring_between(
    partner: &PartnerId,
    from: CivilDate,
    to: CivilDate,
) -> Range {
    days(Key::table(b'T').text(partner.as_str()), from, to)
}

/// A license for which something is due.
pub(crate) fn due(day: CivilDate, serial: &SerialNumber) -> Vec<u8> {
    Key::table(b'z')
        .day(day)
        .raw(serial.as_str().as_bytes())
        .done()
}

/// Everything that is due on `day` or before, by day.
pub(crate) fn due_until(day: CivilDate) -> Range {
    Range {
        from: Key::table(b'z').done(),
        to: Range::of_prefix(Key::table(b'z').day(day).done()).to,
    }
}

pub(crate) fn programme(id: &ProgrammeId, revision: u32) -> Vec<u8> {
    Key::table(b'P')
        .text(id.as_str())
        .raw(&revision.to_be_bytes())
        .done()
}

/// All programme revisions, by programme, oldest first.
pub(crate) fn programmes() -> Range {
    Range::of_prefix(Key::table(b'P').done())
}

/// The day and the license of a key of the index of what is due.
pub(crate) fn due_parts(key: &[u8]) -> Option<(CivilDate, SerialNumber)> {
    let (day, _) = key.get(2..)?.split_at_checked(10)?;
    let day = CivilDate::parse(std::str::from_utf8(day).ok()?).ok()?;
    Some((day, dated_serial(key)?))
}

/// A price of the price book.
pub(crate) fn price(thing: &Thing, valid_from: CivilDate) -> Vec<u8> {
    priced(thing).day(valid_from).done()
}

/// The prices of a thing that hold on `day` or held before, by the day from which they hold.
pub(crate) fn prices_until(thing: &Thing, day: CivilDate) -> Range {
    Range {
        from: priced(thing).done(),
        to: Range::of_prefix(priced(thing).day(day).done()).to,
    }
}

/// The prices of a product, or all.
pub(crate) fn prices(product: Option<&ProductId>) -> Range {
    let all = Key::table(b'B');
    Range::of_prefix(match product {
        None => all.done(),
        Some(product) => all.text(product.as_str()).done(),
    })
}

fn priced(thing: &Thing) -> Key {
    let or_all = |text: Option<&str>| text.unwrap_or("*").to_owned();
    Key::table(b'B')
        .text(thing.product.as_str())
        .text(&thing.item.to_string())
        .text(&or_all(
            thing.edition.as_ref().map(|edition| edition.as_str()),
        ))
        .text(&or_all(
            thing.license_type.as_ref().map(|kind| kind.as_str()),
        ))
}

pub(crate) fn quote(id: &QuoteId) -> Vec<u8> {
    Key::table(b'Q').raw(id.as_bytes()).done()
}

/// All quotes, oldest first.
pub fn quotes() -> Range {
    Range::of_prefix(Key::table(b'Q').done())
}

/// A quote among its license's. The place in the ledger sorts them: ids of one millisecond do not.
pub(crate) fn license_quote(serial: &SerialNumber, sequence: u64, id: &QuoteId) -> Vec<u8> {
    Key::table(b'J')
        .text(serial.as_str())
        .raw(&sequence.to_be_bytes())
        .raw(id.as_bytes())
        .done()
}

pub(crate) fn license_quotes(serial: &SerialNumber) -> Range {
    Range::of_prefix(Key::table(b'J').text(serial.as_str()).done())
}

/// Where the quote stands that the end of an index key names.
pub(crate) fn quote_of_index(tail: &[u8]) -> Option<Vec<u8>> {
    QuoteId::from_slice(tail.get(8..)?)
        .ok()
        .map(|id| quote(&id))
}

pub(crate) fn order(id: &OrderId) -> Vec<u8> {
    Key::table(b'O').raw(id.as_bytes()).done()
}

/// All orders, oldest first.
pub fn orders() -> Range {
    Range::of_prefix(Key::table(b'O').done())
}

/// An order among its license's, by its place in the ledger.
pub(crate) fn license_order(serial: &SerialNumber, sequence: u64, id: &OrderId) -> Vec<u8> {
    Key::table(b'o')
        .text(serial.as_str())
        .raw(&sequence.to_be_bytes())
        .raw(id.as_bytes())
        .done()
}

pub(crate) fn license_orders(serial: &SerialNumber) -> Range {
    Range::of_prefix(Key::table(b'o').text(serial.as_str()).done())
}

/// Where the order stands that the end of an index key names.
pub(crate) fn order_of_index(tail: &[u8]) -> Option<Vec<u8>> {
    OrderId::from_slice(tail.get(8..)?)
        .ok()
        .map(|id| order(&id))
}

pub(crate) fn dongle(number: &DongleNumber) -> Vec<u8> {
    Key::table(b'G').raw(number.as_str().as_bytes()).done()
}

/// The serial at the end of a key of the dated indexes.
pub(crate) fn dated_serial(key: &[u8]) -> Option<SerialNumber> {
    let text = key.rsplit(|byte| *byte == 0).next()?;
    SerialNumber::parse(std::str::from_utf8(text).ok()?).ok()
}

pub(crate) fn mail(id: &MailId) -> Vec<u8> {
    Key::table(b'M').raw(id.as_bytes()).done()
}

/// All mails, oldest first.
pub(crate) fn mails() -> Range {
    Range::of_prefix(Key::table(b'M').done())
}

/// A mail that waits for its attempt at `at`.
pub(crate) fn queued_mail(at: DateTime<Utc>, id: &MailId) -> Vec<u8> {
    Key::table(b'N').time(at).raw(id.as_bytes()).done()
}

/// The mails whose attempt is due at `now`, to the millisecond, in that order.
pub(crate) fn due_mails(now: DateTime<Utc>) -> Range {
    Range {
        from: Key::table(b'N').done(),
        to: Range::of_prefix(Key::table(b'N').time(now).done()).to,
    }
}

/// The mails that wait, due or not.
pub(crate) fn waiting_mails() -> Range {
    Range {
        from: Key::table(b'N').done(),
        to: Key::table(b'N').raw(&NEVER).done(),
    }
}

/// A mail that was given up: behind all that wait, oldest first.
pub(crate) fn dead_mail(id: &MailId) -> Vec<u8> {
    Key::table(b'N').raw(&NEVER).raw(id.as_bytes()).done()
}

/// The mails that were given up.
pub(crate) fn dead_mails() -> Range {
    Range::of_prefix(Key::table(b'N').raw(&NEVER).done())
}

/// The mail of a key of the send queue.
pub(crate) fn queued_mail_id(key: &[u8]) -> Option<MailId> {
    MailId::from_slice(key.get(10..)?).ok()
}

/// The mail that there is for `text`.
pub(crate) fn mail_once(text: &str) -> Vec<u8> {
    Key::table(b'K').raw(text.as_bytes()).done()
}

fn days(prefix: Key, from: CivilDate, to: CivilDate) -> Range {
    Range {
        from: Key(prefix.0.clone()).day(from).done(),
        to: Range::of_prefix(prefix.day(to).done()).to,
    }
}

/// The time of what is never due: no instant of this server's is as late.
const NEVER: [u8; 8] = [0xFF; 8];

/// Builds a key part by part.
struct Key(Vec<u8>);

impl Key {
    fn table(letter: u8) -> Self {
        Self(vec![letter, b'/'])
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(mut self, text: &str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        self
    }

    /// `YYYY-MM-DD` and a zero byte: sorts by day.
    fn day(self, day: CivilDate) -> Self {
        self.text(&day.to_string())
    }

    /// Milliseconds since 1970; a time before that sorts first.
    fn time(self, at: DateTime<Utc>) -> Self {
        self.raw(
            &u64::try_from(at.timestamp_millis())
                .unwrap_or(0)
                .to_be_bytes(),
        )
    }

    fn done(self) -> Vec<u8> {
        self.0
    }
}
