//! TPMs and dongles played in software, from their maker to their signatures: quick, the same every time, and able to cheat.
//!
//! They speak what the protocol carries, no TPM commands; what a real TPM does stands in the tests against swtpm. A chip is
//! cloned to keep its state, and the clone put in its place to roll it back.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::agreement::{self, ECDH_P256, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{digest, hmac};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use upkeep::key::SigningKey;
use upkeep::rpc::v1;
use upkeep::tpm::{
    Attest, Attested, ClockInfo, NvPublic, Public, PublicKeyArea, Signature, alg, name_of, policy,
    template,
};
use upkeep_server::random::{SystemRandom, bytes32};

/// Who makes chips and dongles, and certifies them.
pub(crate) struct Maker {
    key: KeyPair,
    params: CertificateParams,
    certificate: Vec<u8>,
}

impl Maker {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        Self {
            key,
            params,
            certificate,
        }
    }

    /// The certificate that operators pin, DER.
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// SHA-256 of its SubjectPublicKeyInfo, hexadecimal: what a deny list names.
    pub(crate) fn key_id(&self) -> String {
        use rcgen::PublicKeyData;
        hex(&self.key.subject_public_key_info())
    }

    fn issue(&self, params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(key, &issuer).unwrap().der().to_vec()
    }

    /// A TPM with a P-256 endorsement key.
    pub(crate) fn chip(&self) -> Chip {
        let ek = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
        let mut names = CustomExtension::from_oid_content(&[2, 5, 29, 17], identity());
        names.set_criticality(true);
        params.custom_extensions = vec![names];
        Chip {
            ek_certificate: self.issue(&params, &ek),
            ek: ek.serialize_der(),
            ak: software_key(),
            counters: BTreeMap::new(),
            largest: 0,
            clock: 60_000,
            resets: 3,
        }
    }

    /// A dongle whose number is `serial`.
    pub(crate) fn dongle(&self, serial: u64) -> Dongle {
        let f9 = KeyPair::generate().unwrap();
        let mut params = named("Dongle attestation");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let attestation_certificate = self.issue(&params, &f9);
        let slot = KeyPair::generate().unwrap();
        let mut leaf = named("Dongle slot 9a");
        let bytes = serial.to_be_bytes();
        let short: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
        let number = match short.first() {
            Some(first) if *first >= 0x80 => [&[0][..], &short].concat(),
            _ => short,
        };
        leaf.custom_extensions = vec![
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 41482, 3, 3], vec![5, 7, 1]),
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 41482, 3, 7], tlv(0x02, &number)),
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 41482, 3, 8], vec![1, 1]),
        ];
        let issuer = Issuer::from_params(&params, &f9);
        let slot_certificate = leaf.signed_by(&slot, &issuer).unwrap().der().to_vec();
        Dongle {
            slot,
            slot_certificate,
            attestation_certificate,
        }
    }
}

/// A TPM 2.0 as evidence shows it.
#[derive(Clone)]
pub(crate) struct Chip {
    ek: Vec<u8>,
    pub(crate) ek_certificate: Vec<u8>,
    pub(crate) ak: Arc<SigningKey>,
    counters: BTreeMap<u32, u64>,
    /// New counters begin beyond all that there ever were.
    largest: u64,
    pub(crate) clock: u64,
    pub(crate) resets: u32,
}

/// A key that the chip uses while its counter stands at `value`.
#[derive(Clone)]
pub(crate) struct ChipKey {
    pub(crate) key: Arc<SigningKey>,
    pub(crate) public: Vec<u8>,
    pub(crate) index: u32,
    pub(crate) value: u64,
}

impl Chip {
    /// TPM2_NV_Increment, after TPM2_NV_DefineSpace where there is none.
    pub(crate) fn increment(&mut self, index: u32) -> u64 {
        let first = self.largest + 1;
        let value = self.counters.get(&index).map_or(first, |value| value + 1);
        self.counters.insert(index, value);
        self.largest = self.largest.max(value);
        value
    }

    /// TPM2_Clear: the counters are gone, their largest value is not; the clock starts again.
    pub(crate) fn clear(&mut self) {
        self.counters.clear();
        self.clock = 1_000;
        self.resets = 0;
    }

    /// A new key for the present value of a counter, as a client makes it: after an increment.
    pub(crate) fn prepare(&mut self, index: u32) -> ChipKey {
        let value = self.increment(index);
        self.key_at(index, value)
    }

    /// A new key beside those that the counter has already, as a client makes it on one that licenses share.
    pub(crate) fn prepare_beside(&mut self, index: u32) -> ChipKey {
        match self.counters.get(&index) {
            Some(value) => self.key_at(index, *value),
            None => self.prepare(index),
        }
    }

    /// A new key for any value.
    pub(crate) fn key_at(&self, index: u32, value: u64) -> ChipKey {
        let nv = template::counter(index, true).name();
        let key = software_key();
        let public = with_point(template::device_key(policy::nv_equal(value, &nv)), &key);
        ChipKey {
            key,
            public,
            index,
            value,
        }
    }

    /// What BeginEnrollment carries, over `q`.
    pub(crate) fn evidence(&mut self, key: &ChipKey, q: &[u8; 32]) -> v1::TpmEvidence {
        v1::TpmEvidence {
            ek_certificates: vec![self.ek_certificate.clone()],
            ak_public: self.ak_public(),
            device_public: key.public.clone(),
            nv_public: self.nv_public(key.index).to_bytes(),
            key_certification: Some(self.certify(&key.public, q)),
            counter_certification: Some(self.nv_certify(key.index, q)),
        }
    }

    /// TPMT_PUBLIC of the attestation key.
    pub(crate) fn ak_public(&self) -> Vec<u8> {
        with_point(template::attestation_key("test"), &self.ak)
    }

    fn nv_public(&self, index: u32) -> NvPublic {
        template::counter(index, true)
    }

    /// TPM2_Certify.
    pub(crate) fn certify(&mut self, public: &[u8], q: &[u8; 32]) -> v1::Certification {
        let name = name_of(public).as_bytes().to_vec();
        self.state(
            Attested::Certify {
                name: name.clone(),
                qualified_name: name,
            },
            q,
        )
    }

    /// TPM2_NV_Certify of the whole counter.
    pub(crate) fn nv_certify(&mut self, index: u32, q: &[u8; 32]) -> v1::Certification {
        let value = self.counters.get(&index).copied().unwrap_or_default();
        self.state(
            Attested::Nv {
                index_name: self.nv_public(index).name().as_bytes().to_vec(),
                offset: 0,
                contents: value.to_be_bytes().to_vec(),
            },
            q,
        )
    }

    fn state(&mut self, body: Attested, q: &[u8; 32]) -> v1::Certification {
        self.clock += 7;
        let attest = Attest {
            qualified_signer: name_of(&self.ak_public()).as_bytes().to_vec(),
            extra_data: q.to_vec(),
            clock: ClockInfo {
                clock: self.clock,
                reset_count: self.resets,
                restart_count: 0,
                safe: true,
            },
            firmware: 0x0007_0055_0011_6a00,
            body,
        }
        .to_bytes();
        let signed = self.ak.sign(&attest);
        let (r, s) = signed.split_at(32);
        let signature = Signature::Ecdsa {
            hash: alg::SHA256,
            r: r.to_vec(),
            s: s.to_vec(),
        };
        v1::Certification {
            attest,
            signature: signature.to_bytes(),
        }
    }

    /// A signature by a device key, as long as its policy holds.
    pub(crate) fn sign(&self, key: &ChipKey, digest: &[u8; 32]) -> Option<[u8; 64]> {
        let alive = self.counters.get(&key.index) == Some(&key.value);
        alive.then(|| key.key.sign_digest(digest))
    }

    /// TPM2_ActivateCredential: the secret, if it is for this endorsement key and attestation key.
    pub(crate) fn activate_credential(&self, blob: &[u8], encrypted: &[u8]) -> Option<Vec<u8>> {
        let (ephemeral_x, rest) = sized(encrypted)?;
        let (ephemeral_y, _) = sized(rest)?;
        let point = [&[4][..], ephemeral_x, ephemeral_y].concat();
        let ek = PrivateKey::from_private_key_der(&ECDH_P256, &self.ek).unwrap();
        let own = ek.compute_public_key().unwrap();
        let own_x = own.as_ref()[1..33].to_vec();
        let peer = UnparsedPublicKey::new(&ECDH_P256, &point);
        let seed = agreement::agree(&ek, peer, (), |z| {
            // KDFe (Part 1 section 11.4.10.3).
            let mut hash = digest::Context::new(&digest::SHA256);
            for part in [
                &1_u32.to_be_bytes()[..],
                z,
                b"IDENTITY\0",
                ephemeral_x,
                &own_x,
            ] {
                hash.update(part);
            }
            Ok(hash.finish().as_ref().to_vec())
        })
        .ok()?;
        let name = name_of(&self.ak_public());
        let (tag, encrypted) = sized(blob)?;
        let integrity = hmac::Key::new(hmac::HMAC_SHA256, &kdf_a(&seed, b"INTEGRITY\0", &[], 256));
        let outer = [encrypted, &name.as_bytes()[..]].concat();
        hmac::verify(&integrity, &outer, tag).ok()?;
        let key = kdf_a(&seed, b"STORAGE\0", name.as_bytes(), 128);
        let key = UnboundCipherKey::new(&AES_128, &key[..16]).unwrap();
        let mut plain = encrypted.to_vec();
        let iv = DecryptionContext::Iv128(FixedLength::from([0; 16]));
        DecryptingKey::cfb128(key)
            .unwrap()
            .decrypt(&mut plain, iv)
            .ok()?;
        sized(&plain).map(|(secret, _)| secret.to_vec())
    }
}

/// A dongle with PIV attestation.
pub(crate) struct Dongle {
    slot: KeyPair,
    slot_certificate: Vec<u8>,
    attestation_certificate: Vec<u8>,
}

impl Dongle {
    pub(crate) fn evidence(&self, signature: [u8; 64]) -> v1::PivEvidence {
        v1::PivEvidence {
            slot_certificate: self.slot_certificate.clone(),
            attestation_certificate: self.attestation_certificate.clone(),
            intermediate_certificates: Vec::new(),
            signature: signature.to_vec(),
        }
    }

    /// The slot's key, as a device key.
    pub(crate) fn key(&self) -> SigningKey {
        SigningKey::from_pkcs8_pem(&self.slot.serialize_pem()).unwrap()
    }
}

fn software_key() -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed(&bytes32(&SystemRandom)).unwrap())
}

/// The public area with the key's point in it.
fn with_point(mut public: Public, key: &SigningKey) -> Vec<u8> {
    let sec1 = key.public_key().sec1_bytes().to_vec();
    if let PublicKeyArea::Ecc { x, y, .. } = &mut public.key {
        *x = sec1[1..33].to_vec();
        *y = sec1[33..].to_vec();
    }
    public.to_bytes()
}

/// KDFa with one block (Part 1 section 11.4.10.2).
fn kdf_a(seed: &[u8], label: &[u8], context: &[u8], bits: u32) -> Vec<u8> {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, seed));
    for part in [
        &1_u32.to_be_bytes()[..],
        label,
        context,
        &bits.to_be_bytes(),
    ] {
        mac.update(part);
    }
    mac.sign().as_ref().to_vec()
}

/// The content of a TPM2B, and what comes behind it.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// subjectAltName with the TPM's manufacturer, model and version (TCG EK Credential Profile section 3.2.9), DER.
fn identity() -> Vec<u8> {
    let attributes = [(1, "id:49465800"), (2, "SLB9670"), (3, "id:0007")].map(|(last, value)| {
        let oid = tlv(0x06, &[0x67, 0x81, 0x05, 0x02, last]);
        let value = tlv(0x0c, value.as_bytes());
        tlv(0x31, &tlv(0x30, &[oid, value].concat()))
    });
    tlv(0x30, &tlv(0xa4, &tlv(0x30, &attributes.concat())))
}

/// DER of less than 128 bytes.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag, u8::try_from(content.len()).unwrap()][..], content].concat()
}

fn hex(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}
