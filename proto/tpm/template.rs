//! Reference values: the public areas that a client asks its TPM for and a server expects.
//!
//! Endorsement keys follow the TCG EK Credential Profile for TPM Family 2.0, version 2.3; the others are ours. A template is a public area
//! whose unique part is what goes into the derivation of a primary key; the TPM answers with the key there.

use super::{
    Attributes, NvPublic, Public, PublicKeyArea, Scheme, Symmetric, alg, curve, nv_attributes,
    policy,
};
use crate::binding::b;

/// Which endorsement key a TPM has: its certificate tells, and its template gives it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EkKind {
    /// Template L-1: RSA-2048, SHA-256, AES-128.
    Rsa2048,
    /// Template L-2: P-256, SHA-256, AES-128.
    P256,
    /// Template H-3: P-384, SHA-384, AES-256.
    P384,
}

impl EkKind {
    /// Every kind, in the order in which a client looks for a certificate.
    pub const ALL: [Self; 3] = [Self::Rsa2048, Self::P256, Self::P384];

    /// The NV index of its certificate. Source: TCG EK Credential Profile section 2.2.1.4.
    pub fn nv_index(self) -> u32 {
        match self {
            Self::Rsa2048 => 0x01c0_0002,
            Self::P256 => 0x01c0_000a,
            Self::P384 => 0x01c0_0016,
        }
    }

    /// Its template. Source: TCG EK Credential Profile sections B.3.3, B.3.4 and B.4.5.
    pub fn template(self) -> Public {
        match self {
            Self::Rsa2048 => Public {
                name_alg: alg::SHA256,
                attributes: EK_LOW,
                auth_policy: policy::secret_endorsement().to_vec(),
                key: PublicKeyArea::Rsa {
                    symmetric: Symmetric::AES_128_CFB,
                    scheme: Scheme::Null,
                    key_bits: 2048,
                    exponent: 0,
                    modulus: vec![0; 256],
                },
            },
            Self::P256 => Public {
                name_alg: alg::SHA256,
                attributes: EK_LOW,
                auth_policy: policy::secret_endorsement().to_vec(),
                key: storage(Symmetric::AES_128_CFB, curve::P256, vec![0; 32]),
            },
            Self::P384 => Public {
                name_alg: alg::SHA384,
                attributes: EK_LOW.with(Attributes::USER_WITH_AUTH),
                auth_policy: POLICY_B_SHA384.to_vec(),
                key: storage(Symmetric::AES_256_CFB, curve::P384, Vec::new()),
            },
        }
    }
}

/// The attestation key of a vendor: a primary key of the endorsement hierarchy. The vendor's label goes into its derivation, so
/// it is the same at every call, survives TPM2_Clear, and tells vendors nothing about each other's customers.
///
/// * `vendor` - the programme's vendor label, the same for ever.
pub fn attestation_key(vendor: &str) -> Public {
    Public {
        name_alg: alg::SHA256,
        attributes: BORN_HERE
            .with(Attributes::USER_WITH_AUTH)
            .with(Attributes::NO_DA)
            .with(Attributes::RESTRICTED)
            .with(Attributes::SIGN),
        auth_policy: Vec::new(),
        key: signing(
            b("attestation-key", &[vendor.as_bytes()]).to_vec(),
            vec![0; 32],
        ),
    }
}

/// The storage root key of the owner hierarchy, the parent of device keys: P-256. Source: TCG TPM v2.0 Provisioning Guidance section 7.5.1.
pub fn storage_root() -> Public {
    Public {
        name_alg: alg::SHA256,
        attributes: BORN_HERE
            .with(Attributes::USER_WITH_AUTH)
            .with(Attributes::NO_DA)
            .with(Attributes::RESTRICTED)
            .with(Attributes::DECRYPT),
        auth_policy: Vec::new(),
        key: storage(Symmetric::AES_128_CFB, curve::P256, vec![0; 32]),
    }
}

/// A device key: it signs while its policy holds, and no password opens it.
///
/// ADMIN_WITH_POLICY is clear, so the empty password lets it be certified. Being certified is no secret, and a policy for that role
/// would have to name the command (TPM 2.0 Part 1 section 19.3): the key's policy would no longer be PolicyNV alone.
///
/// * `policy` - [`policy::nv_equal`] of the counter and its value.
pub fn device_key(policy: [u8; 32]) -> Public {
    Public {
        name_alg: alg::SHA256,
        attributes: BORN_HERE.with(Attributes::NO_DA).with(Attributes::SIGN),
        auth_policy: policy.to_vec(),
        key: signing(Vec::new(), Vec::new()),
    }
}

/// The counter of an activation: 8 bytes that only grow, for whoever may use the TPM.
///
/// * `index` - from [`counter_index`].
/// * `written` - whether it was incremented since it was defined; an enrolled one was.
pub fn counter(index: u32, written: bool) -> NvPublic {
    let written = if written { nv_attributes::WRITTEN } else { 0 };
    NvPublic {
        index,
        name_alg: alg::SHA256,
        attributes: nv_attributes::OWNERREAD
            | nv_attributes::OWNERWRITE
            | nv_attributes::AUTHREAD
            | nv_attributes::AUTHWRITE
            | nv_attributes::NO_DA
            | nv_attributes::NT_COUNTER
            | written,
        auth_policy: Vec::new(),
        data_size: 8,
    }
}

/// Where a license's counter stands, in the range of the owner, `0x01800000` to `0x01BFFFFF` (TCG Registry of Reserved TPM 2.0 Handles).
///
/// * `attempt` - 0, then 1 and so on while another's index stands there.
pub fn counter_index(vendor: &str, serial: &str, attempt: u32) -> u32 {
    let index = owner_index(b(
        "counter",
        &[vendor.as_bytes(), serial.as_bytes(), &attempt.to_be_bytes()],
    ));
    if is_shared(index) {
        index & !OWN_RANGE
    } else {
        index
    }
}

/// Where the one counter stands that all licenses of a vendor share in a TPM with few counters, from `0x01BF0000` to `0x01BFFFFF`.
pub fn shared_counter_index(vendor: &str) -> u32 {
    SHARED_RANGE | owner_index(b("shared-counter", &[vendor.as_bytes()]))
}

/// Whether a counter there is one that licenses share: those have a range of their own, so that each side can tell.
pub fn is_shared(index: u32) -> bool {
    index & SHARED_RANGE == SHARED_RANGE
}

const SHARED_RANGE: u32 = 0x01BF_0000;
/// Without this bit an index is no shared one.
const OWN_RANGE: u32 = 0x0020_0000;

/// Made inside this TPM, never to leave it.
const BORN_HERE: Attributes = Attributes::FIXED_TPM
    .with(Attributes::FIXED_PARENT)
    .with(Attributes::SENSITIVE_DATA_ORIGIN);

/// What an endorsement key of the low range has.
const EK_LOW: Attributes = BORN_HERE
    .with(Attributes::ADMIN_WITH_POLICY)
    .with(Attributes::RESTRICTED)
    .with(Attributes::DECRYPT);

/// PolicyB with SHA-384, the policy of the EKs of the high range. Source: TCG EK Credential Profile section B.6.6.
const POLICY_B_SHA384: [u8; 48] = [
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a,
    0x07, 0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca,
    0xcb, 0x47, 0xba, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
];

fn storage(symmetric: Symmetric, curve: u16, unique: Vec<u8>) -> PublicKeyArea {
    PublicKeyArea::Ecc {
        symmetric,
        scheme: Scheme::Null,
        curve,
        x: unique.clone(),
        y: unique,
    }
}

fn signing(x: Vec<u8>, y: Vec<u8>) -> PublicKeyArea {
    PublicKeyArea::Ecc {
        symmetric: Symmetric::Null,
        scheme: Scheme::Ecdsa(alg::SHA256),
        curve: curve::P256,
        x,
        y,
    }
}

fn owner_index(hash: [u8; 32]) -> u32 {
    let [a, b, c, d, ..] = hash;
    OWNER_FIRST | u32::from_be_bytes([a, b, c, d]) & OWNER_MASK
}

const OWNER_FIRST: u32 = 0x0180_0000;
const OWNER_MASK: u32 = 0x003f_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_public_areas() {
        for kind in EkKind::ALL {
            let template = kind.template();
            assert_eq!(Public::parse(&template.to_bytes()), Ok(template));
        }
        for template in [attestation_key("acme"), storage_root(), device_key([7; 32])] {
            assert_eq!(Public::parse(&template.to_bytes()), Ok(template));
        }
    }

    #[test]
    fn attributes_are_those_of_the_profile() {
        let bits = EkKind::ALL.map(|kind| kind.template().attributes.bits());
        assert_eq!(bits, [0x0003_00b2, 0x0003_00b2, 0x0003_00f2]);
        assert_eq!(attestation_key("acme").attributes.bits(), 0x0005_0472);
        assert_eq!(storage_root().attributes.bits(), 0x0003_0472);
        assert_eq!(device_key([0; 32]).attributes.bits(), 0x0004_0432);
        assert_eq!(counter(0x0180_0000, false).attributes, 0x0206_0016);
        assert_eq!(counter(0x0180_0000, true).attributes, 0x2206_0016);
    }

    #[test]
    fn vendors_and_licenses_have_their_own() {
        assert_ne!(attestation_key("acme"), attestation_key("other"));
        let index = counter_index("acme", "S1", 0);
        assert_ne!(index, counter_index("acme", "S1", 1));
        assert_ne!(index, counter_index("acme", "S2", 0));
        assert_ne!(index, counter_index("other", "S1", 0));
        for index in [index, shared_counter_index("acme")] {
            assert!((0x0180_0000..=0x01bf_ffff).contains(&index), "{index:#x}");
        }
    }

    #[test]
    fn what_is_shared_can_be_told_by_its_place() {
        let mut moved = 0;
        for serial in 0..1_000 {
            let serial = serial.to_string();
            let index = counter_index("acme", &serial, 0);
            assert!(!is_shared(index), "{index:#x}");
            assert!(is_shared(shared_counter_index(&serial)));
            moved += u32::from(is_shared(index | OWN_RANGE));
        }
        assert_ne!(moved, 0, "some were out of their range");
    }

    #[test]
    fn what_an_installation_derives_is_frozen() {
        assert_eq!(counter_index("acme", "S1", 0), 0x01a0_0b5e);
        assert_eq!(shared_counter_index("acme"), 0x01bf_5bd5);
        assert_eq!(
            attestation_key("acme").name().to_string(),
            "000bff21730af79a19dbdab25cb04489f77a7e13fcd1748b5e71e4bb7782b4648926"
        );
    }
}
