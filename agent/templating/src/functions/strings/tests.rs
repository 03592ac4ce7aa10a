//! Expected texts come from Go 1.26 with sprig 3.3.

use super::super::testing::{limited, render};
use crate::limits::Limits;

fn check(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        assert_eq!(render(template), *expected, "{template}");
    }
}

#[test]
fn case_is_mapped_rune_to_rune() {
    check(&[
        (r#"{{ upper "größe ŉ ﬁ ᾳ ა" }}"#, "GRÖßE ŉ ﬁ ᾼ Ა"),
        (r#"{{ lower "ΣΑΣ İ K Ǆ" }}"#, "σασ i k ǆ"),
        (
            r#"{{ upper "a\xffb\xe2\x82" }}"#,
            "A\u{fffd}B\u{fffd}\u{fffd}",
        ),
        (
            r#"{{ title "ǆ o'neil-x 3rd_a «b ა" }}"#,
            "ǅ O'Neil-X 3rd_a «b ა",
        ),
        (r#"{{ untitle "Ab Cd\tÉ" }}"#, "ab cd\té"),
        (r#"{{ swapcase "Hello wORLD ǅ ǆa" }}"#, "hELLO World ǆ ǅA"),
    ]);
}

#[test]
fn camelcase_joins_words_at_connectors() {
    check(&[
        (r#"{{ camelcase "HTTP_server-name x" }}"#, "HttpServerNameX"),
        (r#"{{ camelcase "_complex__case_" }}"#, "_Complex_Case_"),
        (r#"{{ camelcase "ABCdef" }}"#, "Abcdef"),
        (r#"{{ camelcase "__" }}{{ camelcase "-" }}"#, "___--"),
        (r#"{{ camelcase "\xffa" }}"#, "\u{fffd}a"),
        (r#"{{ camelcase "" }}"#, ""),
    ]);
}

#[test]
fn snakecase_divides_words_at_case_and_numbers() {
    check(&[
        (r#"{{ snakecase "HTTPServer" }}"#, "http_server"),
        (r#"{{ snakecase "ABC123def" }}"#, "abc_123def"),
        (r#"{{ snakecase "v2beta1" }}"#, "v_2beta1"),
        (r#"{{ snakecase "HTTP2" }}"#, "http2"),
        (r#"{{ snakecase "Bld4Floor3rd" }}"#, "bld4_floor_3rd"),
        (r#"{{ snakecase "12ab34" }}"#, "12ab34"),
        (r#"{{ snakecase "aB1c2D" }}"#, "a_b_1c2_d"),
        (r#"{{ snakecase "a.Bc-D" }}"#, "a.bc_d"),
        (r#"{{ snakecase "Foo  Bar" }}"#, "foo__bar"),
        (r#"{{ snakecase "1A" }}"#, "1_a"),
        (r#"{{ kebabcase "a+b=C" }}"#, "a-+-b-=-c"),
        (r#"{{ kebabcase "ÜberGroß 日本Go" }}"#, "über-groß-日本-go"),
        (r#"{{ snakecase "a\xffB\xff" }}"#, "a_\u{fffd}b\u{fffd}"),
        (r#"{{ snakecase "\xff" }}"#, "\\xff"),
    ]);
}

#[test]
fn trimming_takes_runes_off_both_ends() {
    check(&[
        (r#"[{{ trim "\u2003 \t x y \u00a0\n" }}]"#, "[x y]"),
        (r#"[{{ trim "\u200b\u0085" }}]"#, "[\u{200b}]"),
        (r#"{{ trimAll "€" "€5€" }}|{{ trimAll "" " x " }}"#, "5| x "),
        (r#"{{ trimAll "\ufffd" "\xffa\xff" }}"#, "a"),
        (r#"{{ trimall "\xff" "\xfe\ufffda" }}"#, "a"),
        (
            r#"{{ trimSuffix "/" "a//" }} {{ trimPrefix "v" "vv1" }}"#,
            "a/ v1",
        ),
    ]);
}

#[test]
fn substr_counts_bytes_and_fails_as_a_slice_expression() {
    let error = "error calling substr: runtime error: slice bounds out of range";
    check(&[
        (
            r#"{{ substr 0 3 "kubernetes" }} {{ substr -5 4 "kubernetes" }}"#,
            "kub kube",
        ),
        (
            r#"{{ substr 6 -1 "kubernetes" }} {{ substr 6 99 "kubernetes" }}"#,
            "etes etes",
        ),
        (r#"{{ substr 1 2 "é" }}"#, "\\xa9"),
    ]);
    for (call, bounds) in [
        ("substr 5 2 \"kubernetes\"", "[5:2]"),
        ("substr -1 10 \"short\"", "[:10] with length 5"),
        ("substr -1 -1 \"short\"", "[:-1]"),
        ("substr 9 -1 \"short\"", "[9:5]"),
        (
            "substr 9223372036854775807 0 \"x\"",
            "[9223372036854775807:0]",
        ),
    ] {
        let rendered = render(&format!("{{{{ {call} }}}}"));
        assert!(
            rendered.ends_with(&format!("{error} {bounds}")),
            "{rendered}"
        );
    }
}

#[test]
fn abbreviations_never_exceed_their_width() {
    check(&[
        (
            r#"{{ abbrev 9 "external secrets" }} {{ abbrev 3 "external" }}"#,
            "extern... external",
        ),
        (
            r#"{{ abbrevboth 5 10 "0123456789abcdefghij" }}"#,
            "...5678...",
        ),
        (
            r#"{{ abbrevboth 15 10 "0123456789abcdefghij" }}"#,
            "...defghij",
        ),
        (r#"{{ abbrevboth 99 7 "0123456789abcdefghij" }}"#, "...ghij"),
        (
            r#"{{ abbrevboth 9 6 "0123456789abcdefghij" }}"#,
            "0123456789abcdefghij",
        ),
        (r#"{{ abbrevboth -3 8 "0123456789" }}"#, "01234..."),
        (
            r#"{{ abbrevboth -9223372036854775808 5 "0123456789" }}"#,
            "",
        ),
        (
            r#"{{ trunc 3 "kubernetes" }} {{ trunc -3 "kubernetes" }} {{ trunc -9 "ab" }}"#,
            "kub tes ab",
        ),
    ]);
}

#[test]
fn nospace_and_initials_take_bytes_for_latin_1() {
    check(&[
        (r#"{{ nospace "é à" }} {{ nospace "éa" }}"#, "Ã©Ã éa"),
        (r#"{{ nospace "\u00a0x y" }}"#, "Âxy"),
        (r#"{{ initials " élan  vital" }}"#, "Ãv"),
    ]);
}

#[test]
fn wrapping_breaks_at_blanks() {
    check(&[
        (
            r#"{{ wrap 6 "supercalifragilistic is long" }}"#,
            "supercalifragilistic\nis\nlong",
        ),
        (r#"{{ wrap 8 "   lead and  double" }}"#, "lead and\n double"),
        (r#"{{ wrap 0 "a bc d" }}"#, "a\nbc\nd"),
        (
            r#"{{ wrapWith 6 "\n\t" "supercalif is" }}"#,
            "superc\n\talif\n\tis",
        ),
        (r#"{{ wrapWith 2 "" "abcde" }}"#, "ab\ncd\ne"),
        (r#"{{ wrap 9223372036854775807 " a " }}|"#, " a |"),
        (
            r#"{{ indent 2 "a\nb\n" }}|{{ nindent 1 "" }}|"#,
            "  a\n  b\n  |\n |",
        ),
    ]);
}

#[test]
fn replacing_nothing_inserts_between_runes() {
    check(&[
        (
            r#"{{ replace "" "+" "aé" }} {{ replace "" "-" "" }}"#,
            "+a+é+ -",
        ),
        (
            r#"{{ replace "aa" "b" "aaaaa" }} {{ replace "b" "" "abcb" }}"#,
            "bba ac",
        ),
        (r#"{{ replace "\xa9" "-" "é" }}"#, "\\xc3-"),
        (
            r#"{{ repeat 0 "x" }}{{ repeat 3 "" }}{{ repeat 2 "ab" }}"#,
            "abab",
        ),
    ]);
    assert!(render("{{ repeat -1 \"\" }}").ends_with("strings: negative Repeat count"));
    assert!(
        render("{{ repeat 4611686018427387904 \"aaaa\" }}")
            .ends_with("strings: Repeat output length overflow")
    );
}

#[test]
fn values_become_text() {
    check(&[
        (
            r#"{{ quote "a\"\t\xfe" 1 nil 2.50 "" (list "a" nil) }}"#,
            r#""a\"\t\xfe" "1" "2.5" "" "[a <nil>]""#,
        ),
        (r#"{{ squote "don't" nil true }}"#, "'don't' 'true'"),
        (r#"[{{ cat "" 1 nil "" }}] [{{ cat }}]"#, "[ 1 ] []"),
        (
            r#"{{ toString nil }} {{ toString 1e6 }} {{ toStrings (list 1 nil "a") }}"#,
            "<nil> 1e+06 [1 a]",
        ),
        (
            r#"{{ join "/" (list "a" 1 nil 2.5) }} {{ join "," "x" }} {{ join "," nil }}"#,
            "a/1/2.5 x ",
        ),
        (
            r#"{{ join "-" (list nil nil) }}{{ join "-" (list "" nil "") }}"#,
            "-",
        ),
    ]);
    assert!(render(r#"{{ fail "a\xe2\x82" }}"#).ends_with("error calling fail: a\u{fffd}\u{fffd}"));
}

#[test]
fn splitting_keeps_empty_parts() {
    check(&[
        (
            r#"{{ split "." "a..b" }} {{ split "," "" }} {{ split "" "" }}"#,
            "map[_0:a _1: _2:b] map[_0:] map[]",
        ),
        (r#"{{ split "" "a\xffñ" }}"#, "map[_0:a _1:\\xff _2:ñ]"),
        (
            r#"{{ splitn ":" 2 "a:b:c" }} {{ splitn ":" 0 "a" }} {{ splitn "" 2 "xyz" }}"#,
            "map[_0:a _1:b:c] map[] map[_0:x _1:yz]",
        ),
        (
            r#"{{ splitList "ab" "1ab2ab" | toJson }} {{ splitList "" "" | toJson }}"#,
            r#"["1","2",""] []"#,
        ),
    ]);
}

#[test]
fn sorting_a_list_of_strings_shows_in_every_variable() {
    check(&[
        (
            r#"{{ $l := splitList "," "b,a" }}{{ sortAlpha $l }}{{ $l }}"#,
            "[a b][a b]",
        ),
        (
            r#"{{ $l := list "b" "a" }}{{ sortAlpha $l }}{{ $l }}"#,
            "[a b][b a]",
        ),
        (
            r#"{{ $l := splitList "," "c,b,a" }}{{ $_ := sortAlpha (slice $l 1) }}{{ $l }}"#,
            "[c a b]",
        ),
        (
            r#"{{ $l := splitList "," "c,b,a" }}{{ $_ := sortAlpha (slice $l 1) }}{{ sortAlpha $l }}"#,
            "[a b c]",
        ),
        (
            r#"{{ sortAlpha nil }} {{ sortAlpha "x" }} {{ sortAlpha (list "é" "z" nil 10 9) }}"#,
            "[<nil>] [x] [10 9 z é]",
        ),
    ]);
}

#[test]
fn looking_at_long_texts_reaches_a_limit() {
    for call in [
        "upper $s",
        "trim $t",
        "trimAll \" \" $t",
        "trimAll \"ab\" $s",
        "trimPrefix $s $s",
        "nospace $s",
        "contains \"ba\" $s",
        "hasSuffix $s $s",
        "replace \"b\" \"c\" $s",
        "wrap 5 $t",
        "sortAlpha (list $s $s)",
        "uniq (list $s $s)",
        "hasKey $d $s",
    ] {
        let start =
            "{{ $s := repeat 500000 \"A\" }}{{ $t := repeat 500000 \" \" }}{{ $d := dict $s 1 }}";
        let template =
            format!("{start}{{{{ range until 1000 }}}}{{{{ $_ := {call} }}}}{{{{ end }}}}");
        let rendered = limited(&template, Limits::default());
        assert!(matches!(rendered, Err(Some(_))), "{call}");
    }
}
