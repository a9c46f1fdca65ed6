//! Keys of hardware: enrollments, their evidence, and what is remembered of TPMs.

use chrono::{DateTime, Utc};
use upkeep::artefact::TpmName;
use upkeep::id::DeviceId;
use upkeep::serial::SerialNumber;

use super::{Key, Range};
use crate::domain::enrollment::Hardware;

pub(crate) fn enrollment(id: &DeviceId) -> Vec<u8> {
    Key::table(b'E').raw(id.as_bytes()).done()
}

pub(crate) fn evidence(id: &DeviceId) -> Vec<u8> {
    Key::table(b'R').raw(id.as_bytes()).done()
}

pub(crate) fn lapse(expires_at: DateTime<Utc>, id: &DeviceId) -> Vec<u8> {
    Key::table(b'L').time(expires_at).raw(id.as_bytes()).done()
}

/// The enrollments that have lapsed before `now`.
pub(crate) fn lapsed(now: DateTime<Utc>) -> Range {
    Range {
        from: Key::table(b'L').done(),
        to: Key::table(b'L').time(now).done(),
    }
}

/// The enrollment of a key of [`lapse`].
pub(crate) fn lapsed_device(key: &[u8]) -> Option<DeviceId> {
    DeviceId::from_slice(key.get(10..)?).ok()
}

/// Where the enrollments stand that wait for their activation on one TPM or dongle.
pub(crate) fn waiting(hardware: &Hardware) -> Vec<u8> {
    let key = Key::table(b'W');
    match hardware {
        Hardware::Tpm(tpm) => key.raw(b"t").raw(&tpm.ek_id).done(),
        Hardware::Dongle(number) => key.raw(b"d").raw(number.as_str().as_bytes()).done(),
    }
}

pub(crate) fn attestation_key(name: &TpmName) -> Vec<u8> {
    Key::table(b'A').raw(name.as_bytes()).done()
}

pub(crate) fn device_name(name: &TpmName) -> Vec<u8> {
    Key::table(b'D').raw(name.as_bytes()).done()
}

pub(crate) fn tpm(ek_id: &[u8; 32]) -> Vec<u8> {
    Key::table(b'm').raw(ek_id).done()
}

pub(crate) fn counter(ek_id: &[u8; 32], name: &TpmName) -> Vec<u8> {
    Key::table(b'I').raw(ek_id).raw(name.as_bytes()).done()
}

pub(crate) fn counter_activation(
    ek_id: &[u8; 32],
    name: &TpmName,
    serial: &SerialNumber,
) -> Vec<u8> {
    Key::table(b'H')
        .raw(ek_id)
        .raw(name.as_bytes())
        .raw(serial.as_str().as_bytes())
        .done()
}
