//! The proto JSON of the calls that a device signs, as `grpcurl -d @` reads it (protobuf.dev, ProtoJSON): lowerCamelCase names,
//! bytes in standard base64, enums by name, empty optional fields left out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use upkeep::rpc::v1;
use upkeep::rpc::v1::credential::Secret;
use upkeep::rpc::v1::device_key::Key;

/// The body of Activate. It carries the credential.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Activate {
    request_id: String,
    challenge: String,
    serial: String,
    credential: Option<Credential>,
    device_key: Option<DeviceKey>,
    product_id: String,
    version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    release_manifest: String,
    virtual_environment: &'static str,
    signature: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    virtual_machine_hints: Vec<String>,
}

/// The body of RedeemUpgradeCode. It carries the code.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Redeem {
    request_id: String,
    serial: String,
    code: String,
    version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    release_manifest: String,
    virtual_environment: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_key: Option<DeviceKey>,
    #[serde(skip_serializing_if = "String::is_empty")]
    challenge: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    signature: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    dongle_number: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    virtual_machine_hints: Vec<String>,
}

/// The body of Deactivate.
#[derive(Serialize)]
pub(super) struct Deactivate {
    proof: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Credential {
    Password(String),
    ActivationCode(String),
    ProductCode(String),
    DongleNumber(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum DeviceKey {
    SoftwareSpki(String),
    DeviceId(String),
}

impl From<v1::ActivateRequest> for Activate {
    fn from(request: v1::ActivateRequest) -> Self {
        Self {
            virtual_environment: request.virtual_environment().as_str_name(),
            request_id: request.request_id,
            challenge: STANDARD.encode(request.challenge),
            serial: request.serial,
            credential: request.credential.and_then(credential),
            device_key: request.device_key.and_then(device_key),
            product_id: request.product_id,
            version: request.version,
            release_manifest: request.release_manifest,
            signature: STANDARD.encode(request.signature),
            virtual_machine_hints: request.virtual_machine_hints,
        }
    }
}

impl From<v1::RedeemUpgradeCodeRequest> for Redeem {
    fn from(request: v1::RedeemUpgradeCodeRequest) -> Self {
        Self {
            virtual_environment: request.virtual_environment().as_str_name(),
            request_id: request.request_id,
            serial: request.serial,
            code: request.code,
            version: request.version,
            release_manifest: request.release_manifest,
            device_key: request.device_key.and_then(device_key),
            challenge: STANDARD.encode(request.challenge),
            signature: STANDARD.encode(request.signature),
            dongle_number: request.dongle_number,
            virtual_machine_hints: request.virtual_machine_hints,
        }
    }
}

impl From<v1::DeactivateRequest> for Deactivate {
    fn from(request: v1::DeactivateRequest) -> Self {
        Self {
            proof: request.proof,
        }
    }
}

fn credential(credential: v1::Credential) -> Option<Credential> {
    credential.secret.map(|secret| match secret {
        Secret::Password(text) => Credential::Password(text),
        Secret::ActivationCode(text) => Credential::ActivationCode(text),
        Secret::ProductCode(text) => Credential::ProductCode(text),
        Secret::DongleNumber(text) => Credential::DongleNumber(text),
    })
}

fn device_key(key: v1::DeviceKey) -> Option<DeviceKey> {
    key.key.map(|key| match key {
        Key::SoftwareSpki(der) => DeviceKey::SoftwareSpki(STANDARD.encode(der)),
        Key::DeviceId(id) => DeviceKey::DeviceId(id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activate_is_proto_json() {
        let request = v1::ActivateRequest {
            request_id: "0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11".to_owned(),
            challenge: vec![0xfb, 0xff],
            serial: "LS-1000".to_owned(),
            credential: Some(v1::Credential {
                secret: Some(Secret::ActivationCode("A".to_owned())),
            }),
            device_key: Some(v1::DeviceKey {
                key: Some(Key::SoftwareSpki(vec![1, 2, 3, 4])),
            }),
            product_id: "label-studio".to_owned(),
            version: "10.0".to_owned(),
            release_manifest: String::new(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            signature: vec![0; 3],
            virtual_machine_hints: vec!["dmi-vendor:QEMU".to_owned()],
        };
        let json = serde_json::to_value(Activate::from(request)).expect("json");
        assert_eq!(
            json,
            serde_json::json!({
                "requestId": "0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11",
                "challenge": "+/8=",
                "serial": "LS-1000",
                "credential": { "activationCode": "A" },
                "deviceKey": { "softwareSpki": "AQIDBA==" },
                "productId": "label-studio",
                "version": "10.0",
                "virtualEnvironment": "VIRTUAL_ENVIRONMENT_NO",
                "signature": "AAAA",
                "virtualMachineHints": ["dmi-vendor:QEMU"],
            })
        );
    }

    #[test]
    fn redeem_leaves_out_what_is_empty() {
        let request = v1::RedeemUpgradeCodeRequest {
            serial: "LS-1000".to_owned(),
            virtual_environment: v1::VirtualEnvironment::Yes.into(),
            ..v1::RedeemUpgradeCodeRequest::default()
        };
        let json = serde_json::to_value(Redeem::from(request)).expect("json");
        assert_eq!(
            json,
            serde_json::json!({
                "requestId": "", "serial": "LS-1000", "code": "", "version": "",
                "virtualEnvironment": "VIRTUAL_ENVIRONMENT_YES",
            })
        );
    }
}
