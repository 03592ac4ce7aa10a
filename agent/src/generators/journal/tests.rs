use std::collections::BTreeMap;

use latchkey_crds::external_secret::{Find, RemoteRef, SecretStoreRef};
use latchkey_engine::source::{Caller, FailureClass, FetchError};
use latchkey_secret::{SecretData, SecretValue};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::sleep;

use super::*;

const GRACE: Duration = Duration::from_secs(120);
const SECOND: Duration = Duration::from_secs(1);

/// Revokes, or fails as often as told.
#[derive(Default)]
struct Provider {
    revoked: Mutex<Vec<(u64, Instant)>>,
    failures: Mutex<u32>,
}

impl Source for Provider {
    async fn secret(
        &self,
        _: &Caller,
        _: &SecretStoreRef,
        _: &RemoteRef,
    ) -> Result<SecretValue, FetchError> {
        Err(FetchError::NoSecret)
    }

    async fn secret_map(
        &self,
        _: &Caller,
        _: &SecretStoreRef,
        _: &RemoteRef,
    ) -> Result<BTreeMap<String, SecretValue>, FetchError> {
        Err(FetchError::NoSecret)
    }

    async fn find(
        &self,
        _: &Caller,
        _: &SecretStoreRef,
        _: &Find,
    ) -> Result<SecretData, FetchError> {
        Err(FetchError::NoSecret)
    }

    async fn revoke(&self, namespace: &str, left: &GeneratedState) -> Result<(), FetchError> {
        assert_eq!(namespace, "app");
        let mut failures = self.failures.lock();
        if *failures > 0 {
            *failures -= 1;
            return Err(FetchError::Failed {
                class: FailureClass::Unavailable,
                message: String::from("down"),
                retry_after: None,
            });
        }
        let number = left.state["n"].as_u64().unwrap();
        self.revoked.lock().push((number, Instant::now()));
        Ok(())
    }
}

impl Provider {
    fn numbers(&self) -> Vec<u64> {
        self.revoked.lock().iter().map(|(n, _)| *n).collect()
    }
}

fn owner(object: &str) -> Owner {
    Owner {
        namespace: String::from("app"),
        object: object.to_owned(),
        identity: String::new(),
    }
}

fn left(number: u64) -> GeneratedState {
    GeneratedState {
        resource: json!({ "kind": "Generator" }),
        state: json!({ "n": number }),
    }
}

async fn made(journal: &Arc<Journal>, object: &str, number: u64) -> Vec<u64> {
    let batch = journal.batch(owner(object));
    batch.note(0, left(number)).await.unwrap();
    batch.commit().await.unwrap()
}

fn files(directory: &TempDir) -> usize {
    std::fs::read_dir(directory.path()).map_or(0, |entries| entries.count())
}

fn start(journal: &Arc<Journal>, provider: &Arc<Provider>) -> tokio_util::sync::DropGuard {
    let cancel = CancellationToken::new();
    let (journal, provider, stop) = (journal.clone(), provider.clone(), cancel.clone());
    tokio::spawn(async move { journal.run(&*provider, stop).await });
    cancel.drop_guard()
}

#[tokio::test(start_paused = true)]
async fn what_is_replaced_is_revoked_after_the_grace_and_what_is_unused_at_once() {
    // csi.md 6.4
    let directory = TempDir::new().unwrap();
    let journal = Journal::open(directory.path().to_owned(), GRACE);
    let provider = Arc::new(Provider::default());
    let _running = start(&journal, &provider);
    made(&journal, "a", 1).await;
    made(&journal, "b", 2).await;
    let kept = made(&journal, "a", 3).await;
    let began = Instant::now();
    journal.supersede(&owner("a"), &kept);
    sleep(GRACE - SECOND).await;
    assert_eq!((provider.numbers(), files(&directory)), (vec![], 3));
    sleep(2 * SECOND).await;
    assert_eq!((provider.numbers(), files(&directory)), (vec![1], 2));
    assert!(provider.revoked.lock()[0].1 - began >= GRACE);
    journal.release(|owner| owner.object == "b");
    sleep(SECOND).await;
    assert_eq!((provider.numbers(), files(&directory)), (vec![1, 2], 1));
    sleep(100 * GRACE).await;
    assert_eq!(journal.len(), 1, "what is in use stays");
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_fetch_made_is_revoked_at_once_and_as_often_as_it_takes() {
    // generators.md 5
    let directory = TempDir::new().unwrap();
    let journal = Journal::open(directory.path().to_owned(), GRACE);
    let provider = Arc::new(Provider::default());
    *provider.failures.lock() = 3;
    let _running = start(&journal, &provider);
    let batch = journal.batch(owner("a"));
    for number in [1, 2] {
        batch.note(0, left(number)).await.unwrap();
    }
    sleep(SECOND).await;
    assert_eq!((provider.numbers(), journal.len()), (vec![], 2));
    let began = Instant::now();
    drop(batch);
    sleep(100 * SECOND).await;
    let mut numbers = provider.numbers();
    numbers.sort_unstable();
    assert_eq!((numbers, files(&directory)), (vec![1, 2], 0));
    // One pause of 1 s for each, and one of 2 s for one of them.
    let last = provider.revoked.lock()[1].1 - began;
    assert!(last >= 3 * SECOND && last < 4 * SECOND, "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_killed_leaves_what_the_next_one_needs() {
    // csi.md 7.6
    let directory = TempDir::new().unwrap();
    let provider = Arc::new(Provider::default());
    {
        let journal = Journal::open(directory.path().to_owned(), GRACE);
        made(&journal, "a", 1).await;
        let kept = made(&journal, "a", 2).await;
        let batch = journal.batch(owner("a"));
        batch.note(1, left(3)).await.unwrap();
        std::mem::forget(batch);
        // It stops before it has written this down.
        journal.supersede(&owner("a"), &kept);
    }
    std::fs::write(directory.path().join("torn.tmp"), "{").unwrap();
    for (name, content) in [
        ("x.json", "{}"),
        ("1.json", "{}"),
        ("2.json", r#"{"schema": 2}"#),
    ] {
        std::fs::write(directory.path().join(name), content).unwrap();
    }
    let journal = Journal::open(directory.path().to_owned(), GRACE);
    assert_eq!(journal.len(), 3);
    assert!(journal.age(&owner("a")).unwrap() < 3600 * SECOND);
    assert_eq!(journal.age(&owner("b")), None);
    let _running = start(&journal, &provider);
    sleep(SECOND).await;
    assert_eq!(provider.numbers(), [3], "it was in nobody's hands");
    let kept = made(&journal, "a", 4).await;
    journal.supersede(&owner("a"), &kept);
    sleep(2 * GRACE).await;
    let mut numbers = provider.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn the_grace_goes_on_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let provider = Arc::new(Provider::default());
    {
        let journal = Journal::open(directory.path().to_owned(), GRACE);
        let _running = start(&journal, &provider);
        made(&journal, "a", 1).await;
        journal.supersede(&owner("a"), &[]);
        sleep(SECOND).await;
    }
    let journal = Journal::open(directory.path().to_owned(), GRACE);
    assert_eq!(journal.age(&owner("a")), None, "nobody shows it any more");
    let _running = start(&journal, &provider);
    sleep(GRACE / 2).await;
    assert!(provider.numbers().is_empty());
    sleep(GRACE).await;
    assert_eq!(provider.numbers(), [1]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_noted_is_not_used_and_is_revoked() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let journal = Journal::open(file, GRACE);
    let provider = Arc::new(Provider::default());
    let _running = start(&journal, &provider);
    let batch = journal.batch(owner("a"));
    batch.note(0, left(1)).await.unwrap_err();
    drop(batch);
    sleep(SECOND).await;
    assert_eq!((provider.numbers(), journal.len()), (vec![1], 0));
}

#[tokio::test]
async fn a_file_is_for_root_alone_and_says_no_more_than_it_takes() {
    // csi.md 7.1
    use std::os::unix::fs::PermissionsExt as _;
    let directory = TempDir::new().unwrap();
    let folder = directory.path().join("generated");
    let journal = Journal::open(folder.clone(), GRACE);
    made(&journal, "a", 1).await;
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let path = std::fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_eq!(mode(&path), 0o600);
    let mut content: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    content["madeOn"].take();
    assert_eq!(
        content,
        json!({
            "schema": 1, "owner": {"namespace": "app", "object": "a", "identity": ""}, "entry": 0,
            "madeOn": null, "due": null, "resource": {"kind": "Generator"}, "state": {"n": 1},
        })
    );
}
