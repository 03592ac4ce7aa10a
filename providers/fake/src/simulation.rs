//! The troubles of `spec.simulation`: latency, failures, stalls (specification 12.2).
//!
//! Everything random follows from the seed and the number of the request, so that a run repeats.

use std::collections::BTreeMap;
use std::time::Duration;

use latchkey_crds::duration;
use latchkey_crds::provider_fake::{FailureRule, LatencyDistribution, Payload, Simulation, Stall};
use latchkey_crds::secret_store::Capabilities;
use latchkey_provider_sdk::{Capability, ErrorClass, Operation, ProviderError, Result};
use parking_lot::Mutex;
use regex::Regex;
use tonic::Code;

/// Longest simulated latency.
const MAX_LATENCY: Duration = Duration::from_secs(600);
/// Shape of the heavy tail: its mean is twice its scale.
const PARETO_SHAPE: f64 = 1.5;

/// The simulation of one generation of a resource, with its counters.
#[derive(Debug, Default)]
pub struct Simulator {
    seed: u64,
    latency: Option<Shape>,
    per_operation: BTreeMap<&'static str, Shape>,
    rules: Vec<Rule>,
    stall: Option<(Vec<Operation>, f64)>,
    /// Synthetic values.
    pub payload: Option<Payload>,
    /// The ability to answer instead of the kind's own.
    pub capability: Option<Capability>,
    counters: Mutex<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    requests: u64,
    /// Per rule: requests that matched, and requests that it failed.
    rules: Vec<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    base: Duration,
    jitter: Duration,
    distribution: LatencyDistribution,
}

#[derive(Debug)]
struct Rule {
    operations: Vec<Operation>,
    key: Option<Regex>,
    namespaces: Vec<String>,
    error: ProviderError,
    probability: f64,
    after: u64,
    times: Option<u64>,
    every: u64,
}

/// What happens to one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Fate {
    /// How long to wait before anything else.
    pub delay: Duration,
    /// Never to answer.
    pub stalls: bool,
    /// The error to answer.
    pub failure: Option<ProviderError>,
}

// === impl Simulator ===

impl Simulator {
    /// Reads `spec.simulation`.
    ///
    /// # Errors
    ///
    /// [`ErrorClass::InvalidConfig`] names a field that cannot be understood or is not supported.
    pub fn from_spec(simulation: Option<&Simulation>) -> Result<Self> {
        let Some(simulation) = simulation else {
            return Ok(Self::default());
        };
        refuse_unsupported(simulation)?;
        let rules = simulation
            .failures
            .iter()
            .map(Rule::from_spec)
            .collect::<Result<Vec<_>>>()?;
        let latency = simulation.latency.clone().unwrap_or_default();
        let mut per_operation = BTreeMap::new();
        for (name, shape) in &latency.per_operation {
            let shape = Shape::new(
                shape.base.as_deref(),
                shape.jitter.as_deref(),
                shape.distribution,
            )?;
            per_operation.insert(operation(name)?.name(), shape);
        }
        Ok(Self {
            seed: simulation.seed.unwrap_or_default().cast_unsigned(),
            latency: Some(Shape::new(
                latency.base.as_deref(),
                latency.jitter.as_deref(),
                latency.distribution,
            )?),
            per_operation,
            counters: Mutex::new(Counters {
                requests: 0,
                rules: vec![(0, 0); rules.len()],
            }),
            rules,
            stall: simulation.stall.as_ref().map(stall).transpose()?,
            payload: simulation.payload.clone(),
            capability: simulation
                .capabilities
                .map(|capabilities| match capabilities {
                    Capabilities::ReadOnly => Capability::ReadOnly,
                    Capabilities::WriteOnly => Capability::WriteOnly,
                    Capabilities::ReadWrite => Capability::ReadWrite,
                }),
        })
    }

    /// Decides over one request and counts it.
    #[must_use]
    pub fn decide(&self, operation: Operation, key: &str, namespace: &str) -> Fate {
        // One lock for all counters: a rule with `times: k` fails exactly k requests, however many come at once.
        let mut counters = self.counters.lock();
        let number = counters.requests;
        counters.requests += 1;
        let mut random = Random::new(self.seed, number);
        let delay = match self
            .per_operation
            .get(operation.name())
            .or(self.latency.as_ref())
        {
            Some(shape) => shape.draw(&mut random),
            None => Duration::ZERO,
        };
        let stalls = self
            .stall
            .as_ref()
            .is_some_and(|(operations, probability)| {
                (operations.is_empty() || operations.contains(&operation))
                    && random.unit() < *probability
            });
        let failure = if stalls {
            None
        } else {
            let mut rules = self.rules.iter().zip(&mut counters.rules);
            rules.find_map(|(rule, count)| {
                rule.fires(operation, key, namespace, count, &mut random)
                    .then(|| rule.error.clone())
            })
        };
        Fate {
            delay,
            stalls,
            failure,
        }
    }
}

impl Fate {
    /// Lets it happen.
    ///
    /// # Errors
    ///
    /// The simulated one.
    ///
    /// # Cancel safety
    ///
    /// Nothing but time is lost.
    pub async fn happen(self) -> Result<()> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if self.stalls {
            std::future::pending::<()>().await;
        }
        self.failure.map_or(Ok(()), Err)
    }
}

// === impl Rule ===

impl Rule {
    fn from_spec(rule: &FailureRule) -> Result<Self> {
        let code = code(&rule.code)?;
        let class = match rule.reason.as_deref() {
            Some(reason) => ErrorClass::from_reason(reason).ok_or_else(|| {
                invalid(format!(
                    "failures[].reason \"{reason}\" is no class of error"
                ))
            })?,
            None => class_of(code),
        };
        let message = rule
            .message
            .clone()
            .unwrap_or_else(|| "simulated failure".into());
        let mut error = ProviderError::new(class, message).with_code(code);
        if let Some(text) = &rule.retry_after {
            error = error.with_retry_after(time("failures[].retryAfter", text)?);
        }
        let key = rule.key_regexp.as_deref().map(Regex::new).transpose();
        Ok(Self {
            operations: operations(&rule.operations)?,
            key: key.map_err(|_| invalid("failures[].keyRegexp is no regular expression"))?,
            namespaces: rule.namespaces.clone(),
            error,
            probability: rule.probability.unwrap_or(1.0),
            after: count(rule.after).unwrap_or(0),
            times: count(rule.times),
            every: count(rule.every).unwrap_or(1).max(1),
        })
    }

    /// Counts a matching request and tells whether it fails. A rule that is used up leaves the request to the next one.
    fn fires(
        &self,
        operation: Operation,
        key: &str,
        namespace: &str,
        (matched, failed): &mut (u64, u64),
        random: &mut Random,
    ) -> bool {
        let applies = (self.operations.is_empty() || self.operations.contains(&operation))
            && self
                .key
                .as_ref()
                .is_none_or(|pattern| pattern.is_match(key))
            && (self.namespaces.is_empty()
                || self.namespaces.iter().any(|allowed| allowed == namespace));
        if !applies {
            return false;
        }
        let index = *matched;
        *matched += 1;
        let fires = index >= self.after
            && (index - self.after).is_multiple_of(self.every)
            && self.times.is_none_or(|times| *failed < times)
            && random.unit() < self.probability;
        *failed += u64::from(fires);
        fires
    }
}

// === impl Shape ===

impl Shape {
    fn new(
        base: Option<&str>,
        jitter: Option<&str>,
        distribution: Option<LatencyDistribution>,
    ) -> Result<Self> {
        let read =
            |text: Option<&str>| text.map_or(Ok(Duration::ZERO), |text| time("latency", text));
        Ok(Self {
            base: read(base)?,
            jitter: read(jitter)?,
            distribution: distribution.unwrap_or(LatencyDistribution::Fixed),
        })
    }

    fn draw(&self, random: &mut Random) -> Duration {
        // Never zero, so that the logarithm and the power are finite.
        let unit = 1.0 - random.unit();
        let factor = match self.distribution {
            LatencyDistribution::Fixed => 0.0,
            LatencyDistribution::Uniform => 1.0 - unit,
            LatencyDistribution::Exponential => -unit.ln(),
            LatencyDistribution::Pareto => unit.powf(-1.0 / PARETO_SHAPE) - 1.0,
        };
        let jitter =
            Duration::try_from_secs_f64(self.jitter.as_secs_f64() * factor).unwrap_or(MAX_LATENCY);
        self.base.saturating_add(jitter).min(MAX_LATENCY)
    }
}

/// A sequence of numbers that seed and request determine (SplitMix64).
struct Random(u64);

impl Random {
    fn new(seed: u64, request: u64) -> Self {
        let mut random = Self(seed ^ request.wrapping_mul(0xd134_2543_de82_ef95));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least 0, less than 1.
    fn unit(&mut self) -> f64 {
        // 53 bits are exact in a double.
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in a double")]
        let bits = (self.next() >> 11) as f64;
        bits / 9_007_199_254_740_992.0
    }
}

fn refuse_unsupported(simulation: &Simulation) -> Result<()> {
    for (field, used) in [
        ("disconnect", simulation.disconnect.is_some()),
        ("versionSkew", simulation.version_skew.is_some()),
        ("timeline", !simulation.timeline.is_empty()),
        ("rotation", !simulation.rotation.is_empty()),
        ("notifications", simulation.notifications.is_some()),
        ("auth", simulation.auth.is_some()),
    ] {
        if used {
            return Err(invalid(format!("{field} is not supported yet")));
        }
    }
    Ok(())
}

fn stall(stall: &Stall) -> Result<(Vec<Operation>, f64)> {
    Ok((
        operations(&stall.operations)?,
        stall.probability.unwrap_or(1.0),
    ))
}

fn operations(names: &[String]) -> Result<Vec<Operation>> {
    names.iter().map(|name| operation(name)).collect()
}

fn operation(name: &str) -> Result<Operation> {
    Operation::ALL
        .into_iter()
        .find(|operation| operation.name() == name)
        .ok_or_else(|| invalid(format!("\"{name}\" is no operation")))
}

fn code(name: &str) -> Result<Code> {
    (1..=16)
        .map(Code::from_i32)
        .find(|code| canonical_name(*code) == name)
        .ok_or_else(|| {
            invalid(format!(
                "failures[].code \"{name}\" is no code of an error, such as UNAVAILABLE"
            ))
        })
}

/// `UNAVAILABLE` for `Unavailable`.
fn canonical_name(code: Code) -> String {
    let mut name = String::new();
    for character in format!("{code:?}").chars() {
        if character.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(character.to_ascii_uppercase());
    }
    name
}

/// The class that an error of `code` most likely has.
fn class_of(code: Code) -> ErrorClass {
    match code {
        Code::NotFound => ErrorClass::SecretNotFound,
        Code::InvalidArgument | Code::OutOfRange => ErrorClass::InvalidArgument,
        Code::FailedPrecondition => ErrorClass::InvalidConfig,
        Code::Unauthenticated => ErrorClass::Unauthenticated,
        Code::PermissionDenied => ErrorClass::PermissionDenied,
        Code::Aborted | Code::AlreadyExists => ErrorClass::Conflict,
        Code::ResourceExhausted => ErrorClass::Throttled,
        Code::Unavailable => ErrorClass::BackendUnavailable,
        Code::Unimplemented => ErrorClass::Unimplemented,
        Code::DeadlineExceeded => ErrorClass::DeadlineExceeded,
        Code::Ok | Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            ErrorClass::Internal
        }
    }
}

fn time(field: &'static str, text: &str) -> Result<Duration> {
    match duration::parse(field, text) {
        Ok(parsed) if !parsed.is_negative => Ok(parsed.absolute),
        _ => Err(invalid(format!(
            "{field} \"{text}\" is not a duration such as 250ms"
        ))),
    }
}

fn count(number: Option<i64>) -> Option<u64> {
    number.map(|number| u64::try_from(number).unwrap_or(0))
}

fn invalid(message: impl Into<String>) -> ProviderError {
    ProviderError::invalid_config(format!("spec.simulation: {}", message.into()))
}

#[cfg(test)]
#[path = "simulation/tests.rs"]
mod tests;
