//! The section `[endorsements]` as it is written. The files are read when the server starts and by `endorsement verify`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::endorsement::EndorsementSettings;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEndorsements {
    built_in: bool,
    directory: String,
    allow_test_roots: bool,
}

impl RawEndorsements {
    pub(super) fn from_settings(settings: &EndorsementSettings) -> Self {
        let directory = settings.directory.as_ref();
        Self {
            built_in: settings.built_in,
            directory: directory
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            allow_test_roots: settings.allow_test_roots,
        }
    }

    pub(super) fn settings(self) -> EndorsementSettings {
        EndorsementSettings {
            built_in: self.built_in,
            directory: Some(self.directory)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            allow_test_roots: self.allow_test_roots,
        }
    }
}
