//! What the rigs look for.

use std::fmt;

use upkeep_server::store::StoreError;

/// Something that was acknowledged is gone, or is another now. A rig that fails in any other way panics: a control whose server does not
/// even start has seen nothing.
#[derive(Debug)]
pub(crate) struct Loss(pub(crate) String);

impl Loss {
    /// A store that calls its files damaged has lost something; any other fault is the rig's.
    pub(crate) fn of(fault: &StoreError) -> Self {
        match fault {
            StoreError::Damaged { .. } => Self(fault.to_string()),
            other => panic!("{other}"),
        }
    }

    /// Where it came to light.
    pub(crate) fn at(self, place: impl fmt::Display) -> Self {
        Self(format!("{place}: {}", self.0))
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
