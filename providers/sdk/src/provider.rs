//! What a backend implements.

use std::future::Future;

use latchkey_secret::{SecretData, SecretValue};

use crate::error::{ProviderError, Result};
use crate::request::{
    Capability, Find, Generated, GeneratorKind, Push, PushRemoteRef, RemoteRef, RequestContext,
    ServedKind, Validation,
};

/// A backend family: one implementation per provider server.
///
/// The service around it has already checked the request (namespaces, served kind, presence of operands), bounds every call
/// by the caller's deadline and cancels the returned future when the deadline passes or the caller goes away, turns a panic
/// into `INTERNAL` and keeps the metrics. An implementation reads its own resource and credentials through
/// [`crate::Cluster`] and must not keep payload bytes in errors or logs.
///
/// # Cancel safety
///
/// Every future may be dropped at any `.await`.
pub trait Provider: Send + Sync + 'static {
    /// The kinds of stores that this server serves. Requests for other kinds never reach the other methods. With none, the
    /// default, `provider.v1.SecretStoreProvider` is not served.
    fn kinds(&self) -> &[ServedKind] {
        &[]
    }

    /// The kinds of generators that this server serves. With none, the default, `generator.v1.GeneratorProvider` is not served.
    fn generator_kinds(&self) -> &[GeneratorKind] {
        &[]
    }

    /// Reads one value.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorClass::SecretNotFound`] only if the backend says that the object or version is absent.
    fn get_secret(
        &self,
        context: &RequestContext,
        remote: &RemoteRef,
    ) -> impl Future<Output = Result<SecretValue>> + Send {
        let _ = remote;
        unimplemented(context)
    }

    /// Reads one object as a map of its members.
    ///
    /// # Errors
    ///
    /// As for [`Provider::get_secret`].
    fn get_secret_map(
        &self,
        context: &RequestContext,
        remote: &RemoteRef,
    ) -> impl Future<Output = Result<SecretData>> + Send {
        let _ = remote;
        unimplemented(context)
    }

    /// Finds objects. An empty answer is a success.
    ///
    /// # Errors
    ///
    /// Any class but [`crate::ErrorClass::SecretNotFound`].
    fn get_all_secrets(
        &self,
        context: &RequestContext,
        find: &Find,
    ) -> impl Future<Output = Result<SecretData>> + Send {
        let _ = find;
        unimplemented(context)
    }

    /// Creates or updates one object or one property of it.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorClass::NotManaged`] if the object exists without the ownership mark.
    fn push_secret(
        &self,
        context: &RequestContext,
        push: &Push,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = push;
        unimplemented(context)
    }

    /// Deletes one object or one property of it; deleting what is absent is a success.
    ///
    /// # Errors
    ///
    /// Any class but [`crate::ErrorClass::SecretNotFound`].
    fn delete_secret(
        &self,
        context: &RequestContext,
        remote: &PushRemoteRef,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = remote;
        unimplemented(context)
    }

    /// Whether an object (or property) exists.
    ///
    /// # Errors
    ///
    /// Any class but [`crate::ErrorClass::SecretNotFound`].
    fn secret_exists(
        &self,
        context: &RequestContext,
        remote: &PushRemoteRef,
    ) -> impl Future<Output = Result<bool>> + Send {
        let _ = remote;
        unimplemented(context)
    }

    /// Checks the resource and that credentials can be obtained. Must not read any secret.
    ///
    /// # Errors
    ///
    /// Classes for which [`crate::ErrorClass::is_verdict`] holds are answered as `valid=false`; the others fail the call.
    fn validate(
        &self,
        context: &RequestContext,
    ) -> impl Future<Output = Result<Validation>> + Send {
        unimplemented(context)
    }

    /// The ability of a served kind. Override it only where it depends on more than the kind; it must not touch the backend.
    ///
    /// # Errors
    ///
    /// None by default.
    fn capabilities(
        &self,
        context: &RequestContext,
        kind: &ServedKind,
    ) -> impl Future<Output = Result<Capability>> + Send {
        let _ = context;
        let capability = kind.capability;
        async move { Ok(capability) }
    }

    /// Makes new values. Each call makes others; whoever calls must not repeat it blindly.
    ///
    /// # Errors
    ///
    /// Any class but [`crate::ErrorClass::SecretNotFound`]. What was made by then must be revoked.
    fn generate(&self, context: &RequestContext) -> impl Future<Output = Result<Generated>> + Send {
        unimplemented(context)
    }

    /// Revokes what a Generate made, by the state that it left. What is gone already is a success. By default there is nothing
    /// to revoke.
    ///
    /// # Errors
    ///
    /// Any class but [`crate::ErrorClass::SecretNotFound`]; [`crate::ErrorClass::InvalidArgument`] for a state of a version that
    /// this server does not know.
    fn cleanup(
        &self,
        context: &RequestContext,
        state: &[u8],
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = (context, state);
        async { Ok(()) }
    }

    /// Called once after the server has drained: revoke cached backend tokens. Bounded by a few seconds.
    fn shutdown(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

fn unimplemented<T>(context: &RequestContext) -> impl Future<Output = Result<T>> + Send + use<T> {
    let error = ProviderError::unimplemented(context.operation().name());
    async move { Err(error) }
}
