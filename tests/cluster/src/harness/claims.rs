//! Which cluster a test gets, and how it is used.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::cluster::{Cluster, Options};
use crate::prerequisites;

/// How a test uses its cluster.
#[derive(Clone, Copy)]
pub(super) enum Claim {
    Together,
    Alone,
}

/// A cluster, and the lock that says how it is used.
pub(super) type Claimed = (Arc<Cluster>, File);

/// Names the folder of a prepared cluster.
pub(super) const FOLDER: &str = "LATCHKEY_CLUSTER_DIR";

/// The shared cluster, once it can be had.
pub(super) fn shared_one(claim: Claim) -> Result<Claimed> {
    let cluster = shared()?;
    let lock = test_lock(&cluster)?;
    match claim {
        Claim::Together => lock.lock_shared()?,
        Claim::Alone => lock.lock()?,
    }
    Ok((cluster, lock))
}

/// Between two looks for a cluster that is free.
const PAUSE: Duration = Duration::from_millis(100);

/// The first cluster that can be had: there is no waiting for two locks at once.
#[expect(
    clippy::disallowed_methods,
    reason = "this thread is the test's own, and no runtime's"
)]
pub(super) fn free_one(claim: Claim) -> Result<Claimed> {
    loop {
        for find in [shared, second] {
            let cluster = find()?;
            let lock = test_lock(&cluster)?;
            let locked = match claim {
                Claim::Together => lock.try_lock_shared(),
                Claim::Alone => lock.try_lock(),
            };
            match locked {
                Ok(()) => return Ok((cluster, lock)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
        std::thread::sleep(PAUSE);
    }
}

fn test_lock(cluster: &Cluster) -> Result<File> {
    let path = cluster.layout().test_lock();
    Ok(File::options().create(true).append(true).open(path)?)
}

/// Copies the logs of a cluster that ends with this process to those of the prepared one, which `cluster run` keeps after a failure.
pub(super) fn keep_logs(cluster: &Cluster) -> Result<()> {
    let Some(prepared) = std::env::var_os(FOLDER) else {
        return Ok(());
    };
    let prepared = Cluster::attach(Path::new(&prepared))?;
    let (from, to) = (cluster.layout().logs(), prepared.layout().logs());
    if from == to {
        return Ok(());
    }
    let to = to.join("second");
    std::fs::create_dir_all(&to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The prepared cluster, or the one that this process started. It is never dropped: it ends with the process.
fn shared() -> Result<Arc<Cluster>> {
    static SHARED: Once = Once::new();
    once(&SHARED, || match std::env::var_os(FOLDER) {
        Some(folder) => Cluster::attach(Path::new(&folder)),
        None => prerequisites::check_to_run().and_then(|()| Cluster::start(&Options::default())),
    })
}

/// A cluster beside the shared one, which this process starts and never drops either.
fn second() -> Result<Arc<Cluster>> {
    static SECOND: Once = Once::new();
    once(&SECOND, || Cluster::start(&Options::default()))
}

type Once = OnceLock<Result<Arc<Cluster>, String>>;

fn once(cell: &Once, find: impl FnOnce() -> Result<Cluster>) -> Result<Arc<Cluster>> {
    cell.get_or_init(|| find().map(Arc::new).map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|text| anyhow!(text))
}
