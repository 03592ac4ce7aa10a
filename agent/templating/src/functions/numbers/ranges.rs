//! Sequences of integers.

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::format::integer;
use crate::functions::int;
use crate::limits::Limit;
use crate::value::{Element, List, Text, Value};

/// The most digits of an int, its sign and a blank.
const WIDEST: usize = 21;

/// Integers from a start on in equal steps.
struct Steps {
    start: i64,
    step: i64,
    count: usize,
}

pub(super) fn until(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let end = int(arguments, 0)?;
    let step = if end < 0 { -1 } else { 1 };
    list(cx, &Steps::new(0, end, step)?)
}

pub(super) fn until_step(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (start, end) = (int(arguments, 0)?, int(arguments, 1)?);
    list(cx, &Steps::new(start, end, int(arguments, 2)?)?)
}

pub(super) fn seq(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (start, step, end) = match arguments {
        [_] => (1, None, int(arguments, 0)?),
        [_, _] => (int(arguments, 0)?, None, int(arguments, 1)?),
        [_, _, _] => (
            int(arguments, 0)?,
            Some(int(arguments, 1)?),
            int(arguments, 2)?,
        ),
        _ => return cx.text(""),
    };
    let direction = if end < start { -1 } else { 1 };
    let step = step.unwrap_or(direction);
    if direction < 0 && step > 0 {
        return cx.text("");
    }
    // The end is included.
    joined(cx, &Steps::new(start, end.wrapping_add(direction), step)?)
}

fn list(cx: &mut Context, steps: &Steps) -> Result<Value> {
    cx.allocate(steps.count.saturating_mul(size_of::<Value>()))?;
    cx.work(steps.count as u64)?;
    let values = steps.iter().map(Value::Int).collect();
    Ok(Value::List(List::new(Element::Int, values)))
}

fn joined(cx: &mut Context, steps: &Steps) -> Result<Value> {
    cx.work(steps.count as u64)?;
    let mut text = Vec::new();
    for (index, number) in steps.iter().enumerate() {
        if index % 64 == 0 {
            cx.allocate((steps.count - index).min(64) * WIDEST)?;
        }
        if index > 0 {
            text.push(b' ');
        }
        integer::signed(number, &mut text);
    }
    Ok(Value::Text(Text::new(text)))
}

// === impl Steps ===

impl Steps {
    /// From `start` up or down to `end`, without it. None for a step that leads away from it.
    fn new(start: i64, end: i64, step: i64) -> Result<Self> {
        let distance = end.abs_diff(start);
        let towards = if end < start { step < 0 } else { step > 0 };
        let count = if towards {
            distance.div_ceil(step.unsigned_abs())
        } else {
            0
        };
        let steps = Self {
            start,
            step,
            count: usize::try_from(count).unwrap_or(usize::MAX),
        };
        let last = steps.iter().next_back();
        // Go wraps around there, and goes on until its memory is used up.
        if last.is_some_and(|last| last.checked_add(step).is_none()) {
            return Err(Failure::limit(Limit::Memory));
        }
        Ok(steps)
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = i64> {
        (0..self.count).map(|index| {
            self.start
                .wrapping_add(self.step.wrapping_mul(index as i64))
        })
    }
}
