//! Namespaces that are chosen by their labels (csi.md 9.3).

use super::*;
use crate::stores::ReadError;
use crate::volumes::namespaces::{AllowedNamespaces, NamespaceLabels};

type Answer = Result<Arc<BTreeMap<String, String>>, ReadError>;

struct Labels(Mutex<Option<Answer>>);

impl NamespaceLabels for Labels {
    fn labels<'a>(&'a self, namespace: &'a str) -> futures::future::BoxFuture<'a, Answer> {
        assert_eq!(namespace, "app");
        let answer = self.0.lock().clone();
        async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn labels_decide_about_first_mounts_and_leave_running_volumes_alone() {
    let bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    let Ok(AllowedNamespaces::Labelled(selector)) = AllowedNamespaces::parse("volumes=true") else {
        panic!("a selector");
    };
    let labels = Arc::new(Labels(Mutex::default()));
    let volumes = bench.volumes.clone().only_in(selector, labels.clone());
    let labelled = |value: &str| {
        let labels = BTreeMap::from([(String::from("volumes"), value.to_owned())]);
        Some(Ok(Arc::new(labels)))
    };
    let mount = async || volumes.first(&plan("a"), Instant::now() + DEADLINE).await;

    *labels.0.lock() = labelled("true");
    assert!(mount().await.is_ok());
    let mut stream = volumes.subscribe(&plan("a"));
    assert_eq!(content(stream.next().await), "password=one");

    *labels.0.lock() = labelled("false");
    let failure = mount().await.unwrap_err();
    assert_eq!(failure.class, FailureClass::PermissionDenied);
    assert!(
        failure.message.contains("do not match volumes=true"),
        "{}",
        failure.message
    );
    bench.value("db", "two");
    assert_eq!(content(stream.next().await), "password=two");

    *labels.0.lock() = Some(Err(ReadError::Failed(String::from("refused"))));
    let failure = mount().await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Unavailable);
    *labels.0.lock() = None;
    let began = Instant::now();
    assert_eq!(mount().await.unwrap_err().class, FailureClass::Unavailable);
    assert_eq!(began.elapsed(), DEADLINE);
}
