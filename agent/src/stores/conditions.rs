//! Namespaces that may use a ClusterSecretStore (externalsecret.md 2.14).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};
use latchkey_crds::secret_store::NamespaceCondition;
use regex::RegexBuilder;

/// The label that the API server keeps equal to a namespace's name, so that a tenant cannot spoof it (SB-10).
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Largest compiled form of an expression, in bytes. Matching is linear; this bounds memory.
const MAX_EXPRESSION: usize = 1 << 20;

/// Why conditions could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// An expression is no RE2 expression.
    #[error("failed to compile regex {expression}: {cause}")]
    Expression {
        /// The expression, at most 128 characters.
        expression: String,
        /// What is wrong, in one line.
        cause: String,
    },
    /// A label selector is malformed.
    #[error("spec.conditions[{index}].namespaceSelector is not valid: {cause}")]
    Selector {
        /// Index of the condition.
        index: usize,
        /// What is wrong.
        cause: String,
    },
}

/// Whether evaluating `conditions` needs the labels of the namespace.
#[must_use]
pub fn need_labels(conditions: &[NamespaceCondition]) -> bool {
    conditions
        .iter()
        .any(|condition| condition.namespace_selector.is_some() || !condition.namespaces.is_empty())
}

/// Whether the namespace `name` with `labels` may use a store with `conditions`. No conditions admit every namespace.
///
/// Evaluation stops at the first match: conditions in order, inside one the selector, the names, the expressions.
///
/// # Errors
///
/// [`ConditionError`] for a malformed selector or expression that is reached before a match.
pub fn admit(
    conditions: &[NamespaceCondition],
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Result<bool, ConditionError> {
    if conditions.is_empty() {
        return Ok(true);
    }
    for (index, condition) in conditions.iter().enumerate() {
        if let Some(selector) = &condition.namespace_selector
            && selector_of(index, selector)?.matches(labels)
        {
            return Ok(true);
        }
        if let Some(label) = labels.get(NAME_LABEL)
            && condition.namespaces.contains(label)
        {
            return Ok(true);
        }
        for expression in &condition.namespace_regexes {
            if compile(expression)?.is_match(name) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Every expression and selector that is malformed, for the store's own condition.
#[must_use]
pub fn violations(conditions: &[NamespaceCondition]) -> Vec<String> {
    let mut violations = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        if let Some(selector) = &condition.namespace_selector
            && let Err(error) = selector_of(index, selector)
        {
            violations.push(error.to_string());
        }
        for expression in &condition.namespace_regexes {
            if let Err(error) = compile(expression) {
                violations.push(format!(
                    "spec.conditions[{index}].namespaceRegexes: {error}"
                ));
            }
        }
    }
    violations
}

fn selector_of(index: usize, selector: &LabelSelector) -> Result<Selector, ConditionError> {
    Selector::try_from(selector.clone()).map_err(|error| ConditionError::Selector {
        index,
        cause: error.to_string(),
    })
}

fn compile(expression: &str) -> Result<regex::Regex, ConditionError> {
    RegexBuilder::new(expression)
        .size_limit(MAX_EXPRESSION)
        .build()
        .map_err(|error| {
            // The full text draws the expression over several lines; the last one says what is wrong.
            let text = error.to_string();
            let cause = text
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned();
            ConditionError::Expression {
                expression: expression.chars().take(128).collect(),
                cause,
            }
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use latchkey_crds::secret_store::NamespaceCondition;
    use serde_json::json;

    use super::{ConditionError, admit, need_labels, violations};

    fn conditions(value: serde_json::Value) -> Vec<NamespaceCondition> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn one_matching_condition_admits() {
        // E066, E067, E068, E069, E070, E071, E072, E073, E074, E075, E076, E077, E078, E079, E080, X-087, AMB-18.
        let cases = [
            (json!([]), true),
            (json!([{}]), false),
            (json!([{"namespaces": []}]), false),
            (
                json!([{"namespaceSelector": {}, "namespaces": [], "namespaceRegexes": []}]),
                true,
            ),
            (json!([{"namespaces": ["other"]}]), false),
            (json!([{"namespaces": ["o1", "o2"]}]), false),
            (json!([{"namespaces": ["dev-x", "other"]}]), true),
            (
                json!([{"namespaces": ["o1"]}, {"namespaces": ["dev-x"]}]),
                true,
            ),
            (
                json!([{"namespaceSelector": {"matchLabels": {"team": "a"}}}]),
                true,
            ),
            (
                json!([{"namespaceSelector": {"matchLabels": {"team": "b"}}}]),
                false,
            ),
            (
                json!([{"namespaceSelector": {"matchLabels": {"team": "a", "tier": "1"}}}]),
                false,
            ),
            (
                json!([{"namespaces": ["o1"]}, {"namespaces": ["o2"]}]),
                false,
            ),
            (
                json!([{"namespaceSelector": {"matchLabels": {"team": "b"}}}, {"namespaceSelector": {"matchLabels": {"team": "a"}}}]),
                true,
            ),
            (
                json!([{"namespaceSelector": {"matchLabels": {"team": "a"}}, "namespaces": ["dev-x"]}]),
                true,
            ),
            (
                json!([{"namespaceSelector": {"matchLabels": {"team": "b"}}}, {"namespaces": ["o1"]}]),
                false,
            ),
            (
                json!([{"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]}}]),
                true,
            ),
            (
                json!([{"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}}]),
                false,
            ),
            (json!([{"namespaceRegexes": ["dev-*"]}]), true),
            (json!([{"namespaceRegexes": ["no", "^dev"]}]), true),
            (json!([{"namespaceRegexes": ["no"]}]), false),
            // A match comes before a broken expression.
            (
                json!([{"namespaces": ["dev-x"], "namespaceRegexes": ["("]}]),
                true,
            ),
        ];
        let labels = BTreeMap::from([
            ("kubernetes.io/metadata.name".to_owned(), "dev-x".to_owned()),
            ("team".to_owned(), "a".to_owned()),
        ]);
        for (value, expected) in cases {
            assert_eq!(
                admit(&conditions(value.clone()), "dev-x", &labels),
                Ok(expected),
                "{value}"
            );
        }
    }

    #[test]
    fn names_are_compared_with_the_label_and_not_with_the_name() {
        // SB-10.
        let named = conditions(json!([{"namespaces": ["dev-x"]}]));
        assert_eq!(admit(&named, "dev-x", &BTreeMap::new()), Ok(false));
        assert!(need_labels(&named));
        assert!(!need_labels(&conditions(
            json!([{"namespaceRegexes": ["x"]}])
        )));
    }

    #[test]
    fn broken_expression_is_an_error_with_its_text() {
        // X-090; externalsecret.md E224
        let broken = conditions(json!([{"namespaceRegexes": ["(", "[a"]}]));
        let error = admit(&broken, "dev-x", &BTreeMap::new()).unwrap_err();
        assert!(
            matches!(&error, ConditionError::Expression { expression, .. } if expression == "("),
            "{error}"
        );
        assert_eq!(
            error.to_string(),
            "failed to compile regex (: unclosed group"
        );
        let several = conditions(json!([
            {"namespaceRegexes": [".*", "("]},
            {"namespaces": ["a"]},
            {"namespaceRegexes": ["[a", "*"]},
        ]));
        let found = violations(&several);
        let places = [
            "spec.conditions[0].namespaceRegexes: failed to compile regex (: ",
            "spec.conditions[2].namespaceRegexes: failed to compile regex [a: ",
            "spec.conditions[2].namespaceRegexes: failed to compile regex *: ",
        ];
        assert_eq!(found.len(), places.len(), "{found:?}");
        for (found, place) in found.iter().zip(places) {
            assert!(found.starts_with(place), "{found}");
        }
    }
}
