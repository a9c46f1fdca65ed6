//! A TPM in software, for steps 7 to 24: every word that it says can be changed.

use std::sync::OnceLock;

use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use upkeep::key::{PublicKey, SigningKey};
use upkeep::tpm::{
    Attest, Attested, Attributes, ClockInfo, NvPublic, Public, PublicKeyArea, Scheme, Signature,
    Symmetric, alg, policy, template,
};

use super::forge::key;
use crate::attest::{
    AttestationKey, CertifiedKey, CounterReading, EvidenceError, Relation, ak_public, key_certify,
    nv_certify,
};

pub(super) const QUESTION: [u8; 32] = [0x51; 32];
pub(super) const VALUE: u64 = 7;

/// A TPM in software, whose every word a test can change: the keys, and the statements about them.
pub(super) struct Scene {
    pub(super) ak_key: SigningKey,
    pub(super) ak: Public,
    pub(super) device: Public,
    pub(super) nv: NvPublic,
}

impl Scene {
    pub(super) fn new() -> Self {
        let nv = template::counter(0x0180_0001, true);
        let policy = policy::nv_equal(VALUE, &nv.name());
        Self {
            ak_key: key(20),
            ak: with_point(template::attestation_key("vendor"), key(20).public_key()),
            device: with_point(template::device_key(policy), key(21).public_key()),
            nv,
        }
    }

    pub(super) fn statement(&self, body: Attested) -> Attest {
        Attest {
            qualified_signer: self.ak.name().as_bytes().to_vec(),
            extra_data: QUESTION.to_vec(),
            clock: ClockInfo {
                clock: 1000,
                reset_count: 3,
                restart_count: 0,
                safe: true,
            },
            firmware: 0x0001_0002_0003_0004,
            body,
        }
    }

    pub(super) fn about_key(&self) -> Attest {
        self.statement(Attested::Certify {
            name: self.device.name().as_bytes().to_vec(),
            qualified_name: vec![],
        })
    }

    pub(super) fn about_counter(&self) -> Attest {
        self.statement(Attested::Nv {
            index_name: self.nv.name().as_bytes().to_vec(),
            offset: 0,
            contents: VALUE.to_be_bytes().to_vec(),
        })
    }

    pub(super) fn sign(&self, attest: &[u8]) -> Vec<u8> {
        ecdsa(self.ak_key.sign(attest)).to_bytes()
    }

    pub(super) fn judge_ak(&self) -> Result<AttestationKey, EvidenceError> {
        ak_public(&self.ak.to_bytes())
    }

    pub(super) fn judge_key(
        &self,
        attest: &[u8],
        signature: &[u8],
    ) -> Result<CertifiedKey, EvidenceError> {
        let (device, nv) = (self.device.to_bytes(), self.nv.to_bytes());
        let ak = self.judge_ak()?;
        key_certify(&ak, &device, &nv, attest, signature, &QUESTION, VALUE)
    }

    pub(super) fn judge_counter(
        &self,
        attest: &[u8],
        signature: &[u8],
        relation: Relation,
    ) -> Result<CounterReading, EvidenceError> {
        let ak = self.judge_ak()?;
        let nv = self.nv.to_bytes();
        nv_certify(&ak, &nv, attest, signature, &QUESTION, relation)
    }

    /// The verdict on the device key, after a change of the statement.
    pub(super) fn key(
        &self,
        change: impl FnOnce(&mut Attest),
    ) -> Result<CertifiedKey, EvidenceError> {
        let mut attest = self.about_key();
        change(&mut attest);
        let attest = attest.to_bytes();
        self.judge_key(&attest, &self.sign(&attest))
    }

    /// The verdict on the counter, after a change of the statement.
    pub(super) fn counter(
        &self,
        change: impl FnOnce(&mut Attest),
    ) -> Result<CounterReading, EvidenceError> {
        self.counter_at(Relation::Equal(VALUE), change)
    }

    pub(super) fn counter_at(
        &self,
        relation: Relation,
        change: impl FnOnce(&mut Attest),
    ) -> Result<CounterReading, EvidenceError> {
        let mut attest = self.about_counter();
        change(&mut attest);
        let attest = attest.to_bytes();
        self.judge_counter(&attest, &self.sign(&attest), relation)
    }
}

fn with_point(mut public: Public, key: &PublicKey) -> Public {
    if let PublicKeyArea::Ecc { x, y, .. } = &mut public.key {
        (*x, *y) = (key.x().to_vec(), key.y().to_vec());
    }
    public
}

pub(super) fn ecdsa(rs: [u8; 64]) -> Signature {
    Signature::Ecdsa {
        hash: alg::SHA256,
        r: rs[..32].to_vec(),
        s: rs[32..].to_vec(),
    }
}

pub(super) fn flip(attributes: Attributes, bit: Attributes) -> Attributes {
    Attributes::parse(attributes.bits() ^ bit.bits()).unwrap()
}

pub(super) fn no_change(_: &mut Attest) {}

pub(super) fn rsa_key() -> &'static RsaKeyPair {
    static KEY: OnceLock<RsaKeyPair> = OnceLock::new();
    KEY.get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
}

/// An attestation key that is RSA.
pub(super) fn rsa_ak(scheme: Scheme, modulus: Vec<u8>) -> Public {
    Public {
        key: PublicKeyArea::Rsa {
            symmetric: Symmetric::Null,
            scheme,
            key_bits: u16::try_from(modulus.len() * 8).unwrap(),
            exponent: 0,
            modulus,
        },
        ..Scene::new().ak
    }
}
