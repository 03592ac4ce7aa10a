//! Who waits for a publish, and what else arrives meanwhile (csi.md 2.2).

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::{Command, Publish, Published};
use crate::digest::Digest;
use crate::error::NodeError;

/// Calls that may wait for one publish.
const MAX_WAITERS: usize = 64;

/// Publishes with another specification that may wait for one to end.
const MAX_LATE: usize = 4;

/// How long they wait (csi.md 1.6).
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the result of a publish goes.
pub(super) type Reply = oneshot::Sender<Result<Published, NodeError>>;

/// The calls around one running publish.
pub(super) struct Party<P> {
    digest: Digest,
    waiters: Vec<Reply>,
    /// The unpublish that ends the publish.
    pub(super) unpublish: Option<oneshot::Sender<Result<(), NodeError>>>,
    /// Publishes with another specification, and until when they wait. The first one is the most impatient.
    late: VecDeque<(Instant, Box<Publish<P>>)>,
}

impl<P> Party<P> {
    pub(super) fn new(digest: Digest, reply: Reply) -> Self {
        Self {
            digest,
            waiters: vec![reply],
            unpublish: None,
            late: VecDeque::new(),
        }
    }

    /// Takes in a command that arrived while the publish runs.
    pub(super) fn hear(&mut self, command: Command<P>) {
        match command {
            Command::Publish(other) if other.checked.digest == self.digest => {
                if self.waiters.len() < MAX_WAITERS {
                    self.waiters.push(other.reply);
                } else {
                    answer(other.reply, Err(NodeError::Busy));
                }
            }
            Command::Publish(other) if self.late.len() < MAX_LATE => {
                self.late.push_back((Instant::now() + PATIENCE, other));
            }
            Command::Publish(other) => answer(other.reply, Err(NodeError::Busy)),
            Command::Unpublish(reply) => self.unpublish = Some(reply),
            // Never a target with an operation in flight (csi.md 7.5).
            Command::Reap(reply) => drop(reply.send(Ok(false))),
            Command::Settle(reply) => drop(reply.send(NodeError::Busy)),
        }
    }

    /// Returns when somebody has waited long enough; never if nobody waits.
    pub(super) async fn impatience(&self) {
        match self.late.front() {
            Some((until, _)) => tokio::time::sleep_until(*until).await,
            None => std::future::pending().await,
        }
    }

    /// Turns away the one that waited long enough.
    pub(super) fn turn_away(&mut self) {
        if let Some((_, publish)) = self.late.pop_front() {
            answer(publish.reply, Err(NodeError::Busy));
        }
    }

    /// Tells all who waited for this publish; those who wait for its end stay.
    pub(super) fn tell(&mut self, result: &Result<Published, NodeError>) {
        for waiter in self.waiters.drain(..) {
            answer(waiter, result.clone());
        }
    }

    /// Those who waited for the end.
    pub(super) fn into_late(self) -> impl Iterator<Item = Box<Publish<P>>> {
        self.late.into_iter().map(|(_, publish)| publish)
    }
}

pub(super) fn answer(reply: Reply, result: Result<Published, NodeError>) {
    // A caller that gave up needs no answer.
    let _ = reply.send(result);
}
