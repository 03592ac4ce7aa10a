//! Our own registrar: the service that kubelet asks on `plugins_registry/<driver>@reg.sock` (csi.md 3.1, 3.3).
//!
//! | RPC | answer |
//! |---|---|
//! | GetInfo | type, name, endpoint and version; from memory, kubelet waits 1 s |
//! | NotifyRegistrationStatus | remembered; a refusal makes the socket appear anew after 5, 30, 120 s |

use std::sync::Arc;
use std::time::Duration;

use latchkey_proto::pluginregistration::registration_server::Registration;
use latchkey_proto::pluginregistration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::config::Config;
use crate::error::one_line;
use crate::events::{Event, EventSink};
use crate::metrics::Metrics;
use crate::status::Health;

/// CSI versions that kubelet may pick from; it takes the highest it knows.
const SUPPORTED_VERSIONS: [&str; 1] = ["1.0.0"];

/// Pauses after the first, second and every further refusal.
const RETRIES: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
];

/// After this long without a word from kubelet something is wrong with the path.
const SILENCE: Duration = Duration::from_secs(60);

/// What kubelet said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Nothing yet.
    None,
    /// Registered.
    Accepted,
    /// Not registered, so many times in a row.
    Refused(usize),
}

pub(crate) struct RegistrationService {
    pub(crate) config: Arc<Config>,
    pub(crate) metrics: Metrics,
    pub(crate) health: Arc<Health>,
    pub(crate) events: EventSink,
    pub(crate) word: watch::Sender<Word>,
}

#[tonic::async_trait]
impl Registration for RegistrationService {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        self.metrics.kubelet_call("GetInfo");
        self.health.set_registered(false);
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: self.config.driver_name.clone(),
            endpoint: self.config.csi_socket().display().to_string(),
            supported_versions: SUPPORTED_VERSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        self.metrics.kubelet_call("NotifyRegistrationStatus");
        let RegistrationStatus {
            plugin_registered,
            error,
        } = request.into_inner();
        self.health.set_registered(plugin_registered);
        self.metrics.registered.set(i64::from(plugin_registered));
        if plugin_registered {
            tracing::info!(
                driver = self.config.driver_name,
                "kubelet registered the driver"
            );
            self.word.send_replace(Word::Accepted);
        } else {
            let message = one_line(&error);
            tracing::error!(error = message, "kubelet refused to register the driver");
            self.word.send_modify(|word| {
                *word = match *word {
                    Word::Refused(times) => Word::Refused(times + 1),
                    Word::None | Word::Accepted => Word::Refused(1),
                };
            });
            self.events.send(Event::RegistrationFailed { message });
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

/// Makes the socket appear anew after a refusal, and warns where kubelet does not see it at all.
pub(crate) async fn supervise(
    config: Arc<Config>,
    mut word: watch::Receiver<Word>,
    touch: Arc<Notify>,
    cancel: CancellationToken,
) {
    let watched = async {
        if tokio::time::timeout(SILENCE, word.changed()).await.is_err() {
            let socket = config.registration_socket();
            tracing::warn!(socket = %socket.display(), "kubelet does not see the registration socket: is --kubelet-root right?");
        }
        loop {
            let now = *word.borrow_and_update();
            if let Word::Refused(times) = now {
                let pause = RETRIES[times.saturating_sub(1).min(RETRIES.len() - 1)];
                tokio::select! {
                    () = tokio::time::sleep(pause) => touch.notify_one(),
                    _ = word.changed() => continue,
                }
            }
            if word.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = watched => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::{Notify, watch};
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use super::{Word, supervise};
    use crate::config::Config;

    /// csi.md 3.3; csi-peers.md 3 (AKS/Azure#699, #639): a registration that went wrong is tried again by itself, without a
    /// restart of anything, and not when kubelet is content.
    #[tokio::test(start_paused = true)]
    async fn a_refused_registration_is_tried_again_after_5_30_and_120_seconds() {
        let (word, words) = watch::channel(Word::None);
        let touch = Arc::new(Notify::new());
        let cancel = CancellationToken::new();
        let config = Arc::new(Config::new("node-1", "0"));
        let task = tokio::spawn(supervise(config, words, touch.clone(), cancel.clone()));
        for (times, seconds) in [(1, 5), (2, 30), (3, 120), (4, 120), (1, 5)] {
            word.send_replace(Word::Refused(times));
            let started = Instant::now();
            touch.notified().await;
            assert_eq!(started.elapsed().as_secs(), seconds, "refusal {times}");
        }
        word.send_replace(Word::Refused(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
        word.send_replace(Word::Accepted);
        let touched = tokio::time::timeout(Duration::from_secs(3600), touch.notified()).await;
        assert!(touched.is_err(), "registered, and touched nevertheless");
        cancel.cancel();
        task.await.unwrap();
    }
}
