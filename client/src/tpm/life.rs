//! The life of a key in a TPM: prepared, certified, used, retired.

use upkeep::tpm::{Signature, name_of, policy, template};
use zeroize::Zeroizing;

use super::Tpm;
use super::code::ResponseCode;
use super::command::Auth;
use super::error::{TpmError, within};
use super::key::{Certified, Prepared, TpmKey};
use super::scope::{Loaded, Scope, TPM_RH_ENDORSEMENT, TPM_RH_OWNER};

impl Tpm {
    /// Makes a new device key for a license, bound to where a counter stands.
    ///
    /// The counter is the license's own, and is moved on first: an earlier key of the license ends. A TPM with few counters has one for
    /// all licenses of a vendor. That one stays where it stands, and the keys of all licenses work side by side, until one is retired.
    ///
    /// * `vendor` - the programme's vendor label; another vendor gets another attestation key.
    /// * `serial` - the license's canonical serial number.
    ///
    /// # Errors
    /// [`TpmError::NoEndorsement`], [`TpmError::Owned`], [`TpmError::NoSpace`], and the rest of [`TpmError`].
    pub fn prepare(&mut self, vendor: &str, serial: &str) -> Result<Prepared, TpmError> {
        self.prepare_at(Place::First { vendor, serial }, Shared::Stays)
    }

    /// As [`Tpm::prepare`], and moves a shared counter on too: the keys of all licenses on it end. So a license gets a new key whose
    /// last one is lost, but for all the TPM knows still works.
    ///
    /// # Errors
    /// As [`Tpm::prepare`].
    pub fn prepare_anew(&mut self, vendor: &str, serial: &str) -> Result<Prepared, TpmError> {
        self.prepare_at(Place::First { vendor, serial }, Shared::MovesOn)
    }

    /// As [`Tpm::prepare`], on the counter and beside the attestation key of the license's last key: a key on another counter says
    /// nothing about the last one, whose seat would be lost.
    ///
    /// # Errors
    /// As [`Tpm::prepare`], and [`TpmError::IndexTaken`] when something else stands in the counter's place.
    pub fn prepare_next(&mut self, last: &TpmKey) -> Result<Prepared, TpmError> {
        self.prepare_at(Place::Next(last), Shared::Stays)
    }

    /// As [`Tpm::prepare_next`], and moves a shared counter on too, as [`Tpm::prepare_anew`].
    ///
    /// # Errors
    /// As [`Tpm::prepare_next`].
    pub fn prepare_next_anew(&mut self, last: &TpmKey) -> Result<Prepared, TpmError> {
        self.prepare_at(Place::Next(last), Shared::MovesOn)
    }

    fn prepare_at(&mut self, place: Place<'_>, shared: Shared) -> Result<Prepared, TpmError> {
        let mut scope = self.scope();
        let (endorsement, ek_certificates) = scope.endorsement()?;
        let (vendor, (index, is_new)) = match place {
            Place::First { vendor, serial } => (vendor, scope.counter_for(vendor, serial)?),
            Place::Next(last) => {
                let index = last.counter.index;
                (last.vendor.as_str(), (index, scope.define_counter(index)?))
            }
        };
        let stays = shared == Shared::Stays && template::is_shared(index);
        let stands = match scope.counter_value(index)? {
            Some(stands) if stays => Some(stands),
            // A key of before is bound to where the counter stands now; and the Name of an index changes when it is first written.
            Some(_) | None => {
                scope.increment(index)?;
                scope.counter_value(index)?
            }
        };
        let value = stands.ok_or(TpmError::IndexTaken { index })?;
        let counter = template::counter(index, true);
        let root = scope.storage_root()?;
        let wanted = template::device_key(policy::nv_equal(value, &counter.name()));
        let (private, device_public) = scope.create(&root, &wanted)?;
        scope.flush(root.handle)?;
        let ak_public = scope.attestation_key(vendor)?.public;
        let key = TpmKey::new(
            vendor,
            endorsement,
            name_of(&ak_public),
            private,
            device_public.clone(),
            counter.clone(),
            value,
        )
        .map_err(|error| TpmError::malformed("TPM2_Create", error))?;
        Ok(Prepared {
            key,
            ek_certificates,
            ak_public,
            device_public,
            nv_public: counter.to_bytes(),
            is_new_counter: is_new,
        })
    }

    /// The attestation key's word, over `qualifying_data`, that the key is in this TPM, and on where the counter stands.
    ///
    /// # Errors
    /// [`TpmError::OtherTpm`], [`TpmError::KeyEnded`] when the counter is gone, and the rest of [`TpmError`].
    pub fn certify(
        &mut self,
        key: &TpmKey,
        qualifying_data: &[u8; 32],
    ) -> Result<(Certified, Certified), TpmError> {
        let mut scope = self.scope();
        let device = scope.device_key(key)?;
        let attestation_key = scope.attestation_key_of(key)?;
        let certified = scope.certify(&device, &attestation_key, qualifying_data)?;
        let counter = scope.counter_statement(key, &attestation_key, qualifying_data)?;
        Ok((certified, counter))
    }

    /// Opens the server's credential: only the TPM that has both the endorsement key and the attestation key can.
    ///
    /// * `blob` - TPM2B_ID_OBJECT without its length.
    /// * `secret` - TPM2B_ENCRYPTED_SECRET without its length.
    ///
    /// # Errors
    /// [`TpmError::EndorsementMismatch`], [`TpmError::Owned`], and the rest of [`TpmError`].
    pub fn activate_credential(
        &mut self,
        key: &TpmKey,
        blob: &[u8],
        secret: &[u8],
    ) -> Result<Zeroizing<[u8; 32]>, TpmError> {
        let mut scope = self.scope();
        let attestation_key = scope.attestation_key_of(key)?;
        scope.open_credential(key.endorsement, &attestation_key, blob, secret)
    }

    /// Signs with the device key, ECDSA P-256: `r || s`.
    ///
    /// * `digest` - SHA-256 of what is signed.
    ///
    /// # Errors
    /// [`TpmError::KeyEnded`], [`TpmError::OtherTpm`], and the rest of [`TpmError`].
    pub fn sign(&mut self, key: &TpmKey, digest: &[u8; 32]) -> Result<[u8; 64], TpmError> {
        let mut scope = self.scope();
        let (device, auth) = scope.usable_key(key)?;
        let signature = scope.sign(&device, auth, digest)?;
        Signature::parse(&signature)
            .map_err(within("TPM2_Sign"))?
            .ecdsa_p1363()
            .ok_or_else(|| TpmError::malformed("TPM2_Sign", "it is no ECDSA P-256 signature"))
    }

    /// Ends the key for ever and proves it: the attestation key's word, over `qualifying_data`, that the counter has moved on.
    ///
    /// Run again after a power cut, it makes the proof without moving the counter once more. A counter that TPM2_Clear
    /// deleted is defined again, and starts above where it stood.
    ///
    /// # Errors
    /// [`TpmError::OtherTpm`], and then nothing was changed; [`TpmError::CounterBehind`], [`TpmError::IndexTaken`], and the rest of
    /// [`TpmError`].
    pub fn retire(
        &mut self,
        key: &TpmKey,
        qualifying_data: &[u8; 32],
    ) -> Result<Certified, TpmError> {
        let mut scope = self.scope();
        // First: another TPM's counters are none of this key's.
        let attestation_key = scope.attestation_key_of(key)?;
        let index = key.counter.index;
        scope.define_counter(index)?;
        let stands = scope.counter_value(index)?;
        if stands.is_none_or(|stands| stands == key.value) {
            scope.increment(index)?;
        }
        let found = scope.counter_value(index)?.unwrap_or(0);
        if found <= key.value {
            return Err(TpmError::CounterBehind {
                found,
                activated: key.value,
            });
        }
        scope.counter_statement(key, &attestation_key, qualifying_data)
    }

    /// Deletes the counter that [`Tpm::prepare`] defined for a key that no activation came of, because a chip has room for few.
    ///
    /// * `key` - of a [`Prepared`] with a new counter; any other counter may be what proves the end of an earlier key.
    ///
    /// A counter that licenses share stays, and so does one that has moved on.
    ///
    /// # Errors
    /// [`TpmError`]; then the counter stays, and does no harm.
    pub fn give_up(&mut self, key: &TpmKey) -> Result<(), TpmError> {
        self.delete_counter(key, 0)
    }

    /// Deletes the counter of a key whose return is complete, because a chip has room for few. One that is defined again starts above
    /// every value that it had, so the key stays dead.
    ///
    /// A counter that licenses share stays, and so does one that has moved on since the key was retired. The caller knows that the key
    /// worked until then: if [`Tpm::prepare`] ended it, the one that it made would be ended here.
    ///
    /// # Errors
    /// [`TpmError`]; then the counter stays, and does no harm.
    pub fn give_back(&mut self, key: &TpmKey) -> Result<(), TpmError> {
        self.delete_counter(key, 1)
    }

    /// Deletes a license's own counter where it stands so many steps after the key.
    fn delete_counter(&mut self, key: &TpmKey, steps: u64) -> Result<(), TpmError> {
        let index = key.counter.index;
        if template::is_shared(index) {
            return Ok(());
        }
        let mut scope = self.scope();
        let stands = scope.own_counter_value(index)?;
        if stands.is_some_and(|stands| stands.checked_sub(key.value) == Some(steps)) {
            scope.undefine(index)?;
        }
        Ok(())
    }

    /// The attestation key's word, over `qualifying_data`, on where the counter stands; nothing changes.
    ///
    /// # Errors
    /// [`TpmError::KeyEnded`] when the counter is gone, and the rest of [`TpmError`].
    pub fn heartbeat(
        &mut self,
        key: &TpmKey,
        qualifying_data: &[u8; 32],
    ) -> Result<Certified, TpmError> {
        let mut scope = self.scope();
        let attestation_key = scope.attestation_key_of(key)?;
        scope.counter_statement(key, &attestation_key, qualifying_data)
    }

    /// Whether the counter stands where the key works. That is all that [`Tpm::retire`] asks of a TPM, so an owner's password, which keeps
    /// the key from being loaded, is no hindrance.
    ///
    /// # Errors
    /// [`TpmError::OtherTpm`] when another TPM made the key, and the rest of [`TpmError`].
    pub fn stands(&mut self, key: &TpmKey) -> Result<bool, TpmError> {
        let mut scope = self.scope();
        scope.attestation_key_of(key)?;
        Ok(scope.own_counter_value(key.counter.index)? == Some(key.value))
    }

    /// Whether the key would sign now; it signs nothing.
    ///
    /// # Errors
    /// [`TpmError`] when the TPM can't tell.
    pub fn is_alive(&mut self, key: &TpmKey) -> Result<bool, TpmError> {
        match self.scope().usable_key(key) {
            Ok(_) => Ok(true),
            Err(TpmError::KeyEnded | TpmError::OtherTpm) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Scope<'_> {
    /// The counter of a license, defined if it is not there yet, and whether it was not.
    fn counter_for(&mut self, vendor: &str, serial: &str) -> Result<(u32, bool), TpmError> {
        let few = self.counters_left()?.is_some_and(|left| left <= RESERVE);
        for attempt in 0..ATTEMPTS {
            let index = template::counter_index(vendor, serial, attempt);
            if few && self.nv_public(index)?.is_none() {
                break;
            }
            match self.define_counter(index) {
                Ok(is_new) => return Ok((index, is_new)),
                Err(TpmError::IndexTaken { .. }) => (),
                Err(TpmError::NoSpace) => break,
                Err(error) => return Err(error),
            }
        }
        let shared = template::shared_counter_index(vendor);
        self.define_counter(shared).map(|is_new| (shared, is_new))
    }

    fn storage_root(&mut self) -> Result<Loaded, TpmError> {
        self.create_primary(TPM_RH_OWNER, &template::storage_root().to_bytes())
    }

    fn attestation_key(&mut self, vendor: &str) -> Result<Loaded, TpmError> {
        self.create_primary(
            TPM_RH_ENDORSEMENT,
            &template::attestation_key(vendor).to_bytes(),
        )
    }

    /// The attestation key that vouches for `key`. It is made again from its template, so another TPM makes another.
    fn attestation_key_of(&mut self, key: &TpmKey) -> Result<Loaded, TpmError> {
        let made = self.attestation_key(&key.vendor)?;
        if name_of(&made.public) == key.attestation_key {
            Ok(made)
        } else {
            Err(TpmError::OtherTpm)
        }
    }

    fn device_key(&mut self, key: &TpmKey) -> Result<Loaded, TpmError> {
        let root = self.storage_root()?;
        let device = self.load_key(&root, &key.private, &key.public)?;
        self.flush(root.handle)?;
        Ok(device)
    }

    /// The device key and the session that opens it, while the counter stands where it stood.
    fn usable_key(&mut self, key: &TpmKey) -> Result<(Loaded, Auth), TpmError> {
        // The counter first: it is the answer that matters most, and the cheaper one.
        let session = self.start_policy()?;
        match self.policy_counter(session, &key.counter, key.value) {
            // Another TPM has no such counter, or one that stands elsewhere.
            Err(TpmError::KeyEnded)
                if matches!(self.attestation_key_of(key), Err(TpmError::OtherTpm)) =>
            {
                return Err(TpmError::OtherTpm);
            }
            stands => stands?,
        }
        Ok((self.device_key(key)?, Auth::Policy(session)))
    }

    /// NV_Certify of the counter as it was enrolled.
    fn counter_statement(
        &mut self,
        key: &TpmKey,
        attestation_key: &Loaded,
        qualifying_data: &[u8; 32],
    ) -> Result<Certified, TpmError> {
        self.certify_counter(&key.counter, attestation_key, qualifying_data)
            .map_err(|error| {
                let never_written = error.code() == Some(ResponseCode::NV_UNINITIALIZED);
                if never_written || error.is_no_such_handle() {
                    TpmError::KeyEnded
                } else {
                    error
                }
            })
    }
}

/// Where a new key's counter is.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// Where there is room for the license's.
    First { vendor: &'a str, serial: &'a str },
    /// Where the license's last key has it.
    Next(&'a TpmKey),
}

/// What becomes of a counter that licenses share when another key is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shared {
    Stays,
    MovesOn,
}

/// With room for so few a license gets no counter of its own: the last one is for all licenses of its vendor.
const RESERVE: u32 = 1;
/// How many places are tried for a counter of a license's own.
const ATTEMPTS: u32 = 8;
