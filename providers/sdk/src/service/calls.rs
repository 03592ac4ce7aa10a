//! What all services of a process share: the bound on calls in flight, deadlines, panics, series, sizes of answers.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use latchkey_secret::SecretData;
use tokio::sync::Semaphore;
use tonic::metadata::MetadataMap;
use tonic::{Code, Response, Status};

use super::ServiceLimits;
use super::convert::deadline;
use crate::error::{ErrorClass, ProviderError, Result};
use crate::metrics::Metrics;
use crate::request::Operation;

/// Longest call when the caller sets no deadline.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(60);
/// How much earlier than the caller's deadline a call ends, so that its own answer arrives before the caller gives up;
/// a tenth of short deadlines.
const DEADLINE_MARGIN: Duration = Duration::from_millis(100);
/// What a caller should wait when this server is busy (specification 2.4).
const BUSY_DELAY: Duration = Duration::from_secs(1);

/// The limits of a process and what counts its calls. Clones share them.
#[derive(Clone)]
pub(crate) struct Calls {
    metrics: Metrics,
    pub(super) limits: ServiceLimits,
    permits: Arc<Semaphore>,
}

/// Records the end of a call even when the client goes away.
struct Finish<'a> {
    metrics: &'a Metrics,
    operation: Operation,
    started: Instant,
    code: Code,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.metrics
            .request(self.operation, self.code, self.started);
    }
}

// === impl Calls ===

impl Calls {
    pub(crate) fn new(metrics: Metrics, limits: ServiceLimits) -> Self {
        Self {
            metrics,
            limits,
            permits: Arc::new(Semaphore::new(limits.max_concurrent_requests)),
        }
    }

    /// Runs one call within the limits.
    pub(super) async fn run<T>(
        &self,
        operation: Operation,
        metadata: &MetadataMap,
        work: impl Future<Output = Result<T>> + Send,
    ) -> std::result::Result<Response<T>, Status> {
        let mut finish = Finish {
            metrics: &self.metrics,
            operation,
            started: Instant::now(),
            code: Code::Cancelled,
        };
        let result = self.bounded(metadata, work).await;
        match result {
            Ok(answer) => {
                finish.code = Code::Ok;
                Ok(Response::new(answer))
            }
            Err(error) => {
                finish.code = error.code();
                let level = if error.class() == ErrorClass::Internal {
                    "internal"
                } else {
                    "expected"
                };
                tracing::debug!(
                    operation = operation.name(),
                    class = error.class().reason(),
                    kind = level,
                    "request failed"
                );
                Err(error.to_status())
            }
        }
    }

    async fn bounded<T>(
        &self,
        metadata: &MetadataMap,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let _permit = self.permits.try_acquire().map_err(|_| {
            ProviderError::new(ErrorClass::ServerBusy, "too many requests in flight")
                .with_retry_after(BUSY_DELAY)
        })?;
        let deadline = deadline(metadata).unwrap_or(DEFAULT_DEADLINE);
        let deadline = deadline.saturating_sub(DEADLINE_MARGIN.min(deadline / 10));
        // A panic must not take other calls of the connection with it; its payload may hold anything and is dropped.
        match tokio::time::timeout(deadline, AssertUnwindSafe(work).catch_unwind()).await {
            Ok(Ok(result)) => result,
            Ok(Err(_panic)) => Err(ProviderError::internal(
                "the provider failed on this request",
            )),
            Err(_elapsed) => Err(ProviderError::new(
                ErrorClass::DeadlineExceeded,
                "deadline exceeded",
            )),
        }
    }

    /// Refuses an answer that a baseline client could not receive (specification 3.9).
    pub(super) fn fits(&self, bytes: usize) -> Result<()> {
        if bytes > self.limits.max_response_bytes {
            return Err(ProviderError::new(
                ErrorClass::ResultTooLarge,
                format!(
                    "response larger than max ({bytes} vs. {})",
                    self.limits.max_response_bytes
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn map_fits(&self, data: &SecretData) -> Result<()> {
        self.fits(
            data.iter()
                .map(|(key, value)| key.len() + value.len())
                .sum(),
        )
    }
}
