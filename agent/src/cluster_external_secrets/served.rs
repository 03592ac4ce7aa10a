//! Whether ClusterExternalSecret is installed. A chart that is upgraded leaves definitions as they are, so that it may lack.

use std::time::Duration;

use kube::Client;
use tracing::{info, warn};

use super::requests::{Problem, bounded};

const GROUP_VERSION: &str = "external-secrets.io/v1";
const RESOURCE: &str = "clusterexternalsecrets";
/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(30);
/// One complaint per so many looks: every ten minutes.
const LOOKS_PER_COMPLAINT: u32 = 20;

/// Returns as soon as the API server serves the kind; says why it waits.
pub(super) async fn wait_until_served(client: &Client) {
    let mut looks = 0_u32;
    loop {
        let complains = looks.is_multiple_of(LOOKS_PER_COMPLAINT);
        match bounded(client.list_api_group_resources(GROUP_VERSION)).await {
            Ok(list)
                if list
                    .resources
                    .iter()
                    .any(|resource| resource.name == RESOURCE) =>
            {
                break;
            }
            Ok(_) | Err(Problem::NotFound(_)) if complains => {
                warn!("the definition of ClusterExternalSecret is not installed");
            }
            Err(problem) if complains => {
                warn!(
                    "the API server does not tell whether it serves ClusterExternalSecrets: {problem}"
                );
            }
            Ok(_) | Err(_) => {}
        }
        looks = looks.wrapping_add(1);
        tokio::time::sleep(PAUSE).await;
    }
    if looks > 0 {
        info!("ClusterExternalSecrets are served now");
    }
}
