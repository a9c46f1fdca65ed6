//! The section `[signing]` as it is written: where the signing key is, when it is not in a file.

use serde::{Deserialize, Serialize};

use crate::config::raw::Check;
use crate::signer::token::TokenSettings;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSigning {
    module: String,
    token: String,
    key: String,
    pin_file: String,
}

impl RawSigning {
    pub(super) fn from_settings(settings: Option<&TokenSettings>) -> Self {
        let text = |of: fn(&TokenSettings) -> String| settings.map(of).unwrap_or_default();
        Self {
            module: text(|token| token.module.display().to_string()),
            token: text(|token| token.token.clone()),
            key: text(|token| token.key.clone()),
            pin_file: text(|token| token.pin_file.display().to_string()),
        }
    }

    pub(super) fn check(self, check: &mut Check<'_>) -> Option<TokenSettings> {
        let used = !self.module.is_empty();
        for (key, value) in [
            ("signing.token", &self.token),
            ("signing.key", &self.key),
            ("signing.pin_file", &self.pin_file),
        ] {
            check.that(
                used != value.is_empty(),
                key,
                "goes with signing.module: set all four, or none of them",
            );
        }
        used.then(|| TokenSettings {
            module: self.module.into(),
            token: self.token,
            key: self.key,
            pin_file: self.pin_file.into(),
        })
    }
}
