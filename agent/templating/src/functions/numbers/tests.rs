//! Expected texts are those of Go 1.26 with sprig 3.3.

use crate::functions::testing::{check_examples, limited, render};
use crate::limits::{Limit, Limits};

/// Renders each template and compares with what Go's engine gave.
fn check(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        assert_eq!(render(template), *expected, "{template}");
    }
}

#[test]
fn integers_wrap_and_truncate() {
    check(&[
        (
            r#"{{ add }} {{ add -3 }} {{ add "4" 5.9 true nil }} {{ add 9223372036854775807 1 }} {{ add1 "9" }} {{ add1 9223372036854775807 }}"#,
            "0 -3 10 -9223372036854775808 10 -9223372036854775808",
        ),
        (
            r#"{{ sub 10 4 }} {{ sub -9223372036854775808 1 }} {{ 3 | sub 10 }} {{ mul 5 }} {{ mul "6" 7 2 }} {{ mul 9223372036854775807 2 }}"#,
            "6 9223372036854775807 7 5 84 -2",
        ),
        (
            "{{ div 20 6 }} {{ div -20 6 }} {{ div 20 -6 }} {{ mod 20 6 }} {{ mod -20 6 }} {{ mod 20 -6 }} {{ div -9223372036854775808 -1 }} {{ mod -9223372036854775808 -1 }}",
            "3 -3 -3 2 -2 2 -9223372036854775808 0",
        ),
        (
            r#"{{ div 7 "zero" }}"#,
            "error: error calling div: runtime error: integer divide by zero",
        ),
        (
            "{{ mod 7 0 }}",
            "error: error calling mod: runtime error: integer divide by zero",
        ),
        (
            r#"{{ max 4 "11" 2.9 }} {{ min 4 "-11" 2.9 }} {{ max -5 }} {{ min "x" 1 }} {{ biggest 1 9 3 }}"#,
            "11 -11 -5 0 9",
        ),
    ]);
}

#[test]
fn float_arithmetic_is_exact_in_decimal() {
    check(&[
        (
            r#"{{ addf 0.7 0.1 }} {{ addf 1.005 "2.5" 1 }} {{ addf }} {{ add1f 1.1 }} {{ subf 0.3 0.1 }} {{ subf 5 }} {{ subf 0.1 0.3 }} {{ mulf 0.7 0.1 }} {{ mulf 3 "1.5" }} {{ mulf 1e10 1e10 }}"#,
            "0.8 4.505 0 2.1 0.2 5 -0.2 0.07 4.5 1e+20",
        ),
        (
            "{{ divf 1 3 }} {{ divf 22 7 }} {{ divf 7 2 2 }} {{ divf -1 6 }} {{ divf 1 -6 }} {{ divf 1e-10 3 }} {{ divf 2 3000000 }} {{ divf 1 30000 }} {{ divf 5e-17 1 }} {{ divf -5e-17 1 }} {{ divf 4.9e-17 1 }} {{ divf 0 -1 }}",
            "0.3333333333333333 3.142857142857143 1.75 -0.1666666666666667 -0.1666666666666667 3.33333e-11 6.666666667e-07 3.33333333333e-05 1e-16 -1e-16 0 0",
        ),
        (
            r#"{{ addf 1e308 1e308 }} {{ subf -1e308 1e308 }} {{ mulf 1e308 1e308 }} {{ addf 1e308 (float64 "5e-324") }} {{ mulf -1e-300 1e-300 }} {{ divf 1e308 (float64 "5e-324") }} {{ divf (float64 "5e-324") 1e308 }}"#,
            "+Inf -Inf +Inf 1e+308 -0 +Inf 0",
        ),
        (
            "{{ mulf 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1 }} {{ divf 123456789.123 7.7 0.3333333333333333 99999.99999 }} {{ mulf 99999.99999 99999.99999 1e-20 -0.5 }} {{ divf 1e300 123456789012345678 }}",
            "3.138428376721 481.0004771506975 -4.999999999e-11 8.1000000729e+282",
        ),
        (
            "{{ divf 3 0 }}",
            "error: error calling divf: decimal division by 0",
        ),
        (
            r#"{{ addf (float64 "NaN") 1 }}"#,
            "error: error calling addf: Cannot create a Decimal from NaN",
        ),
        (
            r#"{{ mulf 2 (float64 "-Inf") }}"#,
            "error: error calling mulf: Cannot create a Decimal from -Inf",
        ),
        (
            r#"{{ divf (float64 "inf") 0 }}"#,
            "error: error calling divf: Cannot create a Decimal from +Inf",
        ),
        (
            r#"{{ maxf 1 2.25 "2.5" }} {{ minf 1 0.25 "x" }} {{ maxf 1 (float64 "nan") }} {{ minf (float64 "nan") 1 }} {{ maxf (float64 "nan") (float64 "inf") }} {{ minf (float64 "nan") (float64 "-inf") }} {{ maxf (float64 "-0") 0 }} {{ minf 0 (float64 "-0") }}"#,
            "2.5 0 NaN NaN +Inf -Inf 0 -0",
        ),
    ]);
}

#[test]
fn rounding_goes_up_from_the_given_fraction() {
    check(&[
        (
            r#"{{ round 3.14159 2 }} {{ round 2.675 2 }} {{ round 0.5 0 }} {{ round -0.5 0 }} {{ round -1.3 0 }} {{ round -2.4 0 }} {{ round 1250 -2 }} {{ round "9.995" 2 }} {{ round 7.35 1 0.6 }} {{ round 7.36 1 0.6 }} {{ round 12 0 }}"#,
            "3.14 2.68 1 -1 -2 -3 1300 9.99 7.3 7.4 12",
        ),
        (
            r#"{{ round 1.5 400 }} {{ round 1.5 -400 }} {{ round 0 400 }} {{ round 123.456 23 }} {{ round 123.456 25 }} {{ round 1e300 10 }} {{ round (float64 "inf") 1 }} {{ round (float64 "nan") 1 }} {{ round 1.25 1 -1.0 }} {{ round 1.25 1 2.0 }} {{ round 1e-320 322 }} {{ round 5e307 -308 }}"#,
            "NaN NaN NaN 123.45599999999999 123.456 +Inf +Inf NaN 1.3 1.2 NaN 0",
        ),
        (
            r#"{{ ceil 1.2 }} {{ ceil -0.3 }} {{ ceil "7.01" }} {{ floor -1.8 }} {{ floor "x" }} {{ floor 1e7 }} {{ ceil (float64 "-inf") }}"#,
            "2 -0 8 -2 0 1e+07 -Inf",
        ),
    ]);
}

#[test]
fn sequences_run_up_and_down() {
    check(&[
        (
            "{{ until 5 }} {{ until 0 }} {{ until -3 }} {{ untilStep 0 10 3 }} {{ untilStep 10 0 -4 }} {{ untilStep 0 5 -1 }} {{ untilStep 5 0 1 }} {{ untilStep 5 5 1 }} {{ untilStep 0 5 0 }} {{ until 3 | typeOf }} {{ until 0 | toJson }}",
            "[0 1 2 3 4] [] [0 -1 -2] [0 3 6 9] [10 6 2] [] [] [] [] []int []",
        ),
        (
            "[{{ seq 5 }}][{{ seq 2 5 }}][{{ seq 5 2 }}][{{ seq 1 3 10 }}][{{ seq 10 -3 1 }}][{{ seq 1 -1 3 }}][{{ seq -1 }}][{{ seq 0 }}][{{ seq }}][{{ seq 1 2 3 4 }}][{{ seq 2 0 2 }}][{{ seq 5 0 1 }}][{{ seq 5 1 1 }}][{{ seq 3 3 }}][{{ seq 3 1 3 }}]",
            "[1 2 3 4 5][2 3 4 5][5 4 3 2][1 4 7 10][10 7 4 1][][1 0 -1][1 0][][][][][][3][3]",
        ),
    ]);
}

#[test]
fn huge_sequences_stop_at_a_limit() {
    for template in [
        "{{ until 9223372036854775807 }}",
        "{{ until -9223372036854775808 }}",
        "{{ untilStep 0 1000000000 1 | len }}",
        "{{ untilStep 9223372036854775800 9223372036854775807 5 }}",
        "{{ seq 1000000000 }}",
        "{{ seq -9223372036854775807 9223372036854775806 }}",
    ] {
        let outcome = limited(template, Limits::default());
        assert!(
            matches!(outcome, Err(Some(Limit::Memory | Limit::Steps))),
            "{template}"
        );
    }
}

#[test]
fn examples_render_as_they_say() {
    check_examples(super::FUNCTIONS);
}
