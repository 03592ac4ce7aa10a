//! Texts of providers, made fit for conditions and events (P-ERR-4).

use std::sync::LazyLock;

use regex::Regex;

/// Longest text, in bytes.
const MAX_TEXT: usize = 1024;

/// Identifiers that differ from answer to answer, and credentials that some SDKs put into theirs.
static VOLATILE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(request[ _-]?id|credential|x-vault-token|authorization|token)\s*[:=]\s*(bearer\s+)?[^\s,;)]+")
        .expect("the expression is valid")
});

/// One line of at most 1 KiB, without control characters, request ids and credentials.
pub(crate) fn sanitise(text: &str) -> String {
    // Bounded before the expression runs: a provider decides how long its text is.
    let mut line = String::with_capacity(text.len().min(MAX_TEXT));
    let mut is_space = true;
    for character in text.chars().take(MAX_TEXT * 4) {
        let is_blank = character.is_whitespace() || character.is_control();
        match (is_blank, is_space) {
            (true, true) => {}
            (true, false) => line.push(' '),
            // Text direction marks can hide what a line says.
            (false, _) if matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
                {}
            (false, _) => line.push(character),
        }
        is_space = is_blank;
    }
    let line = VOLATILE
        .replace_all(line.trim_end(), "$1: ...")
        .into_owned();
    truncate(line)
}

fn truncate(mut line: String) -> String {
    if line.len() > MAX_TEXT {
        let mut end = MAX_TEXT - 3;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::sanitise;

    #[test]
    fn texts_become_one_short_stable_line() {
        // SB-24: texts of providers.
        let cases = [
            ("plain text", "plain text"),
            ("two\nlines\r\n\tand  spaces \n", "two lines and spaces"),
            ("bell\u{7}\u{1b}[31mred", "bell [31mred"),
            (
                "failed, request id: 1f-2a, sorry",
                "failed, request id: ..., sorry",
            ),
            ("RequestID: 77 and more", "RequestID: ... and more"),
            (
                "Credential=AKIA/2026/eu, SignedHeaders",
                "Credential: ..., SignedHeaders",
            ),
            (
                "sent Authorization: Bearer abc.def",
                "sent Authorization: ...",
            ),
            ("a\u{202e}b", "ab"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(sanitise(text), expected, "{text:?}");
        }
        let long = sanitise(&"é".repeat(5000));
        assert!(long.len() <= 1024 && long.ends_with("..."));
    }
}
