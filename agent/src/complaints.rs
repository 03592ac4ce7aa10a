//! Complaints that are made once.
//!
//! What fails on every attempt, such as a request without permission, is worth one line, not one per attempt.

use std::collections::HashMap;
use std::hash::Hash;

use kube::runtime::watcher;
use parking_lot::Mutex;
use tracing::{error, warn};

use crate::api_server::describe;
use crate::namespaces::Place;

/// The most places that are remembered; beyond, a complaint may be made again.
const LIMIT: usize = 1024;

/// The last complaint about each `P`.
#[derive(Debug)]
pub(crate) struct Told<P>(Mutex<HashMap<P, String>>);

impl<P> Default for Told<P> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

// === impl Told ===

impl<P: Eq + Hash> Told<P> {
    /// Whether `text` is news about `about`: not what was complained about last.
    pub(crate) fn is_news(&self, about: P, text: &str) -> bool {
        let mut told = self.0.lock();
        if told.get(&about).is_some_and(|last| last == text) {
            return false;
        }
        if told.len() >= LIMIT {
            told.clear();
        }
        told.insert(about, text.to_owned());
        true
    }

    /// It works again: the same complaint would be news.
    pub(crate) fn works(&self, about: &P) {
        self.0.lock().remove(about);
    }
}

/// Complaints about watches, by kind and by what the watch covers.
#[derive(Debug, Default)]
pub(crate) struct WatchComplaints(Told<(&'static str, Place)>);

// === impl WatchComplaints ===

impl WatchComplaints {
    /// Hears what a watch of `kind` says, and tells a failure that is news. Watches begin again by themselves.
    pub(crate) fn hear<K>(
        &self,
        kind: &'static str,
        place: &Place,
        event: &watcher::Result<watcher::Event<K>>,
    ) {
        let about = (kind, place.clone());
        let broken = match event {
            // Comes before anything was read.
            Ok(watcher::Event::Init) => return,
            Ok(_) => return self.0.works(&about),
            Err(error) => error,
        };
        let text = describe_watch(broken);
        if !self.0.is_news(about, &text) {
            return;
        }
        if is_forbidden(broken) {
            error!("{kind} in {place} cannot be watched: {text}; grant list and watch on them");
        } else {
            warn!("the watch of {kind} in {place} broke: {text}");
        }
    }
}

/// An error of a watch, as [`describe`] tells one of a request.
pub(crate) fn describe_watch(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => describe(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        _ => String::from("the answer is not understood"),
    }
}

/// Whether the API server refuses a watch for lack of permission.
fn is_forbidden(error: &watcher::Error) -> bool {
    let code = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code,
        watcher::Error::WatchError(status) => status.code,
        _ => return false,
    };
    code == 403
}

#[cfg(test)]
mod tests {
    use super::Told;

    #[test]
    fn a_complaint_is_news_once_until_it_reads_otherwise_or_it_worked_meanwhile() {
        let told = Told::default();
        assert!(told.is_news("a", "forbidden"));
        assert!(!told.is_news("a", "forbidden"));
        assert!(told.is_news("b", "forbidden"), "it concerns another");
        assert!(told.is_news("a", "down") && told.is_news("a", "forbidden"));
        told.works(&"a");
        assert!(told.is_news("a", "forbidden"));
    }
}
