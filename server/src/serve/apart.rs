//! Waiting for the store's answer while a server is being opened.

use std::future::Future;
use std::thread;

use super::ServeError;

/// What the future comes to. The store answers to a task; the caller may be one already, so the wait has a thread of its own.
///
/// # Errors
/// [`ServeError::Resources`] where no runtime can be made; [`ServeError::Panicked`].
pub(super) fn wait<F>(future: F) -> Result<F::Output, ServeError>
where
    F: Future + Send,
    F::Output: Send,
{
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .map_err(ServeError::Resources)?;
            Ok(runtime.block_on(future))
        });
        waiting.join().map_err(|_| ServeError::Panicked)?
    })
}
