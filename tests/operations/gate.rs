//! A disk whose syncs wait at a gate: what is committed while it is shut is answered when the test opens it, and not before.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use upkeep_server::store::Watch;

/// The gate of one disk.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Shuts it for as long as the answer lives, so that no test ends with a store that waits for ever.
    pub(crate) fn shut(&self) -> Shut {
        *self.0.0.lock().unwrap() = true;
        Shut(self.clone())
    }

    fn pass(&self) {
        let (is_shut, opened) = &*self.0;
        drop(
            opened
                .wait_while(is_shut.lock().unwrap(), |is_shut| *is_shut)
                .unwrap(),
        );
    }
}

/// Dropped, it opens the gate.
pub(crate) struct Shut(Gate);

impl Drop for Shut {
    fn drop(&mut self) {
        let (is_shut, opened) = &*self.0.0;
        *is_shut.lock().unwrap() = false;
        opened.notify_all();
    }
}

impl Watch for Gate {
    fn sync(&self, _: &Path, sync: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.pass();
        sync()
    }
}
