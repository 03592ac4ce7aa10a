//! Planted values: random, recognisable, and searched for wherever they must not be.

use std::path::Path;

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, LogParams};
use latchkey_cluster::{Context, etcd, http_get};
use rand::RngExt as _;

use crate::SYSTEM;

/// Values of one test that only files of its volumes may show.
#[derive(Debug, Default)]
pub struct Planted(Vec<String>);

// === impl Planted ===

impl Planted {
    /// Nothing planted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A new value.
    pub fn plant(&mut self) -> String {
        let value = format!("canary{:032x}", rand::rng().random::<u128>());
        self.0.push(value.clone());
        value
    }

    /// Searches every stored object (so also events and statuses), the logs of all components and of everything in [`SYSTEM`],
    /// and the metrics of the latter.
    ///
    /// # Errors
    /// Where a value was found.
    pub async fn assert_no_trace(&self, cx: &Context) -> Result<()> {
        for value in &self.0 {
            let keys = etcd::keys_containing(value.as_bytes()).await?;
            if !keys.is_empty() {
                bail!("a planted value is stored in {keys:?}");
            }
        }
        self.search_folder(&cx.cluster().layout().logs())?;
        let pods: Api<Pod> = Api::namespaced(cx.client(), SYSTEM);
        for pod in pods.list(&ListParams::default()).await?.items {
            let name = pod.metadata.name.unwrap_or_default();
            for previous in [false, true] {
                let parameters = LogParams {
                    previous,
                    ..LogParams::default()
                };
                // A pod without a previous container has no such log.
                let text = pods.logs(&name, &parameters).await.unwrap_or_default();
                self.search(&format!("the log of {name}"), &text)?;
            }
            let Some(address) = pod.status.and_then(|status| status.pod_ip) else {
                continue;
            };
            if let Ok((_, text)) = http_get::get(&format!("http://{address}:8081/metrics")).await {
                self.search(&format!("the metrics of {name}"), &text)?;
            }
        }
        Ok(())
    }

    fn search_folder(&self, folder: &Path) -> Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                self.search_folder(&path)?;
            } else if path.is_file() {
                let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
                self.search(&path.display().to_string(), &text)?;
            }
        }
        Ok(())
    }

    fn search(&self, place: &str, text: &str) -> Result<()> {
        if self.0.iter().any(|value| text.contains(value.as_str())) {
            bail!("a planted value is in {place}");
        }
        Ok(())
    }
}
