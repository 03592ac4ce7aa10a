//! What is said about targets of other kinds (`externalsecret.md` 2.13, 5.6).

use latchkey_engine::template::TemplateError;

use super::super::decide::Plan;
use super::super::outcome::{self, Failure, Interrupted, Retry};
use super::super::target::RequestError;
use super::desired::NotSettled;
use super::kinds;
use super::live::WriteError;

/// Message where the target could not be read.
const NOT_READ: &str = "could not get target resource";
/// Message where the target could not be made of the values.
const NOT_APPLIED: &str = "could not apply template to manifest";
/// Message where the target could not be written.
const NOT_UPDATED: &str = "could not update secret";
/// Message where the target could not be deleted.
const NOT_DELETED: &str = "could not delete resource";

fn failure(message: &str, detail: String, retry: Retry) -> Failure {
    Failure {
        message: message.to_owned(),
        detail,
        retry,
        // Generic targets have no binding.
        binds: false,
    }
}

/// The failure of an object that cannot be honoured until someone changes it.
pub(super) fn refused(plan: Plan) -> Interrupted {
    match plan {
        Plan::Refuse { message, detail } => outcome::refused(message, detail).into(),
        Plan::RefuseTemplate(error) => not_rendered(&error).into(),
        Plan::Adopt | Plan::Rest(_) | Plan::Resolve => {
            Interrupted::Again(RequestError::Other(String::from("no refusal")))
        }
    }
}

/// The failure of a target whose kind is of no use. One that is not served may be later.
pub(super) fn no_kind(error: kinds::Error) -> Failure {
    let retry = match &error {
        kinds::Error::InNoNamespace(_) => Retry::Never,
        kinds::Error::Missing(_) | kinds::Error::Request(_) => Retry::Backoff(None),
    };
    let detail = format!("failed to get target resource: {error}");
    failure(NOT_READ, detail, retry)
}

/// The failure of a target that could not be read.
pub(super) fn not_read(error: RequestError) -> Failure {
    let detail = format!("failed to get target resource: {error}");
    failure(NOT_READ, detail, Retry::Backoff(None))
}

/// The failure of a template. One that breaks a rule breaks it until someone changes it.
pub(super) fn not_rendered(error: &TemplateError) -> Failure {
    let retry = if error.is_forbidden() {
        Retry::Never
    } else {
        Retry::Backoff(None)
    };
    failure(NOT_APPLIED, error.to_string(), retry)
}

/// The failure of an object that may not be written as it was rendered.
pub(super) fn not_settled(error: NotSettled) -> Failure {
    let retry = match error {
        // Somebody else's, or asked for what is never allowed.
        NotSettled::Owned(_) | NotSettled::Privileged(_) => Retry::Never,
        NotSettled::Renamed(_)
        | NotSettled::OtherKind(_)
        | NotSettled::BadMetadata
        | NotSettled::NoContent { .. } => Retry::Backoff(None),
    };
    failure(NOT_APPLIED, error.to_string(), retry)
}

/// The failure of a write, but for conflicts.
pub(super) fn not_written(error: &WriteError, name: &str, is_update: bool) -> Failure {
    let step = if is_update { "update" } else { "create" };
    let detail = match error {
        WriteError::Exists => format!("target resource with name {name} already exists"),
        WriteError::Conflict => format!("failed to {step} target resource: it has changed"),
        WriteError::Missing => format!(
            "failed to {step} target resource: the object, its namespace or its kind does not exist"
        ),
        WriteError::Other(text) => format!("failed to {step} target resource: {text}"),
    };
    failure(NOT_UPDATED, detail, Retry::Backoff(None))
}

/// The failure for a target that should go and may not (2.9, D-11).
pub(super) fn not_deletable(detail: String) -> Failure {
    failure(NOT_DELETED, detail, Retry::Never)
}

/// The failure of a deletion.
pub(super) fn not_deleted(error: &RequestError) -> Failure {
    let detail = format!("failed to delete target resource: {error}");
    failure(NOT_DELETED, detail, Retry::Backoff(None))
}

#[cfg(test)]
mod tests {
    use super::super::Gvk;
    use super::*;

    fn widget() -> Gvk {
        Gvk {
            group: "example.com".to_owned(),
            version: "v1".to_owned(),
            kind: "Widget".to_owned(),
        }
    }

    #[test]
    fn failures_have_the_message_of_their_step() {
        // externalsecret.md 2.13, 5.6
        let request = || RequestError::Other("boom".to_owned());
        let owned = NotSettled::Privileged("rule".to_owned());
        let again = Retry::Backoff(None);
        for (failure, message, detail, retry) in [
            (
                no_kind(kinds::Error::Missing(widget())),
                "could not get target resource",
                "failed to get target resource: no matches for kind \"Widget\" in version \"example.com/v1\"",
                again,
            ),
            (
                no_kind(kinds::Error::InNoNamespace(widget())),
                "could not get target resource",
                "failed to get target resource: objects of kind \"Widget\" in version \"example.com/v1\" are not in a namespace",
                Retry::Never,
            ),
            (
                not_read(request()),
                "could not get target resource",
                "failed to get target resource: boom",
                again,
            ),
            (
                not_settled(owned),
                "could not apply template to manifest",
                "rule",
                Retry::Never,
            ),
            (
                not_written(&WriteError::Exists, "w", false),
                "could not update secret",
                "target resource with name w already exists",
                again,
            ),
            (
                not_written(&WriteError::Other("boom".to_owned()), "w", true),
                "could not update secret",
                "failed to update target resource: boom",
                again,
            ),
            (
                not_deletable("unable to delete resource: why".to_owned()),
                "could not delete resource",
                "unable to delete resource: why",
                Retry::Never,
            ),
            (
                not_deleted(&request()),
                "could not delete resource",
                "failed to delete target resource: boom",
                again,
            ),
        ] {
            assert_eq!(
                (&*failure.message, &*failure.detail, failure.retry),
                (message, detail, retry)
            );
            assert!(!failure.binds);
        }
    }
}
