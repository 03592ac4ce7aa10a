//! File system work off the thread that serves kubelet (csi.md 2.2): a few threads, and a call that hangs blocks nobody else.

use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Semaphore;

/// Most calls at once.
const THREADS: usize = 4;

/// After this long a call is left to itself and counted.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BlockingError {
    /// The call hangs in the kernel.
    #[error("the file system did not answer within 30 s")]
    Stuck,
    /// The call panicked.
    #[error("the agent failed unexpectedly")]
    Panicked,
}

/// Runs blocking calls.
#[derive(Debug)]
pub(crate) struct Blocking {
    permits: Semaphore,
    timeout: Duration,
    stuck: Gauge,
}

impl Blocking {
    pub(crate) fn new(stuck: Gauge) -> Self {
        Self {
            permits: Semaphore::new(THREADS),
            timeout: TIMEOUT,
            stuck,
        }
    }

    /// Runs `work` on a blocking thread.
    ///
    /// # Cancel safety
    ///
    /// `work` runs to its end even if the future is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        // The permit belongs to the waiting side: a thread that hangs must not shrink the pool.
        let _permit = self
            .permits
            .acquire()
            .await
            .map_err(|_| BlockingError::Panicked)?;
        let mut task = tokio::task::spawn_blocking(work);
        match tokio::time::timeout(self.timeout, &mut task).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(BlockingError::Panicked),
            Err(_) => {
                self.stuck.inc();
                let stuck = self.stuck.clone();
                // Owned by the hanging thread: ends when the kernel answers, and the runtime's shutdown does not wait for it.
                tokio::spawn(async move {
                    let _ = task.await;
                    stuck.dec();
                });
                Err(BlockingError::Stuck)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::metrics::gauge::Gauge;

    use super::{Blocking, BlockingError};

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_pool_goes_on() {
        let blocking = Blocking::new(Gauge::default());
        assert_eq!(
            blocking.run(|| panic!("expected by the test")).await,
            Err::<(), _>(BlockingError::Panicked)
        );
        assert_eq!(blocking.run(|| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn a_call_that_hangs_is_left_to_itself() {
        let stuck = Gauge::default();
        let mut blocking = Blocking::new(stuck.clone());
        blocking.timeout = Duration::from_millis(50);
        let (release, wait) = std::sync::mpsc::channel::<()>();
        assert_eq!(
            blocking.run(move || wait.recv().is_ok()).await,
            Err(BlockingError::Stuck)
        );
        assert_eq!(stuck.get(), 1);
        drop(release);
    }
}
