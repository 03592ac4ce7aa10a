//! From a changed value to a changed file.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use rand::RngExt as _;
use serde_json::json;

use crate::pods::{self, Source};
use crate::rig::{CHANGING, INTERVAL, NAMESPACE, PATIENCE, Rig, TURNING, changing};
use crate::stats::Samples;

/// Between two looks at a file: the error of the figure.
const LOOK: Duration = Duration::from_millis(5);
/// The same for what takes milliseconds.
const QUICK_LOOK: Duration = Duration::from_millis(1);
/// Between two changes of an ExternalSecret: a volume takes no second one before the first is swept up, 5 s after it.
const BETWEEN: std::ops::Range<f64> = 6.0..9.0;

/// Times from the change to the file.
#[derive(Clone, Debug)]
pub(crate) struct Rotations {
    /// Of a volume of this driver, the value changed at the provider.
    pub(crate) latchkey: Samples,
    /// Of a volume of this driver, its ExternalSecret changed.
    pub(crate) event: Samples,
    /// Of kubelet's own volume, the Secret changed.
    pub(crate) secret: Samples,
}

/// Changes the value at the provider and an ExternalSecret `changes` times and, at the same time but independently, a Secret
/// `secrets` times; each change comes at a random moment of the interval after the previous one arrived.
pub(crate) async fn measure(rig: &Rig<'_>, changes: usize, secrets: usize) -> Result<Rotations> {
    let mut created = pods::create(rig, Source::Latchkey, CHANGING, 1).await?;
    let latchkey = file(rig, Source::Latchkey, created.keys().next()).await?;
    let turning = pods::create(rig, Source::Latchkey, TURNING, 1).await?;
    let event = file(rig, Source::Latchkey, turning.keys().next()).await?;
    created.extend(turning);
    let other = pods::create(rig, Source::Secret, CHANGING, 1).await?;
    let secret = file(rig, Source::Secret, other.keys().next()).await?;
    created.extend(other);
    let group = GroupVersionKind::gvk(
        "provider.secretstore.external-secrets.io",
        "v2alpha1",
        "Fake",
    );
    let fakes: Api<DynamicObject> = Api::namespaced_with(
        rig.client.clone(),
        NAMESPACE,
        &ApiResource::from_gvk(&group),
    );
    let stored: Api<Secret> = Api::namespaced(rig.client.clone(), NAMESPACE);
    let change_fake = async |value: &str| -> Result<()> {
        let patch = Patch::Merge(json!({"spec": changing(value)}));
        fakes
            .patch(CHANGING, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    };
    let change_secret = async |value: &str| -> Result<()> {
        let patch = Patch::Merge(json!({"stringData": {"value": value}}));
        stored
            .patch(CHANGING, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    };
    let (latchkey, event, secret) = futures::try_join!(
        repeat(changes, &latchkey, change_fake),
        turns(rig, changes, &event),
        repeat(secrets, &secret, change_secret)
    )?;
    rig.turn("0").await?;
    pods::delete(rig, &created).await?;
    Ok(Rotations {
        latchkey,
        event,
        secret,
    })
}

/// The file `value` in the pod's volume, once it shows something.
async fn file(rig: &Rig<'_>, source: Source, pod: Option<&String>) -> Result<PathBuf> {
    let Some(pod) = pod else {
        bail!("no pod was created")
    };
    let uid = pods::uid(rig, pod).await?;
    let path = rig.kubelet_path(&format!("pods/{uid}/{}/value", source.folder()))?;
    becomes(&path, "0", LOOK).await?;
    Ok(path)
}

async fn repeat(
    changes: usize,
    path: &std::path::Path,
    change: impl AsyncFn(&str) -> Result<()>,
) -> Result<Samples> {
    let mut times = Vec::new();
    for number in 1..=changes {
        let pause = rand::rng().random_range(0.0..INTERVAL_SECONDS);
        tokio::time::sleep(Duration::from_secs_f64(pause)).await;
        let value = number.to_string();
        // From before the change, so that no time is lost to the figure.
        let begin = Instant::now();
        change(&value).await?;
        becomes(path, &value, LOOK).await?;
        times.push(begin.elapsed());
    }
    Ok(times.into_iter().collect())
}

async fn turns(rig: &Rig<'_>, changes: usize, path: &std::path::Path) -> Result<Samples> {
    let mut times = Vec::new();
    for number in 1..=changes {
        let pause = rand::rng().random_range(BETWEEN);
        tokio::time::sleep(Duration::from_secs_f64(pause)).await;
        let value = (number % 2).to_string();
        let begin = Instant::now();
        rig.turn(&value).await?;
        becomes(path, &value, QUICK_LOOK).await?;
        times.push(begin.elapsed());
    }
    Ok(times.into_iter().collect())
}

/// [`INTERVAL`] as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "a handful of seconds")]
const INTERVAL_SECONDS: f64 = INTERVAL as f64;

async fn becomes(path: &std::path::Path, value: &str, look: Duration) -> Result<()> {
    let begin = Instant::now();
    while std::fs::read_to_string(path).ok().as_deref() != Some(value) {
        if begin.elapsed() > PATIENCE {
            bail!("{} is not {value} after {PATIENCE:?}", path.display());
        }
        tokio::time::sleep(look).await;
    }
    Ok(())
}
