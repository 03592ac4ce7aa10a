//! Whose pods may mount volumes: `--csi-allowed-namespaces` (csi.md 9.3).
//!
//! Names are compared by the plugin before anything else. Labels are looked at with each first mount, through a watch of that one
//! namespace (RBAC: `list` and `watch` on namespaces); a volume that is mounted stays, whatever becomes of them (csi.md R3).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::core::{Expression, Selector, SelectorExt as _};
use latchkey_csi::backend::FailureClass;
use tokio::time::{Instant, timeout_at};

use super::failure::{Failed, Patience, with_advice};
use crate::stores::{ReadError, StoreReader};

/// Longest name part of a label's key, and longest value, in bytes.
const MAX_LABEL_BYTES: usize = 63;

/// Namespaces whose pods may mount volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedNamespaces {
    /// Those of these names.
    Named(Vec<String>),
    /// Those with such labels.
    Labelled(Selector),
}

/// Tells the labels that a namespace has now.
pub trait NamespaceLabels: Send + Sync + 'static {
    /// The labels of `namespace`.
    ///
    /// # Errors
    ///
    /// There is no such namespace, or the API server does not say.
    fn labels<'a>(
        &'a self,
        namespace: &'a str,
    ) -> BoxFuture<'a, Result<Arc<BTreeMap<String, String>>, ReadError>>;
}

/// Namespaces chosen by their labels.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) selector: Selector,
    pub(super) labels: Arc<dyn NamespaceLabels>,
}

// === impl AllowedNamespaces ===

impl AllowedNamespaces {
    /// Reads names separated by commas, or a label selector as kubectl takes it. What could be either, such as `team-a`, is a name.
    ///
    /// # Errors
    ///
    /// The text is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = split(text);
        if parts.iter().all(|part| is_dns_label(part)) {
            return Ok(Self::Named(parts.into_iter().map(str::to_owned).collect()));
        }
        let expressions = parts.into_iter().map(|part| {
            requirement(part.trim()).ok_or_else(|| {
                format!("{part:?} is neither the name of a namespace nor part of a label selector")
            })
        });
        let expressions: Vec<Expression> = expressions.collect::<Result<_, _>>()?;
        Ok(Self::Labelled(expressions.into_iter().collect()))
    }
}

/// The parts between commas that are not within parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

/// One requirement: `key`, `!key`, `key=value`, `key==value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`.
fn requirement(text: &str) -> Option<Expression> {
    let expression = if let Some(key) = text.strip_prefix('!') {
        Expression::DoesNotExist(key.trim().to_owned())
    } else if let Some((key, value)) = text.split_once("!=") {
        Expression::NotEqual(key.trim().to_owned(), value_of(value)?)
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        Expression::Equal(key.trim().to_owned(), value_of(value)?)
    } else if let Some(list) = text.strip_suffix(')') {
        let (head, list) = list.split_once('(')?;
        let (key, operator) = head.trim().rsplit_once(' ')?;
        let values = list.split(',').map(value_of).collect::<Option<_>>()?;
        match operator {
            "in" => Expression::In(key.trim().to_owned(), values),
            "notin" => Expression::NotIn(key.trim().to_owned(), values),
            _ => return None,
        }
    } else {
        Expression::Exists(text.to_owned())
    };
    let key = match &expression {
        Expression::In(key, _)
        | Expression::NotIn(key, _)
        | Expression::Equal(key, _)
        | Expression::NotEqual(key, _)
        | Expression::Exists(key)
        | Expression::DoesNotExist(key) => key,
    };
    is_label_key(key).then_some(expression)
}

fn value_of(text: &str) -> Option<String> {
    let value = text.trim();
    (value.is_empty() || is_label_text(value)).then(|| value.to_owned())
}

fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        None => is_label_text(key),
        Some((prefix, name)) => {
            prefix.len() <= 253 && prefix.split('.').all(is_dns_label) && is_label_text(name)
        }
    }
}

fn is_label_text(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= MAX_LABEL_BYTES
        && bytes.iter().copied().all(inner)
        && outer(bytes.first())
        && outer(bytes.last())
}

fn is_dns_label(text: &str) -> bool {
    let is_lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    is_label_text(text) && text.bytes().all(is_lower)
}

// === impl NamespaceLabels ===

impl<R: StoreReader> NamespaceLabels for R {
    fn labels<'a>(
        &'a self,
        namespace: &'a str,
    ) -> BoxFuture<'a, Result<Arc<BTreeMap<String, String>>, ReadError>> {
        self.namespace_labels(namespace).boxed()
    }
}

// === impl Gate ===

impl Gate {
    /// Whether pods of `namespace` may mount volumes now.
    ///
    /// # Errors
    ///
    /// They may not, or the labels of the namespace are not known by `deadline`.
    pub(super) async fn admit(&self, namespace: &str, deadline: Instant) -> Result<(), Failed> {
        let reason = match timeout_at(deadline, self.labels.labels(namespace)).await {
            Ok(Ok(labels)) if self.selector.matches(&labels) => return Ok(()),
            Ok(Ok(_)) => {
                let text = format!(
                    "pods of namespace {namespace} may not mount volumes of this driver: its labels do not match {}",
                    self.selector
                );
                let advice = "ask the cluster's administrator to label it";
                return Err(Failed::new(
                    FailureClass::PermissionDenied,
                    Patience::Never,
                    with_advice(&text, advice),
                ));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => String::from("no answer in time"),
        };
        let text = format!("the labels of namespace {namespace} cannot be read: {reason}");
        Err(Failed::new(
            FailureClass::Unavailable,
            Patience::Later,
            with_advice(&text, "it is tried again by itself"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_and_all_else_is_a_selector() {
        let named = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            AllowedNamespaces::Named(names)
        };
        assert_eq!(AllowedNamespaces::parse("a"), Ok(named(&["a"])));
        let two = AllowedNamespaces::parse("team-a,team-b");
        assert_eq!(two, Ok(named(&["team-a", "team-b"])));
        for (text, shown) in [
            ("latchkey.dev/volumes=true", "latchkey.dev/volumes=true"),
            ("team==a", "team=a"),
            ("team!=a", "team!=a"),
            ("latchkey.dev/volumes", "latchkey.dev/volumes"),
            ("!restricted", "!restricted"),
            (
                "team in (a, b),env notin (dev)",
                "team in (a,b),env notin (dev)",
            ),
            ("env=prod,team", "env=prod,team"),
            ("env=", "env="),
            ("Env=Prod_1", "Env=Prod_1"),
        ] {
            match AllowedNamespaces::parse(text) {
                Ok(AllowedNamespaces::Labelled(selector)) => {
                    assert_eq!(selector.to_string(), shown, "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        for text in [
            "", "a,", ",a", "a b", "a=b=c", "=b", "a in b", "a in (b", "in (b)", "a on (b)",
            "a/b/c=d", "/a=b", "-a=b", "a=-b", "a=\u{e9}", "!", "a,=",
        ] {
            let parsed = AllowedNamespaces::parse(text);
            assert!(parsed.is_err(), "{text:?}: {parsed:?}");
        }
    }
}
