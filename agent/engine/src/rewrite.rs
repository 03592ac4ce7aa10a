//! Rewrites of keys (`externalsecret.md` 3.4). Keys are taken in ascending order; where two become the same, the later wins
//! (D-10). A merge replaces the values, too.

mod merge;

use latchkey_crds::external_secret::{Rewrite, RewriteRegexp, RewriteTransform};
use latchkey_secret::SecretData;
use latchkey_templating::object::JsonError;
use latchkey_templating::regexp::{RegexpError, Replacer};
use latchkey_templating::{Limits, MissingKey, Options, Template, Usage};

/// How many times the steps of one template all operations of an entry may take together.
const STEPS_OF_ALL: u64 = 20;
/// The same for cryptography.
const CRYPTOGRAPHY_OF_ALL: u32 = 2;

/// An operation that failed. The texts show keys, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// A transform is no template.
    #[error(
        "failed rewrite operation[{index}]: transform failed with failed to parse template: {reason}"
    )]
    Parse {
        /// Position in `rewrite`.
        index: usize,
        /// Why.
        reason: String,
    },
    /// A transform fails for a key.
    #[error(
        "failed rewrite operation[{index}]: transform failed with failed to execute template for key {key:?}: {reason}"
    )]
    Transform {
        /// Position in `rewrite`.
        index: usize,
        /// The key.
        key: String,
        /// Why.
        reason: String,
    },
    /// A regular expression cannot be compiled or takes too much.
    #[error("failed rewrite operation[{index}]: regexp failed with {reason}")]
    Regexp {
        /// Position in `rewrite`.
        index: usize,
        /// Why.
        reason: String,
    },
    /// Values cannot be merged.
    #[error("failed rewrite operation[{index}]: merge failed with {cause}")]
    Merge {
        /// Position in `rewrite`.
        index: usize,
        /// Why.
        cause: MergeError,
    },
    /// There are too many operations on too many keys.
    #[error(
        "failed rewrite operation[{index}]: the operations together exceed their limit of steps"
    )]
    TooMuch {
        /// Position in `rewrite`.
        index: usize,
    },
    /// A defect of the agent.
    #[error("the agent failed internally; please report it")]
    Internal,
}

/// Values that cannot be merged. The texts show keys and names of fields, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// A value is no JSON object, or all of them are too large.
    #[error("failed to unmarshal JSON: {0}")]
    NotAnObject(JsonError),
    /// The merged object is too large.
    #[error("failed to marshal JSON: {0}")]
    TooLarge(JsonError),
    /// A key of `priority` is not there.
    #[error("key {0:?} not found in input map")]
    MissingKey(String),
    /// Fields occur more than once: each is named as often as it occurs again, in the order of processing.
    #[error("conflicts: {}", .0.join(", "))]
    Conflicts(Vec<String>),
    /// The strategy `JSON` is told no key.
    #[error("missing 'into' field")]
    NoInto,
}

/// What the operations of an entry may still take. An entry may find thousands of keys, so a limit for each render alone would
/// bound nothing.
struct Budget {
    one: Limits,
    steps: u64,
    cryptography: u32,
}

/// Applies `operations` in order, the output of one being the input of the next.
///
/// The limits of `options` hold for each render of a transform; all operations together may take 20 times their steps and twice
/// their cryptography.
///
/// # Errors
///
/// The first operation that fails.
pub(crate) fn rewrite(
    operations: &[Rewrite],
    mut data: SecretData,
    options: &Options,
) -> Result<SecretData, RewriteError> {
    let mut options = Options {
        missing_key: MissingKey::Default,
        ..options.clone()
    };
    let mut budget = Budget::new(options.limits);
    for (index, operation) in operations.iter().enumerate() {
        if !budget.pay(data.len() as u64) {
            return Err(RewriteError::TooMuch { index });
        }
        if let Some(operation) = &operation.merge {
            data = merge::merge(operation, data, &mut budget)
                .map_err(|cause| RewriteError::Merge { index, cause })?;
        } else if let Some(operation) = &operation.regexp {
            data = regexp(index, operation, data, &mut budget)?;
        } else if let Some(operation) = &operation.transform {
            data = transform(index, operation, data, &mut options, &mut budget)?;
        }
    }
    Ok(data)
}

// === impl Budget ===

impl Budget {
    fn new(one: Limits) -> Self {
        Self {
            one,
            steps: one.steps.saturating_mul(STEPS_OF_ALL),
            cryptography: one.cryptography.saturating_mul(CRYPTOGRAPHY_OF_ALL),
        }
    }

    /// Takes `steps`. Whether they were there.
    fn pay(&mut self, steps: u64) -> bool {
        let rest = self.steps.checked_sub(steps);
        self.steps = rest.unwrap_or_default();
        rest.is_some()
    }

    /// The limits of an operation that does all of its work at once.
    fn of_operation(&self) -> Limits {
        Limits {
            steps: self.steps,
            ..self.one
        }
    }

    /// The limits of one render among many.
    fn of_render(&self) -> Limits {
        Limits {
            steps: self.one.steps.min(self.steps),
            cryptography: self.one.cryptography.min(self.cryptography),
            ..self.one
        }
    }

    fn spend(&mut self, usage: Usage) {
        self.steps = self.steps.saturating_sub(usage.steps);
        self.cryptography = self.cryptography.saturating_sub(usage.cryptography);
    }
}

/// Every match in every key replaced.
fn regexp(
    index: usize,
    operation: &RewriteRegexp,
    data: SecretData,
    budget: &mut Budget,
) -> Result<SecretData, RewriteError> {
    let failed = |error: RegexpError| RewriteError::Regexp {
        index,
        reason: match error {
            RegexpError::Syntax(text) => format!("failed to compile: {text}"),
            RegexpError::Limit(text) => text,
        },
    };
    let limits = budget.of_operation();
    let mut replacer =
        Replacer::new(&operation.source, &operation.target, &limits).map_err(failed)?;
    let renamed = data
        .into_iter()
        .map(|(key, value)| Ok((replacer.replace_all(&key).map_err(failed)?, value)))
        .collect();
    budget.spend(replacer.usage());
    renamed
}

/// A new key for each, rendered from the old one.
fn transform(
    index: usize,
    operation: &RewriteTransform,
    data: SecretData,
    options: &mut Options,
    budget: &mut Budget,
) -> Result<SecretData, RewriteError> {
    let template = Template::parse("transform", &operation.template, options).map_err(|error| {
        RewriteError::Parse {
            index,
            reason: error.to_string(),
        }
    })?;
    let mut renamed = SecretData::new();
    for (key, value) in data {
        let root = SecretData::from([("value".to_owned(), key.clone().into())]);
        options.limits = budget.of_render();
        // The whole text: what it can show is the key, which the error shows anyway.
        let (output, usage) =
            template
                .render_measured(&root, options)
                .map_err(|error| RewriteError::Transform {
                    index,
                    key,
                    reason: error.full_text(),
                })?;
        budget.spend(usage);
        let new = String::from_utf8_lossy(output.expose()).into_owned();
        renamed.insert(new, value);
    }
    Ok(renamed)
}

#[cfg(test)]
mod tests;
