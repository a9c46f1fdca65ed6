//! Files with public keys, in the forms that people have them: a JWK set, one JWK, PEM, or the base64 that grpcurl shows.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use upkeep::jwks::KeySet;
use upkeep::key::PublicKey;

use crate::cli::exit::Failure;
use crate::cli::file;

/// The keys in a file.
///
/// # Errors
/// Exit 2: the file can't be read or holds no P-256 public key.
pub(super) fn read(path: &Path) -> Result<KeySet, Failure> {
    let text = file::read_path(path)?;
    let keys = parse(&text).map_err(|why| {
        Failure::usage(
            format_args!("{} holds no public key: {why}", path.display()),
            "give a JWK set, a JWK, a PEM file (BEGIN PUBLIC KEY) or the base64 of a P-256 public key",
        )
    })?;
    if keys.keys().next().is_none() {
        return Err(Failure::usage(
            format_args!("{} holds no P-256 key", path.display()),
            "give a file with a P-256 public key",
        ));
    }
    Ok(keys)
}

/// The one key in a file.
///
/// # Errors
/// As [`read`], and exit 2 for several keys.
pub(super) fn read_one(path: &Path) -> Result<PublicKey, Failure> {
    let keys = read(path)?;
    let mut all = keys.keys();
    match (all.next(), all.next()) {
        (Some(key), None) => Ok(key.clone()),
        _ => Err(Failure::usage(
            format_args!("{} holds several keys", path.display()),
            "give a file with the product's build key alone",
        )),
    }
}

fn parse(text: &str) -> Result<KeySet, String> {
    let text = text.trim();
    if text.starts_with('{') {
        return KeySet::parse(text.as_bytes()).or_else(|set_error| {
            PublicKey::from_jwk(text.as_bytes())
                .map(|key| KeySet::new([key]))
                .map_err(|_| set_error.to_string())
        });
    }
    let der = if text.contains("-----BEGIN ") {
        SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes())
            .map_err(|error| error.to_string())?
            .to_vec()
    } else {
        STANDARD
            .decode(text)
            .map_err(|_| "it is of no known form".to_owned())?
    };
    PublicKey::from_spki_der(&der)
        .map(|key| KeySet::new([key]))
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use upkeep::key::SigningKey;

    use super::*;

    #[test]
    fn every_form_gives_the_same_key() {
        let key = SigningKey::from_seed(&[7; 32]).expect("seed");
        let public = key.public_key();
        let base64 = STANDARD.encode(public.to_spki_der());
        let jwk = serde_json::to_string(&public.to_jwk()).expect("json");
        for text in [
            KeySet::new([public.clone()]).to_json(),
            jwk,
            format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n"),
            format!("{base64}\n"),
        ] {
            let keys = parse(&text).expect("a key");
            assert!(keys.get(&public.thumbprint()).is_some(), "{text}");
        }
    }

    #[test]
    fn private_keys_and_noise_are_refused() {
        let key = SigningKey::from_seed(&[7; 32]).expect("seed");
        let pem = key.to_pkcs8_pem().expect("pem");
        for bad in ["", "{}", "{", "AAAA", "noise!", pem.as_str()] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
