//! Step 6: credentials. A TPM's side of it is written down here a second time, from the specification and other crates.

use aws_lc_rs::agreement::{ECDH_P384, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OaepAlgorithm,
    OaepPrivateDecryptingKey, PrivateDecryptingKey,
};
use sha2::{Digest, Sha256};
use upkeep::tpm::Name;

use super::forge::*;
use crate::attest::{
    Anchor, Credential, DenyList, EndorsedEk, EndorsementClass, Endorsements, EvidenceError,
    ek_chain, make_credential,
};
use crate::random::{Random, SeededRandom};

const SECRET: [u8; 32] = [0x5e; 32];

fn ak_name() -> Name {
    Name::from_digest([0xa4; 32])
}

/// The endorsed key of a certificate for `spki`.
fn endorsed(spki: Vec<u8>, usage: u8) -> EndorsedEk {
    let root = Draft::authority("root", "root", &key(1)).by(&key(1));
    let leaf = Draft {
        spki,
        ..Draft::ek("root", &key(9)).with(key_usage(&[usage]))
    };
    let anchor = Anchor::from_der(&root, EndorsementClass::Software).unwrap();
    let endorsements = Endorsements::new(vec![anchor], DenyList::default());
    ek_chain(&leaf.by(&key(1)), &[], &endorsements, now()).unwrap()
}

fn made(ek: &EndorsedEk) -> Credential {
    make_credential(ek, &ak_name(), &SECRET, &SeededRandom::new(1)).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn p384() -> PrivateKey {
    PrivateKey::from_private_key(&ECDH_P384, &[9; 48]).unwrap()
}

fn p384_ek() -> EndorsedEk {
    let point = p384().compute_public_key().unwrap();
    let spki = spki("1.2.840.10045.2.1", &oid("1.3.132.0.34"), point.as_ref());
    endorsed(spki, 4)
}

fn p256_ek() -> EndorsedEk {
    endorsed(key(9).public_key().to_spki_der(), 4)
}

#[test]
fn step_06_a_p256_credential_is_frozen() {
    let credential = made(&p256_ek());
    assert_eq!(
        hex(&credential.blob),
        "0020766b9becdc55a8fd232cd86d656a98692ab9379b8ecbfa016c167d7c13ad89a974f10e899b88aad7c927fdd53509f62ea2b31d6ad3b1b795fff336ec2b58652f2a6d"
    );
    assert_eq!(
        hex(&credential.encrypted_secret),
        "0020786ea6348fc002956159754774c908222e40474ba06b82a3edde9df1fccc0d9900200ded650e68616b3cbd90a93fd579a81f3fdb481bedbfa923b2c1e1d6c0e769c3"
    );
}

#[test]
fn step_06_a_p384_credential_is_frozen() {
    let credential = made(&p384_ek());
    assert_eq!(
        hex(&credential.blob),
        "003094e22c28f2d01a85ed0035088a09404274adfdf32732d768755c5938d9f94042824ca04d004c991026ed271fea2430ed0496a43dcb68f191070cd339f3aac15c1ed13433638e7d3fed2f290c6ef9650bbba8"
    );
    assert_eq!(
        hex(&credential.encrypted_secret),
        "0030bbc9597d080dac278e721a72d56e32a410fd15adab33b7961648d62214f56812523dd9fb55c944a2d8242fe88c7df2170030c33a8d5c16959dfa1ea266798fc9b420301d7dabcb6811c32f1af19b1ed586176bc7a4653b2ff30ed8cb4b7df8b95dbf"
    );
}

#[test]
fn step_06_the_tpm_of_an_elliptic_key_reads_the_secret() {
    let credential = made(&p384_ek());
    let encrypted = &credential.encrypted_secret;
    let (x, y) = (&encrypted[2..50], &encrypted[52..]);
    assert_eq!(
        (&encrypted[..2], &encrypted[50..52], y.len()),
        (&[0, 48][..], &[0, 48][..], 48)
    );
    let ephemeral = [&[4], x, y].concat();
    let own = p384().compute_public_key().unwrap();
    let point = UnparsedPublicKey::new(&ECDH_P384, ephemeral);
    let seed = agree(&p384(), point, (), |z| {
        let input = [&[0, 0, 0, 1], z, b"IDENTITY\0", x, &own.as_ref()[1..49]].concat();
        Ok(sha2::Sha384::digest(input).to_vec())
    });
    assert_eq!(unprotect(&credential.blob, &seed.unwrap(), 48), SECRET);
}

#[test]
fn step_06_the_tpm_of_an_rsa_key_reads_the_secret() {
    for (size, hash, oaep) in [
        (KeySize::Rsa2048, 32, &OAEP_SHA256_MGF1SHA256),
        (KeySize::Rsa3072, 48, &OAEP_SHA384_MGF1SHA384),
    ] {
        let private = PrivateDecryptingKey::generate(size).unwrap();
        let ek = endorsed(public_of(&private), 2);
        let credential = made(&ek);
        let seed = decrypt(private, oaep, &credential.encrypted_secret);
        let mut drawn = vec![0; hash];
        SeededRandom::new(1).fill(&mut drawn);
        assert_eq!(
            seed, drawn,
            "the seed is as long as the hash of the template's name"
        );
        assert_eq!(unprotect(&credential.blob, &seed, hash), SECRET);
    }
}

/// The SubjectPublicKeyInfo.
fn public_of(private: &PrivateDecryptingKey) -> Vec<u8> {
    let public: PublicKeyX509Der<'_> = private.public_key().as_der().unwrap();
    public.as_ref().to_vec()
}

fn decrypt(
    private: PrivateDecryptingKey,
    oaep: &'static OaepAlgorithm,
    encrypted: &[u8],
) -> Vec<u8> {
    let key = OaepPrivateDecryptingKey::new(private).unwrap();
    let mut plain = vec![0; key.min_output_size()];
    let seed = key
        .decrypt(oaep, encrypted, &mut plain, Some(b"IDENTITY\0"))
        .unwrap();
    seed.to_vec()
}

/// TPM2_ActivateCredential from the seed on: the outer HMAC, then the identity (TPM 2.0 Part 1 section 24).
fn unprotect(blob: &[u8], seed: &[u8], hash: usize) -> Vec<u8> {
    let name = ak_name();
    let (size, rest) = blob.split_at(2);
    assert_eq!(usize::from(size[0]) * 256 + usize::from(size[1]), hash);
    let (outer, identity) = rest.split_at(hash);
    let bits = |bits: u32| bits.to_be_bytes();
    let one = [0, 0, 0, 1];
    let integrity = [&one[..], b"INTEGRITY\0", &bits(hash as u32 * 8)].concat();
    let integrity = hmac(hash, seed, &integrity);
    assert_eq!(
        outer,
        hmac(hash, &integrity, &[identity, name.as_bytes()].concat())
    );
    let cipher_bits = if hash == 32 { 128 } else { 256 };
    let storage = [&one[..], b"STORAGE\0", name.as_bytes(), &bits(cipher_bits)].concat();
    let storage = &hmac(hash, seed, &storage)[..cipher_bits as usize / 8];
    let plain = cfb_decrypt(storage, identity);
    assert_eq!(plain[..2], [0, 32]);
    plain[2..].to_vec()
}

/// HMAC from the definition (RFC 2104).
fn hmac(hash: usize, key: &[u8], message: &[u8]) -> Vec<u8> {
    let block = if hash == 32 { 64 } else { 128 };
    let digest = |bytes: Vec<u8>| {
        if hash == 32 {
            Sha256::digest(bytes).to_vec()
        } else {
            sha2::Sha384::digest(bytes).to_vec()
        }
    };
    let mut key = key.to_vec();
    key.resize(block, 0);
    let pad = |byte: u8| key.iter().map(|k| k ^ byte).collect::<Vec<u8>>();
    let inner = digest([pad(0x36), message.to_vec()].concat());
    digest([pad(0x5c), inner].concat())
}

/// CFB with full blocks and a zero IV, from the block cipher alone (SP 800-38A section 6.3).
fn cfb_decrypt(key: &[u8], cipher: &[u8]) -> Vec<u8> {
    use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, UnboundCipherKey};
    let algorithm = if key.len() == 16 { &AES_128 } else { &AES_256 };
    let mut feedback = [0; 16];
    let mut plain = vec![];
    for part in cipher.chunks(16) {
        let key = UnboundCipherKey::new(algorithm, key).unwrap();
        EncryptingKey::ecb(key)
            .unwrap()
            .encrypt(&mut feedback)
            .unwrap();
        plain.extend(part.iter().zip(feedback).map(|(c, k)| c ^ k));
        feedback[..part.len()].copy_from_slice(part);
    }
    plain
}

#[test]
fn step_06_a_credential_is_for_one_attestation_key_and_one_secret() {
    let ek = p256_ek();
    let of = |name: [u8; 32], secret: &[u8; 32]| {
        let name = Name::from_digest(name);
        make_credential(&ek, &name, secret, &SeededRandom::new(1)).unwrap()
    };
    let first = of([1; 32], &SECRET);
    assert_eq!(first, of([1; 32], &SECRET));
    assert_ne!(first.blob, of([2; 32], &SECRET).blob);
    assert_ne!(first.blob, of([1; 32], &[0x5f; 32]).blob);
    assert_eq!(format!("{first:?}"), "Credential");
}

#[test]
fn step_06_a_size_without_a_template_gets_no_credential() {
    let ek = endorsed(rsa_spki(&modulus(2560), &[1, 0, 1]), 2);
    let credential = make_credential(&ek, &ak_name(), &SECRET, &SeededRandom::new(1));
    assert_eq!(credential.err(), Some(EvidenceError::Credential));
}

/// Randomness that never fits the curve.
struct Ones;

impl Random for Ones {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0xff);
    }
}

#[test]
fn step_06_broken_randomness_makes_no_endless_loop() {
    let credential = make_credential(&p256_ek(), &ak_name(), &SECRET, &Ones);
    assert_eq!(credential.err(), Some(EvidenceError::Credential));
}
