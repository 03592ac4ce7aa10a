//! The thread that serves kubelet, and what is not done on it.
//!
//! A call of kubelet is a connection, a request and a command to a volume's task, with hardly any work in each. Between the
//! threads of a shared runtime, waking one for the next step costs more than all of them; here they take turns on one. What a
//! backend starts (watches, connections to providers) has work of its own: it stays in the runtime that the plugin was started in
//! ([`AtHome`]).

use std::future::Future;
use std::io;
use std::panic::resume_unwind;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::context::TokioContext;

use crate::backend::{
    Backend, Description, Failure, FileSet, Refusal, ServiceAccountTokens, Shown, Update,
    VolumeRequest, VolumeSettings,
};

/// Runs what `start` makes to its end, on a thread and in a runtime of its own. A panic there is one here.
///
/// # Errors
///
/// There is no thread or no runtime to be had.
///
/// # Cancel safety
///
/// The thread goes on without the caller until what it runs ends.
pub(super) async fn on_own_thread<T, F>(start: impl FnOnce() -> F + Send + 'static) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let (tell, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name("csi".to_owned());
    let thread = thread.spawn(move || {
        // A caller that went away needs no answer.
        let _ = tell.send(run(start));
    })?;
    match ended.await {
        Ok(result) => result,
        Err(_) => match thread.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => Err(io::Error::other("the thread ended early")),
        },
    }
}

fn run<T, F: Future<Output = T>>(start: impl FnOnce() -> F) -> io::Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let value = runtime.block_on(start());
    // What still hangs in the kernel must not keep the process.
    runtime.shutdown_background();
    Ok(value)
}

/// A backend whose tasks, timers and connections belong to another runtime than the one that asks it.
pub(super) struct AtHome<B> {
    backend: B,
    home: Handle,
}

// === impl AtHome ===

impl<B> AtHome<B> {
    /// At home in the runtime of the caller.
    pub(super) fn here(backend: B) -> Self {
        Self {
            backend,
            home: Handle::current(),
        }
    }

    /// Asks for updates at home, and has them made there.
    fn follow(
        &self,
        ask: impl FnOnce(&B) -> BoxStream<'static, Update>,
    ) -> BoxStream<'static, Update> {
        let home = self.home.clone();
        let _home = self.home.enter();
        let mut updates = ask(&self.backend);
        stream::poll_fn(move |context| {
            let _home = home.enter();
            updates.poll_next_unpin(context)
        })
        .boxed()
    }
}

#[warn(
    clippy::missing_trait_methods,
    reason = "a method with a default that is not passed on would never be called"
)]
impl<B: Backend> Backend for AtHome<B> {
    type Plan = B::Plan;

    fn plan(&self, request: &VolumeRequest) -> Result<B::Plan, Refusal> {
        self.backend.plan(request)
    }

    fn settings(&self, plan: &B::Plan) -> VolumeSettings {
        self.backend.settings(plan)
    }

    fn tokens(&self, plan: &B::Plan, tokens: &ServiceAccountTokens) {
        let _home = self.home.enter();
        self.backend.tokens(plan, tokens);
    }

    fn first(
        &self,
        plan: &B::Plan,
        deadline: Instant,
    ) -> impl Future<Output = Result<FileSet, Failure>> + Send {
        let _home = self.home.enter();
        TokioContext::new(self.backend.first(plan, deadline), self.home.clone())
    }

    fn subscribe(&self, plan: &B::Plan) -> BoxStream<'static, Update> {
        self.follow(|backend| backend.subscribe(plan))
    }

    fn resume(&self, plan: &B::Plan, shown: Shown) -> BoxStream<'static, Update> {
        self.follow(|backend| backend.resume(plan, shown))
    }

    fn republished(&self, plan: &B::Plan) {
        let _home = self.home.enter();
        self.backend.republished(plan);
    }

    fn describe(&self, plan: &B::Plan) -> Description {
        let _home = self.home.enter();
        self.backend.describe(plan)
    }

    fn released(&self, plan: &B::Plan) {
        let _home = self.home.enter();
        self.backend.released(plan);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use futures::stream::{self, BoxStream};
    use futures::{FutureExt, StreamExt};
    use parking_lot::Mutex;
    use tokio::runtime::{Handle, RuntimeFlavor};
    use tokio::time::Instant;

    use super::{AtHome, on_own_thread};
    use crate::backend::{
        Backend, Failure, FileSet, Refusal, ServiceAccountTokens, Shown, Trigger, Update,
        VolumeRequest,
    };

    /// Notes in which kind of runtime, and on which thread, it is asked.
    #[derive(Clone, Default)]
    struct Asked(Arc<Mutex<BTreeMap<&'static str, (bool, bool)>>>);

    impl Asked {
        fn note(&self, what: &'static str) {
            let shared = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
            let csi = std::thread::current().name() == Some("csi");
            self.0.lock().insert(what, (shared, csi));
        }
    }

    impl Backend for Asked {
        type Plan = ();

        fn plan(&self, _: &VolumeRequest) -> Result<(), Refusal> {
            Ok(())
        }

        fn tokens(&self, (): &(), _: &ServiceAccountTokens) {
            self.note("tokens");
        }

        async fn first(&self, (): &(), _: Instant) -> Result<FileSet, Failure> {
            self.note("first");
            tokio::task::yield_now().await;
            self.note("first, later");
            let asked = self.clone();
            let task = tokio::spawn(async move { asked.note("a task") });
            task.await.unwrap();
            Ok(FileSet::default())
        }

        fn subscribe(&self, (): &()) -> BoxStream<'static, Update> {
            self.note("subscribe");
            let asked = self.clone();
            stream::once(async move {
                asked.note("an update");
                Update::Stale("down".to_owned(), Trigger::Interval)
            })
            .boxed()
        }

        fn resume(&self, (): &(), _: Shown) -> BoxStream<'static, Update> {
            self.note("resume");
            self.subscribe(&())
        }

        fn republished(&self, (): &()) {
            self.note("republished");
        }

        fn released(&self, (): &()) {
            self.note("released");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_a_backend_starts_stays_in_the_runtime_of_the_caller() {
        let asked = Asked::default();
        let backend = AtHome::here(asked.clone());
        let own = on_own_thread(move || async move {
            backend.tokens(&(), &ServiceAccountTokens::default());
            backend.first(&(), Instant::now()).await.unwrap();
            let updates = backend.subscribe(&()).collect::<Vec<_>>().await;
            assert_eq!(updates.len(), 1);
            let read = || futures::future::ready(None).boxed();
            let shown = Shown::new(String::new(), Instant::now(), read);
            let updates = backend.resume(&(), shown).collect::<Vec<_>>().await;
            assert_eq!(updates.len(), 1);
            backend.republished(&());
            backend.released(&());
            Handle::current().runtime_flavor()
        });
        assert_eq!(own.await.unwrap(), RuntimeFlavor::CurrentThread);
        let asked = asked.0.lock().clone();
        assert_eq!(asked.len(), 9, "{asked:?}");
        for (what, (shared, csi)) in asked {
            assert_eq!((shared, csi), (true, what != "a task"), "{what}");
        }
    }

    #[tokio::test]
    async fn a_panic_of_the_thread_is_the_callers() {
        let task = tokio::spawn(on_own_thread(|| async {
            panic!("expected by the test");
        }));
        let ended: Result<std::io::Result<()>, _> = task.await;
        assert!(ended.unwrap_err().is_panic());
    }

    /// csi.md 2.2: what hangs in the kernel is left to itself.
    #[tokio::test]
    async fn a_call_that_hangs_does_not_keep_the_thread() {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let own = on_own_thread(move || async move {
            drop(tokio::task::spawn_blocking(move || wait.recv().is_ok()));
            7
        });
        let ended = tokio::time::timeout(std::time::Duration::from_secs(10), own).await;
        assert_eq!(ended.unwrap().unwrap(), 7);
        drop(release);
    }
}
