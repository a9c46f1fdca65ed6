//! Parts of requests that several services share.

use prost::Message;
use upkeep::armor;
use upkeep::artefact::{DeactivationProof, HardwareProof};
use upkeep::code::Code;
use upkeep::date::CivilDate;
use upkeep::id::{
    ActivationId, DeviceId, DongleNumber, LicenseType, ProductId, RequestId, UpgradeId,
};
use upkeep::key::{PublicKey, Thumbprint};
use upkeep::rpc::v1;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;
use zeroize::Zeroizing;

use super::fields::{Fields, email, text};
use crate::domain::license::VirtualEnvironment;
use crate::domain::refusal::Refusal;
use crate::flow::activate::Build;
use crate::flow::authenticate::Credential;
use crate::flow::deactivate::Proof;
use crate::flow::enrolled::DeviceKey;
use crate::flow::read::Page;
use crate::flow::update_request;

/// A field of one kind, required.
impl Fields {
    pub(super) fn serial(&mut self, text: &str) -> Option<SerialNumber> {
        self.required("serial", text, SerialNumber::parse)
    }

    pub(super) fn request_id(&mut self, text: &str) -> Option<RequestId> {
        self.required("request_id", text, RequestId::parse)
    }

    pub(super) fn optional_request_id(&mut self, text: &str) -> Option<Option<RequestId>> {
        self.optional("request_id", text, RequestId::parse)
    }

    pub(super) fn activation_id(&mut self, text: &str) -> Option<ActivationId> {
        self.required("activation_id", text, ActivationId::parse)
    }

    pub(super) fn update_request_id(&mut self, text: &str) -> Option<UpgradeId> {
        self.required("update_request_id", text, UpgradeId::parse)
    }

    pub(super) fn reason(&mut self, value: &str) -> Option<String> {
        self.required("reason", value, |value| text(value, 1, 500))
    }

    pub(super) fn date(&mut self, field: &str, value: &str) -> Option<CivilDate> {
        self.required(field, value, CivilDate::parse)
    }

    pub(super) fn challenge(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        match bytes.len() {
            0 => self.missing("challenge"),
            1..=64 => return Some(bytes.to_vec()),
            _ => self.wrong(
                "challenge",
                "has at most 64 bytes; send back what CreateChallenge gave",
            ),
        }
        None
    }

    pub(super) fn signature(&mut self, bytes: &[u8]) -> Option<[u8; 64]> {
        self.fixed_signature("signature", bytes)
    }

    pub(super) fn fixed_signature(&mut self, field: &str, bytes: &[u8]) -> Option<[u8; 64]> {
        if bytes.is_empty() {
            self.missing(field);
            return None;
        }
        let fixed: Result<[u8; 64], _> = bytes.try_into();
        self.parsed(
            field,
            fixed.map_err(|_| "must be the 64 bytes r||s of an ECDSA P-256 signature"),
        )
    }

    pub(super) fn device_key(&mut self, key: Option<&v1::DeviceKey>) -> Option<DeviceKey> {
        match key.and_then(|key| key.key.as_ref()) {
            None => {
                self.missing("device_key");
                None
            }
            Some(v1::device_key::Key::SoftwareSpki(der)) => self
                .parsed("device_key.software_spki", PublicKey::from_spki_der(der))
                .map(DeviceKey::Software),
            Some(v1::device_key::Key::DeviceId(id)) => self
                .required("device_key.device_id", id, DeviceId::parse)
                .map(DeviceKey::Enrolled),
        }
    }

    pub(super) fn virtual_environment(
        &mut self,
        field: &str,
        number: i32,
    ) -> Option<VirtualEnvironment> {
        self.choice(
            field,
            number,
            |number| match v1::VirtualEnvironment::try_from(number).ok()? {
                v1::VirtualEnvironment::Unspecified => None,
                v1::VirtualEnvironment::No => Some(VirtualEnvironment::No),
                v1::VirtualEnvironment::Yes => Some(VirtualEnvironment::Yes),
            },
        )
    }

    /// What a client saw of a virtual machine: at most 8 texts of 1 to 64 printable ASCII characters. They go on record and into
    /// answers, so they can't be anything else.
    pub(super) fn virtual_machine_hints(&mut self, hints: &[String]) -> Option<Vec<String>> {
        const FIELD: &str = "virtual_machine_hints";
        let is_plain = |hint: &String| {
            (1..=64).contains(&hint.len())
                && hint.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        };
        if hints.len() > 8 {
            self.wrong(FIELD, "has at most 8 entries");
        } else if !hints.iter().all(is_plain) {
            self.wrong(FIELD, "each has 1 to 64 printable ASCII characters");
        } else {
            return Some(hints.to_vec());
        }
        None
    }

    /// A credential that must be there.
    pub(super) fn credential(&mut self, credential: Option<&v1::Credential>) -> Option<Credential> {
        match self.optional_credential(credential)? {
            Some(credential) => Some(credential),
            None => {
                self.missing("credential");
                None
            }
        }
    }

    /// A credential that may be missing; an empty secret is a missing one.
    pub(super) fn optional_credential(
        &mut self,
        credential: Option<&v1::Credential>,
    ) -> Option<Option<Credential>> {
        use v1::credential::Secret;
        let parsed = match credential.and_then(|credential| credential.secret.as_ref()) {
            None => return Some(None),
            Some(
                Secret::Password(secret)
                | Secret::ActivationCode(secret)
                | Secret::ProductCode(secret),
            ) if secret.is_empty() => {
                return Some(None);
            }
            Some(Secret::Password(password)) => {
                let password = text(password, 1, 128)
                    .map(|password| Credential::Password(Zeroizing::new(password)));
                self.parsed("credential.password", password)
            }
            Some(Secret::ActivationCode(code)) => self
                .parsed("credential.activation_code", Code::parse(code))
                .map(Credential::ActivationCode),
            Some(Secret::ProductCode(code)) => self
                .parsed("credential.product_code", Code::parse(code))
                .map(Credential::ProductCode),
            Some(Secret::DongleNumber(number)) => self
                .dongle("credential.dongle_number", number)
                .map(Credential::DongleNumber),
        };
        parsed.map(Some)
    }

    /// Dongle numbers are kept in lower case.
    pub(super) fn dongle(&mut self, field: &str, number: &str) -> Option<DongleNumber> {
        self.required(
            field,
            &number.trim().to_ascii_lowercase(),
            DongleNumber::parse,
        )
    }

    pub(super) fn build(
        &mut self,
        product: Option<ProductId>,
        version: &str,
        manifest: &str,
    ) -> Option<Build> {
        let version = self.required("version", version, Version::parse);
        let manifest = self.optional("release_manifest", manifest, |text| {
            armor::read_either::<upkeep::artefact::ReleaseManifest>(text)
        });
        Some(Build {
            product: product?,
            version: version?,
            manifest: manifest?,
        })
    }

    /// A proof of either kind, bare or in its file. A JWS has dots, base64url has none.
    pub(super) fn proof(&mut self, proof: &str) -> Option<Proof> {
        let is_signed = match armor::read_bytes(proof.as_bytes()) {
            Ok((label, _)) => label != armor::Label::HardwareProof,
            Err(armor::ArmorError::NoBlock) => proof.contains('.'),
            Err(_) => true,
        };
        if is_signed || proof.is_empty() {
            let read = self.required("proof", proof, armor::read_either::<DeactivationProof>);
            return read.map(Proof::Signed);
        }
        let read = HardwareProof::read_either(proof);
        self.parsed("proof", read).map(Proof::Counter)
    }

    pub(super) fn page(&mut self, size: i32, token: &str) -> Option<Page> {
        let size = match usize::try_from(size) {
            Err(_) => {
                self.wrong("page_size", "must not be negative");
                return None;
            }
            Ok(0) => 50,
            Ok(size) => size.min(500),
        };
        if token.len() > 512 {
            self.wrong("page_token", "is not one that this server gave");
            return None;
        }
        Some(Page {
            size,
            token: token.to_owned(),
        })
    }
}

/// A CreateUpdateRequest of a customer or a partner. Missing fields are the flow's to tell: which are needed depends on the license.
pub(super) fn update_request(
    mut fields: Fields,
    serial: &str,
    credential: Option<&v1::Credential>,
    details: Option<&v1::UpdateRequestDetails>,
    body: Vec<u8>,
) -> Result<update_request::Request, Refusal> {
    let default = v1::UpdateRequestDetails::default();
    let details = details.unwrap_or(&default);
    let serial = fields.serial(serial);
    let credential = fields.optional_credential(credential);
    let address = fields.optional("details.email", &details.email, email);
    let vm = match details.virtual_environment {
        0 => Some(None),
        number => fields
            .virtual_environment("details.virtual_environment", number)
            .map(Some),
    };
    let license_type = fields.optional(
        "details.license_type",
        &details.license_type,
        LicenseType::parse,
    );
    let target = fields.optional(
        "details.target_version",
        &details.target_version,
        Version::parse,
    );
    let device = fields.optional(
        "details.device_thumbprint",
        &details.device_thumbprint,
        Thumbprint::parse,
    );
    fields.finish(|| {
        Some(update_request::Request {
            serial: serial?,
            credential: credential?,
            email: address?,
            vm: vm?,
            license_type: license_type?,
            target: target?,
            device: device?,
            body,
        })
    })
}

/// The content of a request, for telling a retry from another one: the caller clears what a retry makes afresh.
pub(super) fn body(request: &impl Message) -> Vec<u8> {
    request.encode_to_vec()
}

/// A page of what belongs to one license.
pub(super) fn page_of_license(
    serial: &str,
    size: i32,
    token: &str,
) -> Result<(SerialNumber, Page), Refusal> {
    let mut fields = Fields::new();
    let serial = fields.serial(serial);
    let page = fields.page(size, token);
    fields.finish(|| Some((serial?, page?)))
}

/// A page of a whole listing.
pub(super) fn page(size: i32, token: &str) -> Result<Page, Refusal> {
    let mut fields = Fields::new();
    let page = fields.page(size, token);
    fields.finish(|| page)
}
