//! Failures of the Node calls and the one place where they become gRPC codes (csi.md 1.6).
//!
//! The code decides what kubelet does next: after UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED or ABORTED it calls
//! NodeUnpublishVolume before it forgets the volume, after every other code it does not. A final code therefore promises that
//! nothing is mounted.

use tonic::{Code, Status};

use crate::backend::FailureClass;

/// Longest message of a status, bytes; it ends up in an event of the pod.
const MAX_MESSAGE: usize = 512;

/// Why a Node call failed. The text is shown to users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NodeError {
    /// The request breaks a rule (csi.md 1.3).
    #[error("{0}")]
    Invalid(String),
    /// kubelet did not write the pod's keys.
    #[error(
        "kubelet did not say which pod this is; the CSIDriver object lacks podInfoOnMount: true: set it and recreate the pod"
    )]
    NoPodInfo,
    /// Policy forbids the namespace.
    #[error(
        "pods of namespace {namespace:?} may not mount volumes of this driver; ask the cluster's administrator"
    )]
    Forbidden {
        /// The pod's namespace.
        namespace: String,
    },
    /// Another volume is mounted at the target.
    #[error("the target holds this driver's volume with another specification; delete the pod")]
    Conflict,
    /// Something that is not ours is mounted at the target.
    #[error("a foreign filesystem is mounted at the target; unmount it on the node")]
    Foreign,
    /// The target is no empty directory.
    #[error("the target is {0}; remove it on the node")]
    Occupied(&'static str),
    /// The node can never mount volumes.
    #[error("this node cannot mount volumes: {0}")]
    Unfit(String),
    /// Another operation holds the target.
    #[error("another operation on this volume is running; kubelet tries again")]
    Busy,
    /// A publish gave way to an unpublish.
    #[error("the volume was unpublished while it was being published")]
    Cancelled,
    /// The agent stops.
    #[error("the agent is shutting down; kubelet tries again")]
    ShuttingDown,
    /// Too many targets.
    #[error("the node holds too many volumes; delete pods on it")]
    TooMany,
    /// The node's budget of tmpfs is used up.
    #[error(
        "the node's budget for volumes is used up; delete pods on it or raise --csi-max-total-bytes of the agent"
    )]
    Budget,
    /// The backend had no content.
    #[error("{message}")]
    Backend {
        /// Decides the code.
        class: FailureClass,
        /// Safe to show.
        message: String,
    },
    /// The content cannot be shown as files.
    #[error("{0}")]
    Content(String),
    /// The filesystem failed; nothing is mounted.
    #[error("{0}; see the agent's log on the node")]
    Filesystem(String),
    /// The filesystem failed and something may still be mounted.
    #[error("{0}, and cleaning up failed too; kubelet tries again")]
    NotCleaned(String),
    /// Whether something is mounted cannot be told.
    #[error("{0}; kubelet tries again")]
    Uncertain(String),
    /// A mounted volume lost its content and there is none to replace it.
    #[error("the volume lost its content: {0}")]
    Broken(String),
    /// A defect of this program.
    #[error("the agent failed unexpectedly; see its log on the node")]
    Panicked,
    /// No such volume at this path.
    #[error("no volume with this id is mounted at volume_path")]
    NotFound,
}

impl NodeError {
    /// The gRPC code.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::NoPodInfo
            | Self::Foreign
            | Self::Occupied(_)
            | Self::Unfit(_)
            | Self::Content(_) => Code::FailedPrecondition,
            Self::Forbidden { .. } => Code::PermissionDenied,
            Self::Conflict => Code::AlreadyExists,
            Self::Busy | Self::Cancelled | Self::NotCleaned(_) | Self::Uncertain(_) => {
                Code::Aborted
            }
            Self::ShuttingDown => Code::Unavailable,
            Self::TooMany | Self::Budget => Code::ResourceExhausted,
            Self::Backend { class, .. } => match class {
                FailureClass::Unavailable => Code::Unavailable,
                FailureClass::DeadlineExceeded => Code::DeadlineExceeded,
                FailureClass::NotFound => Code::NotFound,
                FailureClass::FailedPrecondition => Code::FailedPrecondition,
                FailureClass::PermissionDenied => Code::PermissionDenied,
                FailureClass::Unauthenticated => Code::Unauthenticated,
            },
            Self::Filesystem(_) | Self::Broken(_) | Self::Panicked => Code::Internal,
            Self::NotFound => Code::NotFound,
        }
    }
}

/// Whether kubelet takes the operation for over after `code`: it will not unpublish (csi.md 1.6).
pub(crate) fn is_final(code: Code) -> bool {
    !matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Unavailable
            | Code::ResourceExhausted
            | Code::Aborted
    )
}

impl From<NodeError> for Status {
    fn from(error: NodeError) -> Self {
        Self::new(error.code(), one_line(&error.to_string()))
    }
}

/// `text` as one line of at most [`MAX_MESSAGE`] bytes (csi.md 1.2).
pub(crate) fn one_line(text: &str) -> String {
    let mut line = text
        .split(|character: char| character.is_control())
        .collect::<Vec<_>>()
        .join(" ");
    if line.len() > MAX_MESSAGE {
        let mut end = MAX_MESSAGE;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
    }
    line
}

/// An error and its sources in one line, for the log.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

    use super::{NodeError, one_line};
    use crate::backend::FailureClass;

    /// csi.md 1.6: which answers make kubelet call Unpublish.
    #[test]
    fn codes_follow_the_table() {
        let backend = |class| NodeError::Backend {
            class,
            message: "m".to_owned(),
        };
        let table = [
            (NodeError::Invalid("x".to_owned()), Code::InvalidArgument),
            (NodeError::NoPodInfo, Code::FailedPrecondition),
            (
                NodeError::Forbidden {
                    namespace: "n".to_owned(),
                },
                Code::PermissionDenied,
            ),
            (NodeError::Conflict, Code::AlreadyExists),
            (NodeError::Foreign, Code::FailedPrecondition),
            (NodeError::Occupied("a file"), Code::FailedPrecondition),
            (NodeError::Unfit("x".to_owned()), Code::FailedPrecondition),
            (NodeError::Busy, Code::Aborted),
            (NodeError::Cancelled, Code::Aborted),
            (NodeError::ShuttingDown, Code::Unavailable),
            (NodeError::TooMany, Code::ResourceExhausted),
            (NodeError::Budget, Code::ResourceExhausted),
            (backend(FailureClass::Unavailable), Code::Unavailable),
            (
                backend(FailureClass::DeadlineExceeded),
                Code::DeadlineExceeded,
            ),
            (backend(FailureClass::NotFound), Code::NotFound),
            (
                backend(FailureClass::FailedPrecondition),
                Code::FailedPrecondition,
            ),
            (
                backend(FailureClass::PermissionDenied),
                Code::PermissionDenied,
            ),
            (
                backend(FailureClass::Unauthenticated),
                Code::Unauthenticated,
            ),
            (NodeError::Content("x".to_owned()), Code::FailedPrecondition),
            (NodeError::Filesystem("x".to_owned()), Code::Internal),
            (NodeError::NotCleaned("x".to_owned()), Code::Aborted),
            (NodeError::Uncertain("x".to_owned()), Code::Aborted),
            (NodeError::Broken("x".to_owned()), Code::Internal),
            (NodeError::Panicked, Code::Internal),
            (NodeError::NotFound, Code::NotFound),
        ];
        for (error, code) in table {
            assert_eq!(Status::from(error).code(), code);
        }
    }

    #[test]
    fn messages_are_one_short_line() {
        assert_eq!(one_line("a\nb\tc"), "a b c");
        assert_eq!(one_line(&"ü".repeat(400)).len(), 512);
        assert_eq!(one_line(&format!("a{}", "ü".repeat(400))).len(), 511);
    }
}
