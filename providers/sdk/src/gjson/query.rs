//! Queries over the elements of an array: `#(path operator value)`.

use crate::json::{self, Kind};

use super::path::{self, Next};
use super::{Found, Limits, evaluate};

/// A query.
pub(super) struct Query<'a> {
    path: &'a str,
    operator: Option<Operator>,
    value: Vec<u8>,
    truth: Option<Truth>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
    NotLike,
}

/// `~true` and its kind: the element's value is turned into a truth first.
#[derive(Clone, Copy)]
enum Truth {
    True,
    False,
    Null,
    Exists,
}

/// Operators, longer ones first.
const OPERATORS: [(&str, Operator); 9] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("!%", Operator::NotLike),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
    ("%", Operator::Like),
];

/// Parses a query at the start of a path: the query, whether all matches are wanted, and what follows.
pub(super) fn parse(path: &str) -> Option<(Query<'_>, bool, Next<'_>)> {
    let bracketed = path
        .strip_prefix('#')
        .filter(|rest| rest.starts_with(['(', '[']))?;
    let close = path::closing(bracketed)?;
    let query = query(&bracketed[1..close]);
    let rest = &bracketed[close + 1..];
    let (all, rest) = match rest.strip_prefix('#') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let next = match rest.as_bytes().first() {
        None => Next::End,
        Some(b'.') => Next::Path(&rest[1..]),
        Some(b'|') => Next::Pipe(&rest[1..]),
        Some(_) => return None,
    };
    Some((query, all, next))
}

fn query(text: &str) -> Query<'_> {
    let Some((start, length, operator)) = find_operator(text) else {
        return Query {
            path: text.trim(),
            operator: None,
            value: Vec::new(),
            truth: None,
        };
    };
    let value = text[start + length..].trim();
    let truth = value.strip_prefix('~').map(|name| match name {
        "true" => Some(Truth::True),
        "false" => Some(Truth::False),
        "null" => Some(Truth::Null),
        "*" => Some(Truth::Exists),
        _ => None,
    });
    let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
    Query {
        path: text[..start].trim(),
        operator: Some(operator),
        value: if quoted {
            json::unescape(value.as_bytes()).to_vec()
        } else {
            value.as_bytes().to_vec()
        },
        // An unknown `~name` matches nothing: its text is compared with no value that exists.
        truth: truth.flatten(),
    }
}

/// The first operator outside of brackets, strings and escapes.
fn find_operator(text: &str) -> Option<(usize, usize, Operator)> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        match byte {
            b'\\' => index += 1,
            b'"' => {
                index = json::string_end(bytes, index);
                continue;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ if depth == 0 => {
                let rest = text.get(index..).unwrap_or_default();
                if let Some((sign, operator)) =
                    OPERATORS.iter().find(|(sign, _)| rest.starts_with(sign))
                {
                    return Some((index, sign.len(), *operator));
                }
            }
            _ => {}
        }
        index += 1;
    }
    None
}

// === impl Query ===

impl Query<'_> {
    /// Whether an element matches.
    pub(super) fn matches(&self, element: &[u8], limits: Limits<'_>) -> bool {
        let value = if matches!(json::kind(element), Some(Kind::Object | Kind::Array)) {
            evaluate(element, self.path, limits.deeper())
        } else if self.path.is_empty() {
            Some(Found::borrowed(element))
        } else {
            return false;
        };
        if let Some(truth) = self.truth {
            let holds = truth.holds(value.as_ref());
            return self
                .operator
                .is_some_and(|operator| compare_truth(holds, operator, b"true"));
        }
        let Some(value) = value else { return false };
        let Some(operator) = self.operator else {
            return true;
        };
        match json::kind(value.raw()) {
            Some(Kind::String) => {
                let text = json::unescape(value.raw());
                match operator {
                    Operator::Like => {
                        path::wildcard_match(&text, &String::from_utf8_lossy(&self.value))
                    }
                    Operator::NotLike => {
                        !path::wildcard_match(&text, &String::from_utf8_lossy(&self.value))
                    }
                    _ => compare(text.as_slice().partial_cmp(self.value.as_slice()), operator),
                }
            }
            Some(Kind::Number) => {
                let wanted = number(&self.value).unwrap_or(0.0);
                number(value.raw())
                    .is_some_and(|number| compare(number.partial_cmp(&wanted), operator))
            }
            Some(Kind::True) => compare_truth(true, operator, &self.value),
            Some(Kind::False) => compare_truth(false, operator, &self.value),
            _ => false,
        }
    }
}

fn number(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn compare(order: Option<std::cmp::Ordering>, operator: Operator) -> bool {
    order.is_some_and(|order| match operator {
        Operator::Equal => order.is_eq(),
        Operator::NotEqual => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
        Operator::Like | Operator::NotLike => false,
    })
}

fn compare_truth(truth: bool, operator: Operator, wanted: &[u8]) -> bool {
    let own: &[u8] = if truth { b"true" } else { b"false" };
    let opposite: &[u8] = if truth { b"false" } else { b"true" };
    match operator {
        Operator::Equal => wanted == own,
        Operator::NotEqual => wanted != own,
        Operator::Greater => truth && wanted == opposite,
        Operator::Less => !truth && wanted == opposite,
        Operator::GreaterOrEqual => truth,
        Operator::LessOrEqual => !truth,
        Operator::Like | Operator::NotLike => false,
    }
}

// === impl Truth ===

impl Truth {
    fn holds(self, value: Option<&Found<'_>>) -> bool {
        let kind = value.and_then(|value| json::kind(value.raw()));
        let text = |words: [&str; 3]| {
            value.is_some_and(|value| {
                let text = json::unescape(value.raw()).to_ascii_lowercase();
                words.iter().any(|word| word.as_bytes() == text)
            })
        };
        let zero = || {
            value
                .and_then(|value| number(value.raw()))
                .is_none_or(|number| number == 0.0)
        };
        match self {
            Self::Exists => value.is_some(),
            Self::Null => matches!(kind, None | Some(Kind::Null)),
            Self::True => match kind {
                Some(Kind::True) => true,
                Some(Kind::String) => text(["1", "t", "true"]),
                Some(Kind::Number) => !zero(),
                _ => false,
            },
            Self::False => match kind {
                None | Some(Kind::Null | Kind::False) => true,
                Some(Kind::String) => text(["0", "f", "false"]),
                Some(Kind::Number) => zero(),
                _ => false,
            },
        }
    }
}
