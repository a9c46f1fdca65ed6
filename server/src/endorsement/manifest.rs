//! `endorsements.toml`: which files are CAs, and what each is worth.

use std::fs;
use std::path::Path;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::attest::EndorsementClass;
use crate::endorsement::authority::{Authority, Origin, certificate_der};
use crate::endorsement::{Addition, EndorsementError, optional};

/// The manifest's name in its directory.
pub(super) const MANIFEST: &str = "endorsements.toml";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    #[serde(default)]
    ca: Vec<Entry>,
}

/// What is said about one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) file: String,
    pub(super) name: String,
    class: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) note: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) test: bool,
    pub(super) source: String,
    pub(super) sha256: String,
}

impl Entry {
    /// Describes a certificate that is to be added.
    ///
    /// # Errors
    /// [`EndorsementError`] when it is no certificate.
    pub(super) fn new(addition: &Addition<'_>) -> Result<Self, EndorsementError> {
        let wrong = |why: &dyn std::fmt::Display| EndorsementError::new("the file", why);
        let der = certificate_der(addition.bytes).map_err(|why| wrong(&why))?;
        let (_, certificate) =
            X509Certificate::from_der(&der).map_err(|_| wrong(&"is no X.509 certificate"))?;
        let mut common = certificate.subject().iter_common_name();
        let common = common.next().and_then(|name| name.as_str().ok());
        let name = addition.name.or(common).unwrap_or("unnamed CA");
        let sha256 = HEXLOWER.encode(&Sha256::digest(&der));
        let short = sha256.get(..16).unwrap_or_default();
        Ok(Self {
            file: format!("{short}.pem"),
            name: name.to_owned(),
            class: addition.class.as_str().to_owned(),
            note: String::new(),
            test: false,
            source: addition.source.to_owned(),
            sha256,
        })
    }

    /// The class.
    ///
    /// # Errors
    /// [`EndorsementError`] when there is no such class.
    pub(super) fn class(&self) -> Result<EndorsementClass, EndorsementError> {
        EndorsementClass::parse(&self.class).ok_or_else(|| {
            EndorsementError::new(
                &self.file,
                format_args!(
                    "there is no class {:?}: it is \"chip\", \"cloud_vtpm\", \"software\" or \"dongle\"",
                    self.class
                ),
            )
        })
    }
}

/// Takes the CAs that the manifest text lists, each file's bytes from `bytes_of`. A key is listed once.
pub(super) fn add(
    place: &str,
    text: &str,
    origin: Origin,
    bytes_of: impl Fn(&str) -> Result<Vec<u8>, EndorsementError>,
    authorities: &mut Vec<Authority>,
    mistakes: &mut Vec<EndorsementError>,
) {
    let manifest: Manifest = match toml::from_str(text) {
        Ok(manifest) => manifest,
        Err(e) => return mistakes.push(EndorsementError::new(place, e.to_string().trim_end())),
    };
    for entry in &manifest.ca {
        match bytes_of(&entry.file).and_then(|bytes| Authority::new(entry, &bytes, origin)) {
            Err(mistake) => mistakes.push(mistake),
            Ok(one) => match authorities
                .iter()
                .find(|held| held.key_id() == one.key_id())
            {
                None => authorities.push(one),
                Some(twin) => mistakes.push(EndorsementError::new(
                    &entry.file,
                    format_args!("its key is listed already, by {}", twin.file()),
                )),
            },
        }
    }
}

/// Takes the CAs of an operator's directory, which may be absent.
pub(super) fn add_directory(
    directory: &Path,
    authorities: &mut Vec<Authority>,
    mistakes: &mut Vec<EndorsementError>,
) {
    let path = directory.join(MANIFEST);
    let text = match optional(&path) {
        Ok(Some(text)) => text,
        Ok(None) => return,
        Err(mistake) => return mistakes.push(mistake),
    };
    let bytes_of = |file: &str| {
        // A manifest names files beside it and no others.
        if Path::new(file).file_name().is_none_or(|name| name != file) {
            return Err(EndorsementError::new(
                file,
                "must be a file beside the manifest",
            ));
        }
        fs::read(directory.join(file)).map_err(|e| EndorsementError::new(file, e))
    };
    let place = path.display().to_string();
    add(&place, &text, Origin::Own, bytes_of, authorities, mistakes);
}

/// Adds an entry to the manifest in `directory`. What stands there, comments too, stays as it is.
///
/// # Errors
/// [`EndorsementError`] when the file cannot be replaced; the old one stays then.
pub(super) fn append(directory: &Path, entry: &Entry) -> Result<(), EndorsementError> {
    let path = directory.join(MANIFEST);
    let wrong = |e: &dyn std::fmt::Display| EndorsementError::new(path.display(), e);
    let mut text = optional(&path)?.unwrap_or_default();
    let one = Manifest {
        ca: vec![entry.clone()],
    };
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&toml::to_string(&one).map_err(|e| wrong(&e))?);
    let new = tempfile::NamedTempFile::new_in(directory).map_err(|e| wrong(&e))?;
    fs::write(new.path(), text)
        .and_then(|()| new.as_file().sync_all())
        .map_err(|e| wrong(&e))?;
    new.persist(&path).map_err(|e| wrong(&e))?;
    Ok(())
}
