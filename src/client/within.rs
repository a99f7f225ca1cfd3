//! Blocking calls with an end: a name that is never resolved and a server that sends a byte a minute hold up nobody.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Kind, Result};

/// Calls that may be on their way, or left behind, in the whole process at a time.
pub const CALLS_MAX: usize = 32;

/// Runs a blocking call on a thread of its own and waits for its end, for no longer than `limit`. A call that takes longer
/// is left behind: what it still brings is dropped.
///
/// # Errors
/// Those of `call`; `Unavailable` when the time is over, when [`CALLS_MAX`] calls are on their way already, or when there
/// is no thread for it.
pub fn within<T: Send + 'static>(
    limit: Duration,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let place = Place::take()?;
    let (answer, wait) = sync_channel(1);
    let run = move || {
        let outcome = call();
        drop(place);
        // Nobody waits any more when the time was over.
        let _ = answer.send(outcome);
    };
    thread::Builder::new().name("lode-call".to_owned()).spawn(run).map_err(|error| {
        Error::new(Kind::Unavailable, format!("there is no thread for the call: {error}"))
    })?;
    match wait.recv_timeout(limit) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => Err(out_of_time(limit)),
        Err(RecvTimeoutError::Disconnected) => {
            Err(Error::new(Kind::Internal, "lode panicked in a call to a server")
                .advice("please report this"))
        }
    }
}

/// The error for a server that did not answer in time.
pub fn out_of_time(limit: Duration) -> Error {
    Error::new(Kind::Unavailable, format!("no answer within {} ms", limit.as_millis()))
}

/// One of the calls that may be on their way.
struct Place;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

impl Place {
    fn take() -> Result<Place> {
        let add = |taken: usize| (taken < CALLS_MAX).then_some(taken + 1);
        match TAKEN.fetch_update(Ordering::AcqRel, Ordering::Acquire, add) {
            Ok(_) => Ok(Place),
            Err(_) => Err(Error::new(
                Kind::Unavailable,
                format!("{CALLS_MAX} calls to servers wait for an answer already"),
            )),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_call_that_hangs_is_left_behind() {
        let began = Instant::now();
        let error = within(Duration::from_millis(50), || {
            thread::sleep(Duration::from_secs(5));
            Ok(())
        });
        assert_eq!(error.unwrap_err().kind(), Kind::Unavailable);
        assert!(began.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn a_call_that_panics_is_an_error() {
        let error = within(Duration::from_secs(5), || -> Result<()> { panic!("on purpose") });
        assert_eq!(error.unwrap_err().kind(), Kind::Internal);
        assert_eq!(within(Duration::from_secs(5), || Ok(7)).unwrap(), 7);
    }
}
