//! Expected texts come from Go 1.26 with sprig 3.3.

use super::super::testing::{limited, render};
use crate::limits::{Limit, Limits};

fn check(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        assert_eq!(render(template), *expected, "{template}");
    }
}

#[test]
fn lists_of_any_type_are_taken_and_lists_of_any_values_made() {
    check(&[
        (
            r#"{{ append (until 2) "x" | typeOf }} {{ rest (splitList "," "a,b") | typeOf }}"#,
            "[]interface {} []interface {}",
        ),
        (
            "{{ append (list 1) nil }} {{ prepend (list) 1 }} {{ concat (list 1) (until 2) }}",
            "[1 <nil>] [1] [1 0 1]",
        ),
        (
            "{{ first (list) }} {{ last (until 3) }} {{ first (chunk 1 (list 7)) }}",
            "<no value> 2 [7]",
        ),
        (
            "{{ rest (list) | toJson }} {{ rest (list 1) | toJson }} {{ concat (list) | toJson }}",
            "null [] null",
        ),
        (
            "{{ initial (list 1 2) }} {{ reverse (list 1 2) }} {{ compact (list 0 1 nil (dict)) }}",
            "[1] [2 1] [1]",
        ),
    ]);
}

#[test]
fn a_new_list_leaves_the_old_one_alone() {
    check(&[(
        "{{ $a := list 1 2 }}{{ $b := append $a 3 }}{{ $c := append $a 4 }}{{ $a }}{{ $b }}{{ $c }}",
        "[1 2][1 2 3][1 2 4]",
    )]);
}

#[test]
fn what_is_no_list_is_refused_by_its_kind() {
    for (call, text) in [
        ("append \"a\" 1", "Cannot push on type string"),
        ("mustPrepend 5 1", "Cannot prepend on type int"),
        ("concat (list) 1", "Cannot concat type int as list"),
        ("first (dict)", "Cannot find first on type map"),
        ("last true", "Cannot find last on type bool"),
        ("rest 1.0", "Cannot find rest on type float64"),
        ("initial 1i", "Cannot find initial on type complex128"),
        (
            "reverse (semver \"1.0.0\")",
            "Cannot find reverse on type ptr",
        ),
        ("uniq 1", "Cannot find uniq on type int"),
        ("without 1", "Cannot find without on type int"),
        ("has 1 \"a\"", "Cannot find has on type string"),
        ("compact 1", "Cannot compact on type int"),
        (
            "slice \"a\" 0",
            "list should be type of slice or array but string",
        ),
        ("chunk 1 \"a\"", "Cannot chunk type string"),
        (
            "first nil",
            "runtime error: invalid memory address or nil pointer dereference",
        ),
    ] {
        let rendered = render(&format!("{{{{ {call} }}}}"));
        assert!(rendered.ends_with(&format!(": {text}")), "{rendered}");
    }
    assert_eq!(render("{{ has 1 nil }}"), "false");
}

#[test]
fn equality_counts_types() {
    check(&[
        (
            r#"{{ uniq (list 1 1.0 "1" (int64 1) 1 true nil nil true) }}"#,
            "[1 1 1 1 true <nil>]",
        ),
        (
            "{{ uniq (list (list 1) (list 1) (dict) (dict) 0.0 -0.0) | len }}",
            "3",
        ),
        (
            "{{ $n := float64 \"NaN\" }}{{ uniq (list $n $n) | len }}",
            "2",
        ),
        (
            r#"{{ without (list 1 "1" 1.0) "1" 1.0 }} {{ has 1 (list 1.0) }}"#,
            "[1] false",
        ),
    ]);
}

#[test]
fn slices_share_what_lies_behind_them() {
    check(&[
        (
            "{{ slice (list 1 2 3) 1 }} {{ slice (list 1 2 3) \"1\" 2.9 }} {{ slice (list) 9 }}",
            "[2 3] [2] <no value>",
        ),
        ("{{ slice (slice (list 1 2 3) 0 1) 0 3 }}", "[1 2 3]"),
        ("{{ slice (until 3) 1 | typeOf }}", "[]int"),
    ]);
    for bounds in ["2 1", "0 9", "-1", "0 -1"] {
        let rendered = render(&format!("{{{{ slice (list 1 2 3) {bounds} }}}}"));
        assert!(
            rendered.ends_with("reflect.Value.Slice: slice index out of bounds"),
            "{rendered}"
        );
    }
}

#[test]
fn chunks_are_counted_in_floats() {
    check(&[
        (
            "{{ chunk 2 (list 1 2 3) }} {{ chunk 9 (list 1) }} {{ chunk 2 (list) | toJson }}",
            "[[1 2] [3]] [[1]] []",
        ),
        (
            "{{ chunk -5 (list 1) }} {{ chunk -2 (list 1 2 3) | toJson }}",
            "[[1]] []",
        ),
    ]);
    for call in [
        "0 (list 1)",
        "-1 (list 1)",
        "-1 (list)",
        "-1 (list 1 2 3)",
        "0 (list)",
    ] {
        let rendered = render(&format!("{{{{ chunk {call} }}}}"));
        assert!(
            rendered.ends_with("runtime error: makeslice: len out of range"),
            "{rendered}"
        );
    }
}

#[test]
fn emptiness_chooses() {
    check(&[
        (
            "{{ all }}{{ any }} {{ all 1 \"\" }} {{ any 0 (list 1) }}",
            "truefalse false true",
        ),
        (
            "{{ coalesce \"\" nil 0 \"x\" }} {{ coalesce 0 }}",
            "x <no value>",
        ),
        (
            "{{ default \"d\" \"\" \"second\" }} {{ default \"d\" }} {{ default \"d\" 1 }}",
            "d d 1",
        ),
        (
            "{{ empty (list nil) }} {{ empty 0i }} {{ empty (semver \"0.0.0\") }}",
            "false true false",
        ),
        ("{{ ternary 1 2 true }} {{ false | ternary 1 2 }}", "1 2"),
    ]);
}

#[test]
fn doubling_reaches_a_limit() {
    let limit = |template| limited(template, Limits::default()).unwrap_err();
    assert_eq!(
        limit("{{ $l := list 1 2 }}{{ range until 60 }}{{ $l = concat $l $l }}{{ end }}"),
        Some(Limit::Steps)
    );
    assert_eq!(
        limit("{{ $l := list 1 }}{{ range until 5000 }}{{ $l = list $l }}{{ end }}"),
        Some(Limit::Nesting)
    );
}
