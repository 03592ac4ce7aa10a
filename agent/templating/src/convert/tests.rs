//! Expected texts are those of Go 1.26 with sprig 3.3, but for strings with a point, which newer converters read.

use crate::functions::testing::{limited, render};
use crate::limits::Limits;

/// Renders each template and compares with what Go's engine gave.
fn check(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        assert_eq!(render(template), *expected, "{template}");
    }
}

#[test]
fn strings_read_as_integers_of_any_base() {
    check(&[
        (
            r#"{{ int "" }} {{ int64 "" | typeOf }} {{ atoi "" }}"#,
            "0 int64 0",
        ),
        (
            r#"{{ int "0" }} {{ int64 "0" | typeOf }} {{ atoi "0" }}"#,
            "0 int64 0",
        ),
        (
            r#"{{ int "77" }} {{ int64 "77" | typeOf }} {{ atoi "77" }}"#,
            "77 int64 77",
        ),
        (
            r#"{{ int "-12" }} {{ int64 "-12" | typeOf }} {{ atoi "-12" }}"#,
            "-12 int64 -12",
        ),
        (
            r#"{{ int "+3" }} {{ int64 "+3" | typeOf }} {{ atoi "+3" }}"#,
            "3 int64 3",
        ),
        (
            r#"{{ int "077" }} {{ int64 "077" | typeOf }} {{ atoi "077" }}"#,
            "63 int64 77",
        ),
        (
            r#"{{ int "08" }} {{ int64 "08" | typeOf }} {{ atoi "08" }}"#,
            "0 int64 8",
        ),
        (
            r#"{{ int "0x7f" }} {{ int64 "0x7f" | typeOf }} {{ atoi "0x7f" }}"#,
            "127 int64 0",
        ),
        (
            r#"{{ int "0X7F" }} {{ int64 "0X7F" | typeOf }} {{ atoi "0X7F" }}"#,
            "127 int64 0",
        ),
        (
            r#"{{ int "0o17" }} {{ int64 "0o17" | typeOf }} {{ atoi "0o17" }}"#,
            "15 int64 0",
        ),
        (
            r#"{{ int "0b101" }} {{ int64 "0b101" | typeOf }} {{ atoi "0b101" }}"#,
            "5 int64 0",
        ),
        (
            r#"{{ int "0b2" }} {{ int64 "0b2" | typeOf }} {{ atoi "0b2" }}"#,
            "0 int64 0",
        ),
        (
            r#"{{ int "1_000" }} {{ int64 "1_000" | typeOf }} {{ atoi "1_000" }}"#,
            "1000 int64 0",
        ),
        (
            r#"{{ int "1__0" }} {{ int64 "1__0" | typeOf }} {{ atoi "1__0" }}"#,
            "0 int64 0",
        ),
        (
            r#"{{ int "_1" }} {{ int64 "_1" | typeOf }} {{ atoi "_1" }}"#,
            "0 int64 0",
        ),
        (
            r#"{{ int "0_7" }} {{ int64 "0_7" | typeOf }} {{ atoi "0_7" }}"#,
            "7 int64 0",
        ),
        (
            r#"{{ int "0x_7" }} {{ int64 "0x_7" | typeOf }} {{ atoi "0x_7" }}"#,
            "7 int64 0",
        ),
        (
            r#"{{ int "0x" }} {{ int64 "0x" | typeOf }} {{ atoi "0x" }}"#,
            "0 int64 0",
        ),
        (
            r#"{{ int "-0x8000000000000000" }} {{ int64 "-0x8000000000000000" | typeOf }} {{ atoi "-0x8000000000000000" }}"#,
            "-9223372036854775808 int64 0",
        ),
        (
            r#"{{ int "9223372036854775807" }} {{ int64 "9223372036854775807" | typeOf }} {{ atoi "9223372036854775807" }}"#,
            "9223372036854775807 int64 9223372036854775807",
        ),
        (
            r#"{{ int "9223372036854775808" }} {{ int64 "9223372036854775808" | typeOf }} {{ atoi "9223372036854775808" }}"#,
            "0 int64 9223372036854775807",
        ),
        (
            r#"{{ int "-99999999999999999999" }} {{ int64 "-99999999999999999999" | typeOf }} {{ atoi "-99999999999999999999" }}"#,
            "0 int64 -9223372036854775808",
        ),
        (
            r#"{{ int " 1" }} {{ int64 " 1" | typeOf }} {{ atoi " 1" }}"#,
            "0 int64 0",
        ),
        (
            r#"{{ int "1 " }} {{ int64 "1 " | typeOf }} {{ atoi "1 " }}"#,
            "0 int64 0",
        ),
        (
            r#"{{ int "1e3" }} {{ int64 "1e3" | typeOf }} {{ atoi "1e3" }}"#,
            "0 int64 0",
        ),
        (
            r#"{{ int "--1" }} {{ int64 "--1" | typeOf }} {{ atoi "--1" }}"#,
            "0 int64 0",
        ),
        (
            r#"{{ int "+-1" }} {{ int64 "+-1" | typeOf }} {{ atoi "+-1" }}"#,
            "0 int64 0",
        ),
        (
            r#"{{ int "x" }} {{ int64 "x" | typeOf }} {{ atoi "x" }}"#,
            "0 int64 0",
        ),
    ]);
}

#[test]
fn strings_read_as_floats() {
    check(&[
        (r#"{{ float64 "" }}"#, "0"),
        (r#"{{ float64 "2.50" }}"#, "2.5"),
        (r#"{{ float64 "-.5" }}"#, "-0.5"),
        (r#"{{ float64 "5." }}"#, "5"),
        (r#"{{ float64 "." }}"#, "0"),
        (r#"{{ float64 "1e3" }}"#, "1000"),
        (r#"{{ float64 "1E-3" }}"#, "0.001"),
        (r#"{{ float64 "1e400" }}"#, "0"),
        (r#"{{ float64 "-1e400" }}"#, "0"),
        (r#"{{ float64 "1e-400" }}"#, "0"),
        (r#"{{ float64 "1_0.5" }}"#, "10.5"),
        (r#"{{ float64 "1__0" }}"#, "0"),
        (r#"{{ float64 "_1" }}"#, "0"),
        (r#"{{ float64 "1_" }}"#, "0"),
        (r#"{{ float64 "1e1_0" }}"#, "1e+10"),
        (r#"{{ float64 "1_e1" }}"#, "0"),
        (r#"{{ float64 "0x1.8p1" }}"#, "3"),
        (r#"{{ float64 "0X1P-2" }}"#, "0.25"),
        (r#"{{ float64 "0x1" }}"#, "0"),
        (r#"{{ float64 "0x.8p0" }}"#, "0.5"),
        (r#"{{ float64 "0xp1" }}"#, "0"),
        (r#"{{ float64 "0x1.fffffffffffff8p1023" }}"#, "0"),
        (r#"{{ float64 "0x1p1024" }}"#, "0"),
        (r#"{{ float64 "0x1p-1074" }}"#, "5e-324"),
        (r#"{{ float64 "0x1p-1075" }}"#, "0"),
        (r#"{{ float64 "0x1.8p-1074" }}"#, "1e-323"),
        (r#"{{ float64 "0x1.00000000000008p0" }}"#, "1"),
        (
            r#"{{ float64 "0x1.00000000000018p0" }}"#,
            "1.0000000000000004",
        ),
        (
            r#"{{ float64 "0x123456789abcdef0000001p0" }}"#,
            "2.2007822920628983e+25",
        ),
        (r#"{{ float64 "inf" }}"#, "+Inf"),
        (r#"{{ float64 "-Infinity" }}"#, "-Inf"),
        (r#"{{ float64 "+INF" }}"#, "+Inf"),
        (r#"{{ float64 "infinit" }}"#, "0"),
        (r#"{{ float64 "NaN" }}"#, "NaN"),
        (r#"{{ float64 "+nan" }}"#, "0"),
        (r#"{{ float64 "1e5 " }}"#, "0"),
        (r#"{{ float64 "1d5" }}"#, "0"),
        (
            r#"{{ float64 "9007199254740993" }}"#,
            "9.007199254740992e+15",
        ),
        (r#"{{ float64 "2.4703282292062327e-324" }}"#, "0"),
        (r#"{{ float64 "2.4703282292062328e-324" }}"#, "5e-324"),
    ]);
}

#[test]
fn anything_converts_to_a_number() {
    check(&[
        (
            r#"{{ $d := toDate "2006" "2020" }}{{ range list nil true false 2.9 -2.9 1e19 (float64 "nan") (int64 5) (index "A" 0) (semver "1.7.2").Minor $d.Month $d.Weekday $d (list 1) (dict) 2i (semver "1.0.0") (until 3) }}{{ int . }} {{ float64 . }},{{ end }}"#,
            "0 0,1 1,0 0,2 2.9,-2 -2.9,-9223372036854775808 1e+19,-9223372036854775808 NaN,5 5,65 65,7 7,1 1,3 3,0 0,0 0,0 0,0 0,0 0,0 0,",
        ),
        (
            r#"{{ range list 644 "0777" "19" "" "-17" "1.0" nil 1.0 true "9223372036854775807" "777777777777777777777" "7777777777777777777777" }}{{ toDecimal . }} {{ end }}"#,
            "420 511 0 0 -15 0 0 1 0 0 9223372036854775807 0 ",
        ),
    ]);
}

#[test]
fn the_fraction_of_a_decimal_string_is_dropped() {
    check(&[
        (
            r#"{{ int "4.9" }} {{ int "-4.9" }} {{ int "+4." }} {{ int "-.5" }} {{ int "." }}"#,
            "4 -4 4 0 0",
        ),
        (
            r#"{{ int "010.5" }} {{ int "08.5" }} {{ int "1.5e2" }} {{ int "1_0.5" }} {{ int "0x1.5" }}"#,
            "8 0 0 0 0",
        ),
        (
            r#"{{ int "1.2.3" }} {{ int "4.9\n" }} {{ int " 4.9" }} {{ int "9223372036854775808.0" }}"#,
            "0 0 0 0",
        ),
    ]);
}

#[test]
fn deep_equality_looks_at_types_and_survives_circles() {
    check(&[
        (
            r#"{{ deepEqual 1 (int64 1) }} {{ deepEqual (list 1) (list 1.0) }} {{ deepEqual (until 2) (list 0 1) }}"#,
            "false false false",
        ),
        (
            r#"{{ deepEqual (list) (rest list) }} {{ deepEqual (rest list) (rest list) }} {{ deepEqual nil (rest list) }}"#,
            "false true false",
        ),
        (
            r#"{{ deepEqual (list (float64 "nan")) (list (float64 "nan")) }}{{ $l := list (float64 "nan") }} {{ deepEqual $l $l }}"#,
            "false true",
        ),
        (
            r#"{{ deepEqual (dict "a" (list 1 nil)) (dict "a" (list 1 nil)) }} {{ deepEqual (dict "a" 1) (dict "b" 1) }} {{ deepEqual . (dict) }}"#,
            "true false false",
        ),
        (
            r#"{{ deepEqual (semver "1.2.3") (semver "1.2.3") }} {{ deepEqual (semver "1.2.3") (semver "v1.2.3") }}"#,
            "true false",
        ),
        (
            r#"{{ $d := dict }}{{ $_ := set $d "x" $d }}{{ $e := dict }}{{ $_ := set $e "x" $e }}{{ deepEqual $d $d }} {{ deepEqual $d $e }} {{ deepEqual (list $d 1) (list $e 2) }}"#,
            "true true false",
        ),
    ]);
}

#[test]
fn comparing_lists_made_of_the_same_lists_stops_at_the_limit() {
    let template = r#"{{ $a := list }}{{ $b := list }}{{ range until 30 }}{{ $a = list $a $a }}{{ $b = list $b $b }}{{ end }}{{ deepEqual $a $b }}"#;
    assert!(limited(template, Limits::default()).is_err());
}
