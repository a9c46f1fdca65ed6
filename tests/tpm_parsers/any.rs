//! Any value of each structure within its bounds, and ways to damage the bytes of one.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use upkeep::artefact::HardwareProof;
use upkeep::id::ActivationId;
use upkeep::tpm::{
    Attest, Attested, Attributes, ClockInfo, NvPublic, Public, PublicKeyArea, Scheme, Signature,
    Symmetric, alg, curve,
};

pub(crate) fn public() -> impl Strategy<Value = Public> {
    let key = prop_oneof![
        (
            symmetric(),
            select(vec![None, Some(alg::ECDSA)]),
            hash(),
            select(vec![curve::P256, curve::P384]),
            bytes(66),
            bytes(66)
        )
            .prop_map(
                |(symmetric, scheme, hash, curve, x, y)| PublicKeyArea::Ecc {
                    symmetric,
                    scheme: scheme.map_or(Scheme::Null, |_| Scheme::Ecdsa(hash)),
                    curve,
                    x,
                    y,
                }
            ),
        (
            symmetric(),
            select(vec![
                Scheme::Null,
                Scheme::Rsassa(alg::SHA256),
                Scheme::Rsapss(alg::SHA384)
            ]),
            any::<u16>(),
            any::<u32>(),
            bytes(512)
        )
            .prop_map(|(symmetric, scheme, key_bits, exponent, modulus)| {
                PublicKeyArea::Rsa {
                    symmetric,
                    scheme,
                    key_bits,
                    exponent,
                    modulus,
                }
            }),
    ];
    (hash(), any::<u32>(), bytes(64), key).prop_map(|(name_alg, bits, auth_policy, key)| Public {
        name_alg,
        attributes: Attributes::parse(bits & OBJECT_BITS).unwrap(),
        auth_policy,
        key,
    })
}

pub(crate) fn attest() -> impl Strategy<Value = Attest> {
    let body = prop_oneof![
        (bytes(66), bytes(66)).prop_map(|(name, qualified_name)| Attested::Certify {
            name,
            qualified_name
        }),
        (bytes(66), any::<u16>(), bytes(1024)).prop_map(|(index_name, offset, contents)| {
            Attested::Nv {
                index_name,
                offset,
                contents,
            }
        }),
    ];
    let clock = (any::<u64>(), any::<u32>(), any::<u32>(), any::<bool>()).prop_map(
        |(clock, reset_count, restart_count, safe)| ClockInfo {
            clock,
            reset_count,
            restart_count,
            safe,
        },
    );
    (bytes(66), bytes(66), clock, any::<u64>(), body).prop_map(
        |(qualified_signer, extra_data, clock, firmware, body)| Attest {
            qualified_signer,
            extra_data,
            clock,
            firmware,
            body,
        },
    )
}

pub(crate) fn signature() -> impl Strategy<Value = Signature> {
    prop_oneof![
        (hash(), bytes(66), bytes(66)).prop_map(|(hash, r, s)| Signature::Ecdsa { hash, r, s }),
        (hash(), bytes(512)).prop_map(|(hash, signature)| Signature::Rsassa { hash, signature }),
        (hash(), bytes(512)).prop_map(|(hash, signature)| Signature::Rsapss { hash, signature }),
    ]
}

pub(crate) fn nv_public() -> impl Strategy<Value = NvPublic> {
    (
        0_u32..0x0100_0000,
        hash(),
        any::<u32>(),
        select(vec![0, 1, 2, 4, 8, 9]),
        bytes(64),
        any::<u16>(),
    )
        .prop_map(
            |(index, name_alg, bits, kind, auth_policy, data_size)| NvPublic {
                index: 0x0100_0000 | index,
                name_alg,
                attributes: bits & NV_BITS | kind << 4,
                auth_policy,
                data_size,
            },
        )
}

pub(crate) fn proof() -> impl Strategy<Value = HardwareProof> {
    (
        any::<[u8; 16]>(),
        proptest::option::of("[A-Za-z0-9_.-]{1,300}"),
        attest().prop_filter("the part is bounded", |attest| {
            attest.to_bytes().len() <= 1024
        }),
        signature(),
    )
        .prop_map(|(id, ticket, attest, signature)| HardwareProof {
            activation_id: ActivationId::from_slice(&id).unwrap(),
            ticket,
            attest: attest.to_bytes(),
            signature: signature.to_bytes(),
        })
}

/// Something that happens to bytes.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    /// Other bits at a place.
    Flip(usize, u8),
    /// An end before its time.
    Truncate(usize),
    /// A byte twice.
    Repeat(usize),
    /// A byte missing.
    Remove(usize),
    /// A byte more.
    Append(u8),
}

pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    // Structures are shorter than this; `of` takes a place modulo the length.
    let at = any::<Index>().prop_map(|at| at.index(1 << 20));
    prop_oneof![
        (at.clone(), 1_u8..).prop_map(|(at, flip)| Damage::Flip(at, flip)),
        at.clone().prop_map(Damage::Truncate),
        at.clone().prop_map(Damage::Repeat),
        at.prop_map(Damage::Remove),
        any::<u8>().prop_map(Damage::Append),
    ]
}

impl Damage {
    /// The damaged bytes.
    pub(crate) fn of(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let count = bytes.len();
        match *self {
            Self::Flip(at, flip) => bytes[at % count] ^= flip,
            Self::Truncate(at) => bytes.truncate(at % count),
            Self::Repeat(at) => bytes.insert(at % count, bytes[at % count]),
            Self::Remove(at) => {
                bytes.remove(at % count);
            }
            Self::Append(byte) => bytes.push(byte),
        }
        bytes
    }
}

/// One statement of each kind.
pub(crate) fn attests() -> [Attest; 2] {
    [
        Attested::Certify {
            name: vec![1; 34],
            qualified_name: vec![2; 34],
        },
        Attested::Nv {
            index_name: vec![1; 34],
            offset: 0,
            contents: 7_u64.to_be_bytes().to_vec(),
        },
    ]
    .map(|body| Attest {
        qualified_signer: vec![3; 34],
        extra_data: vec![4; 32],
        clock: ClockInfo {
            clock: 5,
            reset_count: 6,
            restart_count: 7,
            safe: true,
        },
        firmware: 8,
        body,
    })
}

/// One signature of each scheme, as short as will do.
pub(crate) fn signatures() -> [Signature; 3] {
    let hash = alg::SHA256;
    [
        Signature::Ecdsa {
            hash,
            r: vec![1; 32],
            s: vec![2; 32],
        },
        Signature::Rsassa {
            hash,
            signature: vec![3; 40],
        },
        Signature::Rsapss {
            hash,
            signature: vec![3; 40],
        },
    ]
}

/// A proof with a ticket.
pub(crate) fn sample_proof() -> HardwareProof {
    let [_, attest] = attests();
    let [signature, ..] = signatures();
    HardwareProof {
        activation_id: ActivationId::from_slice(&[5; 16]).unwrap(),
        ticket: Some("e30.e30.c2ln".to_owned()),
        attest: attest.to_bytes(),
        signature: signature.to_bytes(),
    }
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..=max),
        Just(Vec::new()),
        Just(vec![0xff; max])
    ]
}

fn hash() -> impl Strategy<Value = u16> {
    select(vec![alg::SHA1, alg::SHA256, alg::SHA384])
}

fn symmetric() -> impl Strategy<Value = Symmetric> {
    select(vec![
        Symmetric::Null,
        Symmetric::AES_128_CFB,
        Symmetric::AES_256_CFB,
    ])
}

/// What TPMA_OBJECT and TPMA_NV do not reserve, the type of an index aside (TPM 2.0 Part 2 sections 8.3 and 13.4).
const OBJECT_BITS: u32 = 0x000f_0cf6;
const NV_BITS: u32 = 0xfe0f_fc0f;
