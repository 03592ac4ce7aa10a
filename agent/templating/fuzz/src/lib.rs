//! What the fuzz targets do with their input. The ordinary tests do the same with the corpus and with inputs that once failed.
//!
//! A target panics where an input breaks a promise of the crate: no panic, no overflow, nothing beyond the limits.

use jiff::Timestamp;
use latchkey_secret::{SecretData, SecretValue};
use latchkey_templating::{Delimiters, Limits, Options, Template};

/// Delimiters by the first byte of an input of [`parse`].
const DELIMITERS: [(&str, &str); 6] = [
    ("{{", "}}"),
    ("[[", "]]"),
    ("<", ">"),
    ("{{", "|"),
    ("é", "-"),
    ("/*", "*/"),
];

/// Keys of the data that an input of [`render`] brings along, in turn.
const KEYS: [&str; 4] = ["a", "b", "c", "j"];

/// Small enough that one input takes milliseconds.
pub const LIMITS: Limits = Limits {
    steps: 20_000,
    memory: 4 << 20,
    output: 64 << 10,
    nesting: 200,
    pattern: 64 << 10,
    cryptography: 0,
};

/// Parses the input after its first byte, which chooses the delimiters.
pub fn parse(input: &[u8]) {
    let (first, text) = input.split_first().unwrap_or((&0, input));
    let (left, right) = DELIMITERS[usize::from(*first) % DELIMITERS.len()];
    let mut options = options(LIMITS);
    options.delimiters = Delimiters {
        left: left.to_owned(),
        right: right.to_owned(),
    };
    if let Err(error) = Template::parse_bytes("fuzz", text, &options) {
        let lines = 1 + text.iter().filter(|byte| **byte == b'\n').count();
        assert!((1..=lines).contains(&error.line), "{error}");
    }
}

/// Parses and renders the input up to its first zero byte; what is between further ones is the data.
pub fn render(input: &[u8]) {
    render_within(input, LIMITS);
}

/// [`render`] within other limits.
pub fn render_within(input: &[u8], limits: Limits) {
    let mut parts = input.split(|byte| *byte == 0);
    let text = parts.next().unwrap_or_default();
    let values = parts.map(|part| SecretValue::new(part.to_vec()));
    let keys = KEYS.iter().map(|key| (*key).to_owned());
    run(text, &keys.zip(values).collect(), limits);
}

/// Formats values of every kind with the input as the format.
pub fn printf(input: &[u8]) {
    const TEXT: &str = r#"{{ printf .f "é\xff" -42 2.5 nil true (list 1 "a" nil) (dict "k" 1.0) 1i 'x' now (semver "1.2.3-a") . }}"#;
    let data = [("f".to_owned(), SecretValue::new(input.to_vec()))];
    run(TEXT.as_bytes(), &data.into(), LIMITS);
}

/// An input of [`render`]. Zero bytes in it would be taken for the ends of its parts.
#[must_use]
pub fn render_input(text: &str, data: &SecretData) -> Vec<u8> {
    let mut input = text.as_bytes().to_vec();
    for key in KEYS {
        input.push(0);
        input.extend_from_slice(data.get(key).map(SecretValue::expose).unwrap_or_default());
    }
    input
}

fn run(text: &[u8], data: &SecretData, limits: Limits) {
    let options = options(limits);
    let Ok(template) = Template::parse_bytes("fuzz", text, &options) else {
        return;
    };
    match template.render(data, &options) {
        Ok(out) => assert!(out.len() as u64 <= limits.output, "{} bytes", out.len()),
        Err(error) => {
            let whole = error.full_text();
            let shown = error.to_string();
            assert!(!whole.is_empty() && !shown.is_empty());
        }
    }
}

fn options(limits: Limits) -> Options {
    Options {
        limits,
        ..Options::new(Timestamp::UNIX_EPOCH)
    }
}
