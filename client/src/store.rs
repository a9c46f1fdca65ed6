//! The license store of one installation: the pinned server, the device key, and what stands here.
//!
//! One directory (0700) with `enrollment.json` (what is trusted, with the newest key list of a pinned root), `device.key` (PKCS#8 PEM), `state.json` and `lock` (0600 each), and `clock.json` where
//! a lease is checked. The whole state machine is one file, so that each change is one atomic replacement. `device.key` is the
//! software key. A TPM's key is made anew for each activation and stands in `state.json` beside what it was made for: blobs that only
//! their chip can use, so that a copy of the directory is no copy of the license. One process at a time changes it: [`LicenseStore::open`] takes
//! the lock, [`LicenseStore::read`] needs none. What a state means is in [`State`]; the flows of this crate move between states.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use upkeep::artefact::{CertifiedKey, Issuer};
use upkeep::jwks::{Jwk, JwksError, KeySet};
use upkeep::key::{self, PublicKey, SigningKey, Thumbprint};
use upkeep::trust::{Learned, TrustError, TrustedKeys};

use crate::attester::{Attester, AttesterChoice};
use crate::device::Device;
use crate::error::ClientError;
use crate::keys::LIST;
use crate::lease::Mark;
use crate::random;
use crate::tpm::TpmAddress;

mod disk;
mod error;
#[cfg(test)]
mod list_tests;
mod state;
#[cfg(test)]
mod tests;
mod wire;

use disk::Disk;
pub use error::StoreError;
pub(crate) use state::Kept;
pub(crate) use state::{AskedActivation, AskedRedeem};
pub use state::{
    Held, Journal, PendingActivation, PendingRedeem, State, UpgradeFile, VirtualEnvironment,
};
pub(crate) use wire::Record;
use wire::{FORMAT, Unreadable, read_versioned};

/// A license store, open for changes or for reading.
#[derive(Debug)]
pub struct LicenseStore {
    disk: Disk,
    enrollment: Enrollment,
    keys: TrustedKeys,
    software: Arc<SigningKey>,
    record: Record,
    attester: Option<Attester>,
    tpm: Option<TpmAddress>,
    writable: Writable,
}

/// The server that this installation trusts, as pinned at enrollment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrollment {
    /// `https://HOST:PORT`.
    pub endpoint: String,
    /// The name that the server's certificate must carry, where it is not the endpoint's host.
    pub server_name: Option<String>,
    /// The CA that the server's TLS certificate must come from, PEM.
    pub ca_pem: String,
    /// The keys that verify what the server signs, a JWK set; may be empty where a root is pinned.
    pub jwks: String,
    /// The vendor's offline root, which certifies the server's keys.
    pub root: Option<PublicKey>,
    /// The newest list that the root certified (JWS).
    pub key_list: Option<String>,
    /// The keys of earlier lists that the newest one leaves out: what they signed can be read here, and counts no more.
    pub ended_keys: Vec<CertifiedKey>,
}

impl LicenseStore {
    /// Where the store stands unless named: `$UPKEEP_HOME`, else `$XDG_STATE_HOME/upkeep`, else `~/.local/state/upkeep`.
    ///
    /// # Errors
    /// [`StoreError::NoHome`].
    pub fn default_dir() -> Result<PathBuf, StoreError> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        if let Some(home) = set("UPKEEP_HOME") {
            return Ok(home.into());
        }
        if let Some(state) = set("XDG_STATE_HOME") {
            return Ok(Path::new(&state).join("upkeep"));
        }
        let home = set("HOME").ok_or(StoreError::NoHome)?;
        Ok(Path::new(&home).join(".local/state/upkeep"))
    }

    /// Makes a store with a new device key. Where one is, only the pinned server is replaced; key and state stay.
    ///
    /// # Errors
    /// [`ClientError::Input`] when the enrollment's keys can't be read, are another server's and do not verify what is held here, are from a
    /// list of the same root that is older than the one here, or pin no root where the store pins one; [`ClientError::Store`].
    pub fn create(dir: &Path, mut enrollment: Enrollment) -> Result<Self, ClientError> {
        let unusable = |why| ClientError::Input(format!("the server's keys: {why}"));
        let offered = trusted(&enrollment, enrollment.key_list.iter()).map_err(unusable)?;
        if offered.keys().keys().next().is_none() {
            return Err(ClientError::Input(
                "the server has no verification keys".to_owned(),
            ));
        }
        let disk = Disk::create(dir)?;
        let known = pinned(&disk);
        let root = known.as_ref().and_then(|known| known.root.as_ref());
        if let (Some(root), None) = (root, &enrollment.root) {
            return Err(ClientError::Input(format!(
                "this store pins the root {}: enroll with that root again to keep it, as with `upkeep enroll --root`; to go back to \
                 pinned keys on purpose, remove {} first",
                root.thumbprint(),
                disk.path(ENROLLMENT).display()
            )));
        }
        // Enrolling again is no way back to an older list.
        let known = known.filter(|known| known.root == enrollment.root);
        let (list, ended) =
            known.map_or_else(Default::default, |known| (known.key_list, known.ended_keys));
        enrollment.ended_keys.extend(ended);
        let lists = list.iter().chain(&enrollment.key_list);
        let keys = trusted(&enrollment, lists).map_err(unusable)?;
        enrollment.key_list = keys.list_text().map(str::to_owned);
        enrollment.ended_keys = keys.ended().to_vec();
        Self::create_on(disk, enrollment, keys)
    }

    fn create_on(
        disk: Disk,
        enrollment: Enrollment,
        keys: TrustedKeys,
    ) -> Result<Self, ClientError> {
        let device = match read_device(&disk)? {
            Some(device) => device,
            // What is held is bound to the key that is gone; a new one would only hide that.
            None if disk.read(STATE)?.is_some() => {
                return Err(StoreError::Missing {
                    path: disk.path(DEVICE_KEY),
                }
                .into());
            }
            None => make_device(&disk)?,
        };
        let record = read_record(&disk, &keys, &device)?;
        if !record.is_verified() && is_anothers(&disk, &device, &enrollment) {
            return Err(ClientError::Input(
                "this server's keys do not verify what is held here: another vendor's license needs another --store"
                    .to_owned(),
            ));
        }
        let text = EnrollmentText::from(&enrollment)
            .to_json()
            .map_err(|error| StoreError::damaged(disk.path(ENROLLMENT), error))?;
        disk.replace(ENROLLMENT, &text)?;
        Ok(Self {
            disk,
            enrollment,
            keys,
            software: device,
            record,
            attester: None,
            tpm: None,
            writable: Writable::Yes,
        })
    }

    /// Opens an enrolled store for changes and locks it.
    ///
    /// Trust: what the server signed is verified by the trusted keys here, once. Where nobody here knows the key of what is held, it is
    /// read all the same, and [`check`](crate::check()) refuses it: so it can be refreshed and returned.
    ///
    /// # Errors
    /// [`ClientError::NotEnrolled`] where nothing is, [`ClientError::Store`].
    pub fn open(dir: &Path) -> Result<Self, ClientError> {
        Self::load(Disk::open(dir).map_err(not_enrolled)?, Writable::Yes)
    }

    /// Reads an enrolled store, to look at it and to [check](crate::check()) a build: without the lock, so that a start-up check never
    /// waits for another process's network, and without a write, so that a read-only disk will do. Flows that change it are refused.
    ///
    /// Trust: as for [`LicenseStore::open`].
    ///
    /// # Errors
    /// As [`LicenseStore::open`], but for [`StoreError::Locked`].
    pub fn read(dir: &Path) -> Result<Self, ClientError> {
        let look = || Self::load(Disk::look(dir).map_err(not_enrolled)?, Writable::Never);
        match look() {
            // Another process may have enrolled and activated between the reading of two files; then both are new now.
            Err(ClientError::Store(StoreError::Damaged { .. })) => look(),
            Ok(store) if !store.record.is_verified() => look(),
            read => read,
        }
    }

    fn load(disk: Disk, writable: Writable) -> Result<Self, ClientError> {
        let text = disk.read(ENROLLMENT)?.ok_or(ClientError::NotEnrolled)?;
        let path = disk.path(ENROLLMENT);
        let text: EnrollmentText =
            read_versioned(&text).map_err(|error| unreadable(&path, error))?;
        let enrollment =
            Enrollment::try_from(text).map_err(|error| StoreError::damaged(&path, error))?;
        let keys = trusted(&enrollment, enrollment.key_list.iter())
            .map_err(|error| StoreError::damaged(path, error))?;
        let device = read_device(&disk)?.ok_or_else(|| StoreError::Missing {
            path: disk.path(DEVICE_KEY),
        })?;
        let record = read_record(&disk, &keys, &device)?;
        Ok(Self {
            disk,
            enrollment,
            keys,
            software: device,
            record,
            attester: None,
            tpm: None,
            writable,
        })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.disk.dir()
    }

    /// The pinned server.
    pub fn enrollment(&self) -> &Enrollment {
        &self.enrollment
    }

    /// The name of the store's own key, a software key. Upgrade code files are bound to it, and activations without a TPM.
    pub fn device_thumbprint(&self) -> Thumbprint {
        self.software.public_key().thumbprint()
    }

    /// The public half of the store's own key.
    pub fn device_public_key(&self) -> &PublicKey {
        self.software.public_key()
    }

    /// Which kind of device key a new activation gets: as chosen for this process, else as remembered.
    pub fn attester(&self) -> Attester {
        self.attester.unwrap_or(self.record.choice.attester)
    }

    /// Chooses the kind of device key for this process.
    pub fn use_attester(&mut self, attester: Attester) {
        self.attester = Some(attester);
    }

    /// Where the TPM is: as named for this process, else as remembered; `None` is the first of the usual places.
    pub fn tpm(&self) -> Option<&TpmAddress> {
        self.tpm.as_ref().or(self.record.choice.tpm.as_ref())
    }

    /// Names the TPM for this process.
    pub fn use_tpm(&mut self, address: TpmAddress) {
        self.tpm = Some(address);
    }

    /// Remembers which kind of device key a new activation gets, and where the TPM is; what is `None` stays as it was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remember_attester(
        &mut self,
        attester: Option<Attester>,
        tpm: Option<TpmAddress>,
    ) -> Result<(), StoreError> {
        let kept = &self.record.choice;
        let choice = AttesterChoice {
            attester: attester.unwrap_or(kept.attester),
            tpm: tpm.or_else(|| kept.tpm.clone()),
        };
        if choice == *kept {
            return Ok(());
        }
        self.write(Record {
            choice,
            ..self.record.clone()
        })
    }

    /// What stands here.
    pub fn state(&self) -> &State {
        &self.record.state
    }

    /// The last return, whether it still stands here or another license followed it.
    pub fn last_return(&self) -> Option<&Journal> {
        self.record
            .returned
            .as_ref()
            .or_else(|| journal_in(&self.record.state))
    }

    /// The keys that verify what the server signs.
    pub fn trusted_keys(&self) -> &TrustedKeys {
        &self.keys
    }

    pub(crate) fn keys(&self) -> &TrustedKeys {
        &self.keys
    }

    /// Takes a certified list (bare JWS) and keeps it; when this returns it is durable.
    ///
    /// # Errors
    /// [`ClientError::Input`] where no root is pinned; [`ClientError::Artefact`], [`ClientError::Store`].
    pub(crate) fn learn(&mut self, list: &str) -> Result<Learned, ClientError> {
        self.learn_or(list)?.map_err(|error| match error {
            TrustError::NoRoot => ClientError::Input(
                "this store pins keys and no root; enroll it with `upkeep enroll --root`"
                    .to_owned(),
            ),
            error => ClientError::artefact(LIST, error),
        })
    }

    /// The same, with the refusal of the list apart from faults.
    ///
    /// # Errors
    /// [`StoreError`]; inside, why the list is not taken.
    pub(crate) fn learn_or(
        &mut self,
        list: &str,
    ) -> Result<Result<Learned, TrustError>, StoreError> {
        let dir = || self.dir().to_owned();
        match self.writable {
            Writable::Yes => {}
            Writable::No => return Err(StoreError::Unknown { dir: dir() }),
            Writable::Never => return Err(StoreError::ReadOnly { dir: dir() }),
        }
        if let Some(issuer) = issuer_in(&self.record.state) {
            self.keys.expect_issuer(issuer.clone());
        }
        let learned = self.keys.learn(list, key::verify);
        if learned == Ok(Learned::New) {
            let enrollment = Enrollment {
                key_list: Some(list.to_owned()),
                ended_keys: self.keys.ended().to_vec(),
                ..self.enrollment.clone()
            };
            let text = EnrollmentText::from(&enrollment)
                .to_json()
                .map_err(|error| StoreError::damaged(self.disk.path(ENROLLMENT), error))?;
            self.writable = Writable::No;
            self.disk.replace(ENROLLMENT, &text)?;
            self.writable = Writable::Yes;
            self.enrollment = enrollment;
        }
        Ok(learned)
    }

    /// The store's own key.
    ///
    /// * `because` - why it is not a TPM's, where one was looked for.
    pub(crate) fn software(&self, because: Option<String>) -> Device {
        Device::software(Arc::clone(&self.software), because.map(Into::into))
    }

    /// Moves to another state; when this returns it is durable.
    ///
    /// # Errors
    /// [`StoreError`]; afterwards the store takes no changes until it is opened again, because what stands on disk is not known.
    pub(crate) fn put(&mut self, state: State) -> Result<(), StoreError> {
        let returned = match journal_in(&state) {
            Some(_) => None,
            None => self.last_return().cloned(),
        };
        self.write(Record {
            state,
            returned,
            choice: self.record.choice.clone(),
        })
    }

    /// Completes the last return, whether it still stands here or another license followed it.
    ///
    /// # Errors
    /// As [`LicenseStore::put`].
    pub(crate) fn put_return(&mut self, journal: Journal) -> Result<(), StoreError> {
        match &self.record.state {
            State::Releasing(_) | State::Deactivated(_) => self.put(State::Deactivated(journal)),
            state => self.write(Record {
                state: state.clone(),
                returned: Some(journal),
                choice: self.record.choice.clone(),
            }),
        }
    }

    /// The clock mark of the last check of a lease; none where it can't be read: it only ever makes a check stricter.
    pub(crate) fn clock_mark(&self) -> Option<Mark> {
        let text = self.disk.read(CLOCK).ok().flatten()?;
        read_versioned::<ClockText>(&text)
            .ok()
            .map(|text| text.mark)
    }

    /// Keeps a clock mark where the disk lets it, without the lock: a check waits for nobody. Of two at once the one that comes last stays;
    /// where nothing can be written the mark is lost, and the check's verdict is the same.
    pub(crate) fn keep_clock_mark(&self, mark: Mark) {
        let text = ClockText {
            format: FORMAT,
            mark,
        };
        if let Ok(text) = serde_json::to_string_pretty(&text) {
            let _ = self.disk.replace(CLOCK, &text);
        }
    }

    fn write(&mut self, record: Record) -> Result<(), StoreError> {
        let dir = || self.dir().to_owned();
        match self.writable {
            Writable::Yes => {}
            Writable::No => return Err(StoreError::Unknown { dir: dir() }),
            Writable::Never => return Err(StoreError::ReadOnly { dir: dir() }),
        }
        let text = record
            .to_json()
            .map_err(|error| StoreError::damaged(self.disk.path(STATE), error))?;
        self.writable = Writable::No;
        self.disk.replace(STATE, &text)?;
        self.writable = Writable::Yes;
        self.record = record;
        Ok(())
    }

    /// The file layer, for stopping it.
    #[cfg(test)]
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }
}

/// Whether changes are taken: not while it is unknown what stands on disk, and never where it was opened for reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writable {
    Yes,
    No,
    Never,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockText {
    format: u32,
    mark: Mark,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnrollmentText {
    format: u32,
    endpoint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_name: Option<String>,
    ca_pem: String,
    jwks: String,
    /// A JWK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<Jwk>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_list: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ended_keys: Vec<CertifiedKey>,
}

impl EnrollmentText {
    fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}

impl From<&Enrollment> for EnrollmentText {
    fn from(enrollment: &Enrollment) -> Self {
        Self {
            format: FORMAT,
            endpoint: enrollment.endpoint.clone(),
            server_name: enrollment.server_name.clone(),
            ca_pem: enrollment.ca_pem.clone(),
            jwks: enrollment.jwks.clone(),
            root: enrollment.root.as_ref().map(PublicKey::to_jwk),
            key_list: enrollment.key_list.clone(),
            ended_keys: enrollment.ended_keys.clone(),
        }
    }
}

impl TryFrom<EnrollmentText> for Enrollment {
    type Error = JwksError;

    fn try_from(text: EnrollmentText) -> Result<Self, JwksError> {
        Ok(Self {
            endpoint: text.endpoint,
            server_name: text.server_name,
            ca_pem: text.ca_pem,
            jwks: text.jwks,
            root: text.root.as_ref().map(PublicKey::try_from).transpose()?,
            key_list: text.key_list,
            ended_keys: text.ended_keys,
        })
    }
}

/// What an enrollment trusts, after these lists one after another.
fn trusted<'a>(
    enrollment: &Enrollment,
    lists: impl Iterator<Item = &'a String>,
) -> Result<TrustedKeys, String> {
    let pinned = KeySet::parse(enrollment.jwks.as_bytes()).map_err(|error| error.to_string())?;
    let mut keys = TrustedKeys::pinned(pinned).with_ended(enrollment.ended_keys.clone());
    if let Some(root) = &enrollment.root {
        keys = keys.with_root(root.clone());
    }
    for list in lists {
        keys.learn(list, key::verify)
            .map_err(|error| error.to_string())?;
    }
    Ok(keys)
}

/// The enrollment that stands here, where it can be read.
fn pinned(disk: &Disk) -> Option<Enrollment> {
    let text = disk.read(ENROLLMENT).ok().flatten()?;
    let text: EnrollmentText = read_versioned(&text).ok()?;
    Enrollment::try_from(text).ok()
}

fn read_device(disk: &Disk) -> Result<Option<Arc<SigningKey>>, StoreError> {
    let Some(pem) = disk.read(DEVICE_KEY)? else {
        return Ok(None);
    };
    SigningKey::from_pkcs8_pem(&pem)
        .map(|key| Some(Arc::new(key)))
        .map_err(|error| StoreError::damaged(disk.path(DEVICE_KEY), error))
}

fn make_device(disk: &Disk) -> Result<Arc<SigningKey>, ClientError> {
    let device = random::device_key()?;
    let pem = device
        .to_pkcs8_pem()
        .map_err(|error| StoreError::damaged(disk.path(DEVICE_KEY), error))?;
    disk.replace(DEVICE_KEY, &pem)?;
    Ok(Arc::new(device))
}

fn read_record(
    disk: &Disk,
    keys: &TrustedKeys,
    device: &Arc<SigningKey>,
) -> Result<Record, StoreError> {
    let Some(text) = disk.read(STATE)? else {
        return Ok(Record::empty());
    };
    Record::from_json(&text, keys, device).map_err(|error| unreadable(&disk.path(STATE), error))
}

/// Whether what is held is of another server than the one that is enrolled now: the keys that were pinned until now verify it, and they
/// came from elsewhere. The same server may have had to exchange all of its keys.
fn is_anothers(disk: &Disk, device: &Arc<SigningKey>, now: &Enrollment) -> bool {
    let Some(known) = pinned(disk) else {
        return false;
    };
    let server = |one: &Enrollment| (one.endpoint.clone(), one.ca_pem.clone());
    if server(&known) == server(now) {
        return false;
    }
    let keys = trusted(&known, known.key_list.iter());
    keys.is_ok_and(|keys| read_record(disk, &keys, device).is_ok_and(|record| record.is_verified()))
}

fn not_enrolled(error: StoreError) -> ClientError {
    match error {
        StoreError::Missing { .. } => ClientError::NotEnrolled,
        error => error.into(),
    }
}

fn unreadable(path: &Path, error: Unreadable) -> StoreError {
    match error {
        Unreadable::Newer(format) => StoreError::Newer {
            path: path.to_owned(),
            format,
        },
        Unreadable::Damaged(why) => StoreError::damaged(path, why),
    }
}

/// The return that a state speaks of: it stands here, or stood before an unfinished request.
fn journal_in(state: &State) -> Option<&Journal> {
    match state {
        State::Releasing(journal) | State::Deactivated(journal) => Some(journal),
        State::Activating(pending) => journal_in(pending.before()),
        State::Redeeming(pending) => journal_in(pending.before()),
        State::Empty | State::Active(_) | State::Upgraded(_) => None,
    }
}

/// Whose license a state holds.
fn issuer_in(state: &State) -> Option<&Issuer> {
    match state {
        State::Active(held) => Some(&held.claims().iss),
        State::Upgraded(file) => Some(&file.claims().iss),
        State::Releasing(journal) => journal.held().map(|held| &held.claims().iss),
        State::Activating(pending) => issuer_in(pending.before()),
        State::Redeeming(pending) => issuer_in(pending.before()),
        State::Empty | State::Deactivated(_) => None,
    }
}

const ENROLLMENT: &str = "enrollment.json";
const DEVICE_KEY: &str = "device.key";
const STATE: &str = "state.json";
const CLOCK: &str = "clock.json";
