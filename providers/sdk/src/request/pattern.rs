//! The expression of a find: RE2's syntax on the `regex` crate, which reads some of it differently.

use regex::{Regex, RegexBuilder};

use crate::error::{ProviderError, Result};

/// What the Perl classes hold in RE2: ASCII only.
const DIGIT: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
const BLANK: &str = r"\t\n\f\r ";

/// Compiles `find.name.regexp`. It matches anywhere in a name unless it is anchored; an empty one matches every name.
///
/// The syntax is RE2's (specification 3.9): `\Q...\E` quotes, `\057` is octal, `\d`, `\w`, `\s` and `\b` are those of ASCII, and
/// within brackets nothing but ranges, escapes and `[:classes:]` is special.
///
/// # Errors
///
/// [`crate::ErrorClass::InvalidArgument`] with the expression and the last line of the cause.
pub fn name_pattern(expression: &str) -> Result<Regex> {
    RegexBuilder::new(&translated(expression))
        .octal(true)
        .build()
        .map_err(|error| {
            ProviderError::invalid_argument(format!(
                "could not compile find.name.regexp [{expression}]: {}",
                error.to_string().lines().last().unwrap_or_default()
            ))
        })
}

/// The expression in the syntax of the `regex` crate.
fn translated(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len() + 16);
    let mut rest = expression;
    let mut in_brackets = false;
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        rest = match character {
            '\\' => escape(after, in_brackets, &mut out),
            '[' if in_brackets => nested(rest, &mut out),
            '[' => {
                in_brackets = true;
                opened(after, &mut out)
            }
            ']' if in_brackets => {
                in_brackets = false;
                out.push(']');
                after
            }
            // `&&`, `~~` and `--` combine sets in the other syntax.
            '&' | '~' if in_brackets => {
                out.extend(['\\', character]);
                after
            }
            '-' if in_brackets && after.starts_with('-') => {
                out.push_str(r"\-");
                after
            }
            other => {
                out.push(other);
                after
            }
        };
    }
    out
}

/// Writes the beginning of brackets, in which a first `]` stands for itself. Returns what follows.
fn opened<'a>(mut rest: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    if let Some(after) = rest.strip_prefix(']') {
        out.push_str(r"\]");
        rest = after;
    }
    rest
}

/// Writes a `[` within brackets: a class such as `[:alpha:]`, or the character itself. Returns what follows.
fn nested<'a>(rest: &'a str, out: &mut String) -> &'a str {
    if rest.starts_with("[:")
        && let Some(end) = rest.find(":]")
    {
        let (class, after) = rest.split_at(end + 2);
        out.push_str(class);
        return after;
    }
    out.push_str(r"\[");
    &rest[1..]
}

/// Writes what a backslash before `rest` means. Returns what follows.
fn escape<'a>(rest: &'a str, in_brackets: bool, out: &mut String) -> &'a str {
    let Some(character) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    let after = &rest[character.len_utf8()..];
    let class = match character {
        'd' | 'D' => DIGIT,
        'w' | 'W' => WORD,
        's' | 'S' => BLANK,
        'Q' if !in_brackets => {
            let (quoted, after) = after.split_once(r"\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(quoted));
            return after;
        }
        'b' if !in_brackets => {
            out.push_str(r"(?-u:\b)");
            return after;
        }
        // Some of them, such as `\<`, are more than a character in the other syntax.
        other if other.is_ascii_punctuation() => {
            match in_brackets {
                true => out.extend(['\\', other]),
                false => out.push_str(&regex::escape(&rest[..1])),
            }
            return after;
        }
        other => {
            out.extend(['\\', other]);
            return after;
        }
    };
    match (character.is_ascii_uppercase(), in_brackets) {
        (true, _) => out.extend(["[^", class, "]"]),
        (false, false) => out.extend(["[", class, "]"]),
        (false, true) => out.push_str(class),
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_as_in_re2() {
        // The answers are those of Go 1.26, regexp.MatchString.
        for (expression, matching, others) in [
            ("", &["", "a"][..], &[][..]),
            ("^db/", &["db/a"], &["x/db/"]),
            ("b", &["abc"], &["ac"]),
            (r"\Qa.b", &["xa.bx"], &["axb"]),
            (r"^\Q[x]\E+$", &["[x]", "[x]]"], &["[x][x]", "x"]),
            (r"a\057b", &["a/b"], &["a057b"]),
            (r"^\d+$", &["12"], &["", "\u{661}"]),
            (r"^\w+$", &["a_1"], &["größe", "a-b"]),
            (r"^\W$", &["ö", "-"], &["a"]),
            (r"^\s$", &["\t", " "], &["\u{b}", "\u{a0}"]),
            (r"^\S$", &["\u{a0}", "x"], &[" "]),
            (r"\bkey\b", &["a key.", "ökeyö"], &["akey"]),
            (r"^[\w.-]+$", &["a.b-c"], &["a/b"]),
            (r"^[^\w]$", &["ö"], &["a"]),
            (r"^[\W\d]$", &["1", "/"], &["a"]),
            ("^[[]$", &["["], &["x"]),
            ("^[]a]$", &["]", "a"], &["b"]),
            ("^[^]a]$", &["b"], &["]", "a"]),
            ("^[a&&b]$", &["a", "b", "&"], &["c"]),
            ("^[a~~b]$", &["a", "b", "~"], &["c"]),
            ("^[--/]$", &["-", ".", "/"], &["0"]),
            ("^[[:upper:]_]+$", &["A_B"], &["a", ":"]),
            (r"^\<\>\/\-$", &["<>/-"], &["/-"]),
            (r"^[\]\-\^]+$", &["]-^"], &["a"]),
            (r"(?i)^KEY\z", &["key"], &["keys"]),
            (r"^\p{Lu}\x{41}\x2f", &["ÄA/"], &["äA/"]),
        ] {
            let pattern = name_pattern(expression).unwrap();
            for name in matching {
                assert!(pattern.is_match(name), "{expression} {name}");
            }
            for name in others {
                assert!(!pattern.is_match(name), "{expression} {name}");
            }
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_by_name() {
        // Specification 3.9, P-11.
        for expression in ["a(b", "[a", "*", r"\", r"(?=x)", r"\E", "a{2,1}"] {
            let error = name_pattern(expression).unwrap_err();
            assert_eq!(error.class(), crate::ErrorClass::InvalidArgument);
            let start = format!("could not compile find.name.regexp [{expression}]: ");
            assert!(error.message().starts_with(&start), "{error:?}");
        }
    }
}
