use std::time::Instant;

use proptest::prelude::*;

use super::{Pattern, Replacement, Search, Trouble};
use crate::functions::testing::{call_within, context};
use crate::limits::{Limit, Limits};
use crate::value::Value;

/// The error text of a pattern.
fn complaint(pattern: &[u8]) -> String {
    match Pattern::new(&mut context(), pattern) {
        Ok(_) => "none".to_owned(),
        Err(Trouble::Syntax(text)) => text.replace("error parsing regexp: ", ""),
        Err(Trouble::Failure(failure)) => failure.text().to_owned(),
    }
}

fn replace(pattern: &str, text: &[u8], replacement: &str) -> String {
    let limits = Limits {
        steps: 10_000_000,
        ..Limits::default()
    };
    call_within(
        limits,
        "mustRegexReplaceAll",
        &[
            Value::from(pattern),
            Value::from(text),
            Value::from(replacement),
        ],
    )
}

#[test]
fn matches_are_those_of_go() {
    for (pattern, text, expected) in [
        ("a|ab", "xab", "x<a>b"),
        ("(a|ab)(c|bcd)(d*)", "abcd", "<abcd>"),
        ("(?U)a+", "aa", "<a><a>"),
        ("a+?b", "aab", "<aab>"),
        ("a*", "baac", "<>b<aa>c<>"),
        ("", "é☺", "<>é<>☺<>"),
        ("(?:a*)*?b", "aab", "<aab>"),
        ("(a*)+", "b", "<>b<>"),
        (r"\bhi\b", "hi ohi", "<hi> ohi"),
        (r"\B", "ab", "a<>b"),
        (r"^a", "aa", "<a>a"),
        ("(?m)^", "a\nb", "<>a\n<>b"),
        ("$", "a\n", "a\n<>"),
        ("(?m)$", "a\n", "a<>\n<>"),
        (r"\w+", "größe", "<gr>öß<e>"),
        (r"\s", "\u{b}\u{a0} ", "\u{b}\u{a0}< >"),
        ("[[:^alpha:]]", "a1é", "a<1><é>"),
        (r"\pL+", "aé1", "<aé>1"),
        (r"\p{^Greek}", "αa", "α<a>"),
        ("(?i)k+", "kK\u{212a}x", "<kK\u{212a}>x"),
        (r"(?i)[^\w]", "\u{17f}-", "\u{17f}<->"),
        ("(?i)ÉÀ", "éà", "<éà>"),
        ("a{,2}", "a{,2}", "<a{,2}>"),
        ("[a&&b-]+", "a&b-c", "<a&b->c"),
        (r"\Qa.\E+", "a..b", "<a..>b"),
        (r"\x41\101\x{1F600}", "AA😀", "<AA😀>"),
        (r"[^\x00-\x{10FFFF}]", "a", "a"),
        ("x{0}a", "xa", "x<a>"),
        ("(?s-i:.)", "\n", "<\n>"),
    ] {
        let found = replace(pattern, text.as_bytes(), "<$0>");
        assert_eq!(found, expected, "{pattern}");
    }
}

#[test]
fn long_texts_are_searched_alike() {
    // Too long to note every pair of step and place.
    let text = format!("{}abcd", "xyz é".repeat(20_000));
    for (pattern, expected) in [
        ("(a|ab)(c|bcd)(d*)$", "xyz é<a|bcd|>"),
        ("(?:yz )?(é)(x|a)(bc?)", "xyz éx<é|a|bc>d"),
        (r"\b(b|a(.*?))(d)?\z", "xyz é<abc|bc|d>"),
        ("(?:xyz é)*(x|a)(b)(c)", "<a|b|c>d"),
    ] {
        let replaced = replace(pattern, text.as_bytes(), "<$1|$2|$3>");
        assert!(replaced.ends_with(expected), "{pattern}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_replacement_characters_of_width_one() {
    for (pattern, text, expected) in [
        (".", &b"a\xffb"[..], "xxx"),
        ("[^a-z]", b"a\xff\xfeb", "axxb"),
        (r"\x{FFFD}", b"\xff\xef\xbf\xbd", "xx"),
        (".", b"\xe2\x98", "xx"),
        ("", b"\xff\xe2\x98\xba", "x\\xffx☺x"),
        (r"\W", b"\xc3(", "xx"),
    ] {
        assert_eq!(replace(pattern, text, "x"), expected, "{pattern}");
    }
}

#[test]
fn mistakes_are_told_in_the_words_of_go() {
    for (pattern, expected) in [
        ("(", "missing closing ): `(`"),
        ("a)", "unexpected ): `a)`"),
        ("x[a", "missing closing ]: `[a`"),
        ("[]", "missing closing ]: `[]`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{2}{3}?", "invalid nested repetition operator: `{2}{3}?`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a|+?", "missing argument to repetition operator: `+?`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("(x{100}){11}", "invalid repeat count: `{11}`"),
        ("(x{2,}){501}", "invalid repeat count: `{501}`"),
        ("(?P<", "invalid or unsupported Perl syntax: `(?P`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
        ("(?<a-b>x)", "invalid named capture: `(?<a-b>`"),
        ("(?i", "invalid or unsupported Perl syntax: `(?i`"),
        ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("a(?!b)", "invalid or unsupported Perl syntax: `(?!`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        (
            r"\p{Old_Italic}",
            r"invalid character class range: `\p{Old_Italic}`",
        ),
        (r"\p", r"invalid character class range: `\p`"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
        (r"[a-\d]", r"invalid escape sequence: `\d`"),
        (r"^\C", r"invalid escape sequence: `\C`"),
        ("\\", "trailing backslash at end of expression: ``"),
    ] {
        assert_eq!(complaint(pattern.as_bytes()), expected, "{pattern}");
    }
    assert_eq!(complaint(b"a\xff(b"), "invalid UTF-8: `\u{fffd}(b`");
}

#[test]
fn what_go_takes_is_no_mistake() {
    for pattern in [
        "(?P<n>a)(?P<n>b)",
        "(|a)*",
        "()*",
        "a{1000}",
        "(x{10}){100}",
        "x{01}",
        "{2",
        "[[:alpha]",
        "[a-]",
        "[]a]",
        r"a\Q\E*",
        r"a*\Q\E*",
        r"\Qab",
        r"\_\-\012",
        r"\p{uppercase letter}\p{ASCII}\p{Any}\P{Cs}",
        "(?)",
    ] {
        assert_eq!(complaint(pattern.as_bytes()), "none", "{pattern}");
    }
}

#[test]
fn depth_is_bounded_as_upstream() {
    let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(complaint(nested(990).as_bytes()), "none");
    assert!(complaint(nested(1_001).as_bytes()).starts_with("expression nests too deeply"));
    let uncounted = format!("{}a{}", "(?:".repeat(20_000), ")".repeat(20_000));
    assert_eq!(complaint(uncounted.as_bytes()), "none");
}

#[test]
fn references_of_replacements_follow_go() {
    for (replacement, expected) in [
        ("${1}W", "-W-xxW-"),
        ("$1W", "---"),
        ("$n.", "-.-xx.-"),
        ("$$1", "-$1-$1-"),
        ("$0$9", "-ab-axxb-"),
        ("${", "-${-${-"),
        ("$-", "-$--$--"),
        ("$01", "---"),
        ("$é", "---"),
    ] {
        let replaced = replace("a(?P<n>x*)b", b"-ab-axxb-", replacement);
        assert_eq!(replaced, expected, "{replacement}");
    }
    // Of groups that share a name the first counts that took part.
    assert_eq!(replace("(?P<n>a)|(?P<n>b)", b"ab", "<$n>"), "<a><b>");
}

#[test]
fn hostile_patterns_meet_a_limit() {
    let text = "x".repeat(200_000);
    let start = Instant::now();
    for pattern in [
        "(x+x+)+y",
        "(.*)(.*)(.*)(.*)(.*)z",
        "(?:x?){500}x{500}y",
        r"(\pL+\d?)+!",
    ] {
        let cx = &mut context();
        let pattern = Pattern::new(cx, pattern.as_bytes()).expect("a pattern");
        let mut search = Search::new(cx, &pattern, text.as_bytes(), true).expect("some memory");
        assert!(search.find(cx, 0).is_err());
    }
    for pattern in [
        r"((\pL{10}){10}){10}(\w{1000}){1}[\pL\pN]{1000}".repeat(40),
        "[[:".repeat(100_000),
    ] {
        let _ = complaint(pattern.as_bytes());
    }
    let seconds = start.elapsed().as_secs();
    assert!(seconds < 20, "{seconds} s");
}

#[test]
fn the_size_of_a_program_is_limited() {
    let pattern = "(?:abcdefghij){1000}".repeat(10);
    match Pattern::new(&mut context(), pattern.as_bytes()) {
        Err(Trouble::Failure(failure)) => {
            assert_eq!(failure.kind(), crate::failure::Kind::Limit(Limit::Pattern));
        }
        _ => panic!("a hundred thousand steps are no small program"),
    }
}

proptest! {
    #[test]
    fn any_pattern_on_any_text_ends(
        pattern in r"[ab.*+?|()\[\]{}^$\\0-3dDwWbpPLi:,-]{0,24}",
        text in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let cx = &mut context();
        if let Ok(pattern) = Pattern::new(cx, pattern.as_bytes()) {
            let mut search = Search::new(cx, &pattern, &text, true).expect("some memory");
            let template = Replacement::template(cx, &pattern, b"$1").expect("some memory");
            prop_assert!(template.has_groups());
            let mut last = 0;
            let outcome = search.each(cx, usize::MAX, |_, (start, end)| {
                assert!(last <= start && start <= end && end <= text.len());
                last = end;
                Ok(())
            });
            prop_assert!(outcome.is_ok());
        }
    }
}
