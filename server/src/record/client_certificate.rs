//! Stored client certificates and withdrawals.

use super::wire::{Bad, array, from_micros};
use super::{Record, keys};
use crate::pki::withdrawn::{ClientCertificate, WithdrawnHolder};
use crate::pki::{Identity, Role};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ClientCertificateWire {
    #[prost(string, tag = "1")]
    role: String,
    #[prost(string, tag = "2")]
    id: String,
    #[prost(string, tag = "3")]
    serial_number: String,
    #[prost(bytes = "vec", tag = "4")]
    sha256: Vec<u8>,
    #[prost(int64, tag = "5")]
    issued_at: i64,
    #[prost(int64, tag = "6")]
    expires_at: i64,
    #[prost(int64, optional, tag = "7")]
    withdrawn_at: Option<i64>,
}

impl Record for ClientCertificate {
    type Wire = ClientCertificateWire;

    fn key(&self) -> Vec<u8> {
        keys::client_certificate(&self.holder, &self.sha256)
    }

    fn to_wire(&self) -> ClientCertificateWire {
        ClientCertificateWire {
            role: self.holder.role().to_string(),
            id: self.holder.id().to_owned(),
            serial_number: self.serial_number.clone(),
            sha256: self.sha256.to_vec(),
            issued_at: self.issued_at.timestamp_micros(),
            expires_at: self.expires_at.timestamp_micros(),
            withdrawn_at: self.withdrawn_at.map(|at| at.timestamp_micros()),
        }
    }

    fn from_wire(wire: ClientCertificateWire) -> Result<Self, Bad> {
        let withdrawn_at = wire.withdrawn_at;
        Ok(Self {
            holder: holder(&wire.role, &wire.id)?,
            serial_number: wire.serial_number,
            sha256: array(&wire.sha256, "sha256")?,
            issued_at: from_micros(wire.issued_at, "issued_at")?,
            expires_at: from_micros(wire.expires_at, "expires_at")?,
            withdrawn_at: withdrawn_at
                .map(|at| from_micros(at, "withdrawn_at"))
                .transpose()?,
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WithdrawnHolderWire {
    #[prost(string, tag = "1")]
    role: String,
    #[prost(string, tag = "2")]
    id: String,
    #[prost(int64, tag = "3")]
    withdrawn_at: i64,
}

impl Record for WithdrawnHolder {
    type Wire = WithdrawnHolderWire;

    fn key(&self) -> Vec<u8> {
        keys::withdrawn_holder(&self.holder)
    }

    fn to_wire(&self) -> WithdrawnHolderWire {
        WithdrawnHolderWire {
            role: self.holder.role().to_string(),
            id: self.holder.id().to_owned(),
            withdrawn_at: self.withdrawn_at.timestamp_micros(),
        }
    }

    fn from_wire(wire: WithdrawnHolderWire) -> Result<Self, Bad> {
        Ok(Self {
            holder: holder(&wire.role, &wire.id)?,
            withdrawn_at: from_micros(wire.withdrawn_at, "withdrawn_at")?,
        })
    }
}

fn holder(role: &str, id: &str) -> Result<Identity, Bad> {
    let role = Role::parse(role).ok_or(Bad("role"))?;
    Identity::new(role, id).map_err(|_| Bad("id"))
}
