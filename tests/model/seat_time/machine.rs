//! Machines of customers: with a key in a file, with a TPM chip, or virtual with a TPM of their cloud. Only a chip can't be copied.

use std::sync::OnceLock;

use upkeep::key::PublicKey;
use upkeep::rpc::v1;
use upkeep_server::attest::{Anchor, DenyList, EndorsementClass, Endorsements};

use crate::chip::{Chip, ChipKey, Maker};
use crate::world::Device;

/// What a machine has on its disk: all of it can be copied, and put back.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) key: Option<Key>,
    /// The key's enrollment, where it was made by a TPM.
    pub(super) device_id: Option<String>,
    pub(super) activation: Option<String>,
    pub(super) ticket: Option<String>,
}

#[derive(Clone)]
pub(super) enum Key {
    /// By its number.
    Software(u32),
    /// Of no use to another TPM than its own.
    Tpm { made_by: u32, key: ChipKey },
}

#[derive(Clone)]
pub(super) struct Tpm {
    pub(super) number: u32,
    pub(super) chip: Chip,
    /// Its state is a file of the virtual machine.
    pub(super) is_virtual: bool,
}

#[derive(Clone, Default)]
pub(super) struct Machine {
    pub(super) disk: Disk,
    pub(super) tpm: Option<Tpm>,
    snapshot: Option<(Disk, Option<Tpm>)>,
    /// How wrong its clock is, in seconds.
    pub(super) clock: i64,
}

impl Machine {
    /// With a key in a file.
    pub(super) fn software(number: u32) -> Self {
        let key = Some(Key::Software(number));
        Self {
            disk: Disk {
                key,
                ..Disk::default()
            },
            ..Self::default()
        }
    }

    pub(super) fn with_chip(number: u32) -> Self {
        Self::with(number, chips(), false)
    }

    pub(super) fn in_a_cloud(number: u32) -> Self {
        Self::with(number, clouds(), true)
    }

    fn with(number: u32, maker: &Maker, is_virtual: bool) -> Self {
        Self {
            tpm: Some(Tpm {
                number,
                chip: maker.chip(),
                is_virtual,
            }),
            ..Self::default()
        }
    }

    pub(super) fn take_snapshot(&mut self) {
        self.snapshot = Some((self.disk.clone(), self.tpm.clone()));
    }

    /// The disk is as it was, and a virtual TPM with it.
    pub(super) fn restore(&mut self) {
        if let Some((disk, tpm)) = self.snapshot.clone() {
            self.disk = disk;
            if self.has_virtual_tpm() {
                self.tpm = tpm;
            }
        }
    }

    /// What a copy of `other` brings along; a chip stays where it is.
    pub(super) fn become_copy_of(&mut self, other: &Self) {
        self.disk = other.disk.clone();
        if other.has_virtual_tpm() && self.tpm.is_none() {
            self.tpm.clone_from(&other.tpm);
        }
    }

    fn has_virtual_tpm(&self) -> bool {
        self.tpm.as_ref().is_some_and(|tpm| tpm.is_virtual)
    }

    /// The TPM that made the key on the disk.
    pub(super) fn own_tpm(&mut self) -> Option<(&mut Chip, ChipKey)> {
        match (&self.disk.key, &mut self.tpm) {
            (Some(Key::Tpm { made_by, key }), Some(tpm)) if tpm.number == *made_by => {
                Some((&mut tpm.chip, key.clone()))
            }
            _ => None,
        }
    }

    /// A signature by the key on the disk, while it works here.
    pub(super) fn sign(&mut self, digest: &[u8; 32]) -> Option<[u8; 64]> {
        match self.disk.key {
            Some(Key::Software(number)) => Some(Device::new(number).key.sign_digest(digest)),
            _ => {
                let (chip, key) = self.own_tpm()?;
                chip.sign(&key, digest)
            }
        }
    }

    pub(super) fn public_key(&self) -> Option<PublicKey> {
        Some(match self.disk.key.as_ref()? {
            Key::Software(number) => Device::new(*number).key.public_key().clone(),
            Key::Tpm { key, .. } => key.key.public_key().clone(),
        })
    }

    /// The key as a call names it.
    pub(super) fn device_key(&self) -> Option<v1::DeviceKey> {
        let key = match (&self.disk.device_id, &self.disk.key) {
            (Some(id), _) => v1::device_key::Key::DeviceId(id.clone()),
            (None, _) => v1::device_key::Key::SoftwareSpki(self.public_key()?.to_spki_der()),
        };
        Some(v1::DeviceKey { key: Some(key) })
    }
}

/// Whom the server believes.
pub(super) fn endorsements() -> Endorsements {
    let anchor = |maker: &Maker, class| Anchor::from_der(maker.certificate(), class).unwrap();
    let anchors = vec![
        anchor(chips(), EndorsementClass::Chip),
        anchor(clouds(), EndorsementClass::CloudVtpm),
    ];
    Endorsements::new(anchors, DenyList::default())
}

fn chips() -> &'static Maker {
    static CHIPS: OnceLock<Maker> = OnceLock::new();
    CHIPS.get_or_init(|| Maker::new("Chip Works"))
}

fn clouds() -> &'static Maker {
    static CLOUDS: OnceLock<Maker> = OnceLock::new();
    CLOUDS.get_or_init(|| Maker::new("Cloud Works"))
}

/// The counter that every TPM of the test uses.
pub(super) const INDEX: u32 = 0x0180_0001;
