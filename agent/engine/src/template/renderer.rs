//! Templates of whole objects, rendered beside the threads that serve requests.

use std::num::NonZero;
use std::sync::Arc;

use jiff::Timestamp;
use latchkey_crds::external_secret::{ExternalSecret, Rewrite, Template};
use latchkey_secret::SecretData;
use latchkey_templating::{Delimiters, Limits, Options, Tree};
use tokio::sync::Semaphore;

use super::error::{Cause, TemplateError};
use super::manifest::{fill_manifest, render_manifest};
use super::objects::{TemplateObjects, Texts};
use super::render::{Rendered, check, render};
use crate::rewrite::{self, RewriteError};

/// How templates are read.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What opens and closes an action in `spec.target.template`. Rewrites always have Go's.
    pub delimiters: Delimiters,
    /// The bounds of each template.
    pub limits: Limits,
}

/// Renders the templates of objects. One for the whole process, so that templates never take more than a share of its
/// processors.
///
/// Rendering runs in Tokio's blocking pool: most templates take microseconds, but one that makes keys may take seconds, and no
/// template may hold up the mounts of others.
pub struct Renderer {
    settings: Settings,
    objects: Arc<dyn TemplateObjects>,
    places: Arc<Semaphore>,
}

// === impl Renderer ===

impl Renderer {
    /// A renderer that reads ConfigMaps and Secrets through `objects`.
    #[must_use]
    pub fn new(settings: Settings, objects: Arc<dyn TemplateObjects>) -> Self {
        let places = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            settings,
            objects,
            places: Arc::new(Semaphore::new(places)),
        }
    }

    /// What the target of `object` holds, made from the fetched values at the moment `now`.
    ///
    /// # Errors
    ///
    /// The template breaks a rule, refers to what is not there, or fails.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves at most one bounded render running, whose result is dropped.
    pub async fn render(
        &self,
        object: &ExternalSecret,
        fetched: SecretData,
        now: Timestamp,
    ) -> Result<Rendered, TemplateError> {
        let Some(template) = &object.spec.target.template else {
            return Ok(Rendered::untemplated(object, fetched));
        };
        check(&object.spec.target)?;
        let texts = self.texts(object, template).await;
        let template = template.clone();
        let options = self.template_options(now);
        self.aside(move || render(&template, &fetched, &texts, &options))
            .await
            .unwrap_or_else(|| Err(TemplateError::new(Cause::Internal)))
    }

    /// `base`, which is an object of the kind that `spec.target.manifest` names, with what the fetched values make of it at the
    /// moment `now`.
    ///
    /// # Errors
    ///
    /// The template breaks a rule, refers to what is not there, fails, or has a target that the object does not have.
    ///
    /// # Cancel safety
    ///
    /// As for [`Self::render`].
    pub async fn render_manifest(
        &self,
        object: &ExternalSecret,
        base: Tree,
        fetched: SecretData,
        now: Timestamp,
    ) -> Result<Tree, TemplateError> {
        let target = &object.spec.target;
        let Some(template) = &target.template else {
            let kind = target.manifest.as_ref().map(|manifest| &*manifest.kind);
            return fill_manifest(kind.unwrap_or_default(), base, &fetched);
        };
        check(target).map_err(TemplateError::of_manifest)?;
        let texts = self.texts(object, template).await;
        let template = template.clone();
        let options = self.template_options(now);
        self.aside(move || render_manifest(&template, base, &fetched, &texts, &options))
            .await
            .unwrap_or_else(|| Err(TemplateError::new(Cause::Internal)))
    }

    async fn texts(&self, object: &ExternalSecret, template: &Template) -> Texts {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        Texts::read(template, namespace, &*self.objects).await
    }

    fn template_options(&self, now: Timestamp) -> Options {
        Options {
            delimiters: self.settings.delimiters.clone(),
            ..self.options(now)
        }
    }

    /// Applies the rewrites of a `dataFrom` entry at the moment `now`.
    ///
    /// # Errors
    ///
    /// The first operation that fails.
    ///
    /// # Cancel safety
    ///
    /// As for [`Self::render`].
    pub async fn rewrite(
        &self,
        operations: &[Rewrite],
        data: SecretData,
        now: Timestamp,
    ) -> Result<SecretData, RewriteError> {
        if operations.is_empty() {
            return Ok(data);
        }
        let operations = operations.to_vec();
        let options = self.options(now);
        self.aside(move || rewrite::rewrite(&operations, data, &options))
            .await
            .unwrap_or(Err(RewriteError::Internal))
    }

    fn options(&self, now: Timestamp) -> Options {
        Options {
            limits: self.settings.limits,
            ..Options::new(now)
        }
    }

    /// Runs `work` in the blocking pool, as soon as there is a place; `None` if it panicked. The place is kept until the work
    /// ends, even if nobody waits for it any more.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        work.await.ok()
    }
}
