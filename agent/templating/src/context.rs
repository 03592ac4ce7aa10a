//! What a render may use: its budget, the time it is told, and the dicts it made.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use zeroize::{Zeroize, Zeroizing};

use crate::failure::{Failure, Result};
use crate::limits::{Limit, Limits, Usage};
use crate::pattern;
use crate::value::{Dict, Element, List, Text, Value};

/// Stack that must be left before a nested step, in bytes.
const RED_ZONE: usize = 128 << 10;
/// Stack that is added when less is left, in bytes.
const STACK: usize = 1 << 20;

/// Bytes of the longest text that moves out of the place where it was written.
const SCRATCH: usize = 256;

/// Microseconds of a unit of cryptography.
const UNIT: u64 = 100_000;

/// The state of one render that functions see.
pub(crate) struct Context {
    limits: Limits,
    steps: u64,
    memory: u64,
    depth: u32,
    /// Microseconds.
    cryptography: u64,
    now: Timestamp,
    zone: TimeZone,
    /// See [`Self::scratch`].
    scratch: Zeroizing<Vec<u8>>,
    /// The patterns that were compiled last.
    pub(crate) patterns: pattern::Cache,
    /// Every dict of this render. Dicts are references that may form circles and long chains; they are emptied one by one at
    /// the end, so that nothing stays unwiped and no drop is deeply recursive.
    dicts: Vec<Dict>,
}

// === impl Context ===

impl Context {
    pub(crate) fn new(limits: Limits, now: Timestamp, zone: TimeZone) -> Self {
        Self {
            limits,
            steps: 0,
            memory: 0,
            depth: 0,
            cryptography: 0,
            now,
            zone,
            scratch: Zeroizing::default(),
            patterns: pattern::Cache::default(),
            dicts: Vec::new(),
        }
    }

    /// The moment of the render.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Go's `Local`.
    pub(crate) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Pays for `units` of work before they are done.
    pub(crate) fn work(&mut self, units: u64) -> Result<()> {
        self.steps = self.steps.saturating_add(units);
        if self.steps > self.limits.steps {
            return Err(Failure::limit(Limit::Steps));
        }
        Ok(())
    }

    /// What was used so far.
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            steps: self.steps,
            cryptography: u32::try_from(self.cryptography.div_ceil(UNIT)).unwrap_or(u32::MAX),
        }
    }

    /// Pays for a value of `bytes` and for the work of filling it, before it is made.
    pub(crate) fn allocate(&mut self, bytes: usize) -> Result<()> {
        let bytes = bytes as u64;
        self.memory = self.memory.saturating_add(bytes);
        if self.memory > self.limits.memory {
            return Err(Failure::limit(Limit::Memory));
        }
        self.work(bytes / 64)
    }

    /// Refuses `bytes` that could not be paid for, before a place is made that is paid for as it fills.
    pub(crate) fn check_memory(&self, bytes: usize) -> Result<()> {
        if self.memory.saturating_add(bytes as u64) > self.limits.memory {
            return Err(Failure::limit(Limit::Memory));
        }
        Ok(())
    }

    /// Pays for `units` of about 100 ms of cryptography.
    pub(crate) fn cryptography(&mut self, units: u32) -> Result<()> {
        self.cryptography_time(u64::from(units) * UNIT)
    }

    /// Pays for so many microseconds of cryptography: for what takes less than a unit, or as long as the input says.
    pub(crate) fn cryptography_time(&mut self, microseconds: u64) -> Result<()> {
        self.cryptography = self.cryptography.saturating_add(microseconds);
        if self.cryptography > u64::from(self.limits.cryptography) * UNIT {
            return Err(Failure::limit(Limit::Cryptography));
        }
        Ok(())
    }

    /// Runs `step` one level deeper, on more stack if need be: for everything that recurses over what a template or a value
    /// holds.
    pub(crate) fn nested<T, E: From<Failure>>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.depth >= self.limits.nesting {
            return Err(Failure::limit(Limit::Nesting).into());
        }
        self.depth += 1;
        let result = stacker::maybe_grow(RED_ZONE, STACK, || step(self));
        self.depth -= 1;
        result
    }

    /// A new text that holds `bytes`, paid for.
    pub(crate) fn text(&mut self, bytes: impl Into<Text>) -> Result<Value> {
        let text = bytes.into();
        self.allocate(text.bytes().len())?;
        Ok(Value::Text(text))
    }

    /// An empty place to write a text into that is not known to be long, for [`Self::written`] to take back.
    pub(crate) fn scratch(&mut self) -> Zeroizing<Vec<u8>> {
        std::mem::take(&mut self.scratch)
    }

    /// What was written into [`Self::scratch`]. A short text moves out and is paid for, and the place is used again; a longer one
    /// keeps the place that it grew in and paid for.
    pub(crate) fn written(&mut self, mut bytes: Zeroizing<Vec<u8>>) -> Result<Text> {
        if bytes.len() > SCRATCH {
            return Ok(Text::whole(std::mem::take(&mut *bytes)));
        }
        self.allocate(bytes.len())?;
        let text = Text::copy(&bytes);
        if bytes.capacity() <= 2 * SCRATCH {
            bytes.as_mut_slice().zeroize();
            bytes.clear();
            self.scratch = bytes;
        }
        Ok(text)
    }

    /// A new list of `values`, which must all be of the element type, paid for.
    pub(crate) fn list(&mut self, element: Element, values: Vec<Value>) -> Result<Value> {
        self.allocate(values.len() * size_of::<Value>())?;
        self.work(values.len() as u64)?;
        let list = List::new(element, values);
        if list.depth() > self.limits.nesting {
            return Err(Failure::limit(Limit::Nesting));
        }
        Ok(Value::List(list))
    }

    /// A new empty dict that this render owns.
    pub(crate) fn dict(&mut self) -> Result<Dict> {
        self.allocate(64)?;
        let dict = Dict::new();
        self.dicts.push(dict.clone());
        Ok(dict)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        for dict in &self.dicts {
            dict.clear();
        }
    }
}
