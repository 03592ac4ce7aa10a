//! Expected texts come from Go 1.26 with sprig 3.3 and mergo 1.0.1.

use super::super::testing::{limited, render};
use crate::limits::{Limit, Limits};

fn check(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        assert_eq!(render(template), *expected, "{template}");
    }
}

#[test]
fn dicts_are_references() {
    check(&[
        (
            r#"{{ $d := dict "a" 1 }}{{ $e := $d }}{{ $_ := set $e "b" 2 }}{{ $d }}"#,
            "map[a:1 b:2]",
        ),
        (
            r#"{{ $d := dict "a" 1 }}{{ $l := list $d }}{{ $_ := unset (first $l) "a" }}{{ $d }}"#,
            "map[]",
        ),
        (
            r#"{{ $i := dict "x" 1 }}{{ $p := pick (dict "a" $i) "a" }}{{ $_ := set $p.a "x" 2 }}{{ $i }}"#,
            "map[x:2]",
        ),
    ]);
}

#[test]
fn keys_are_texts_of_any_value() {
    check(&[
        (
            "{{ dict 5 \"i\" nil \"n\" true }}",
            "map[5:i <nil>:n true:]",
        ),
        (
            r#"{{ get (dict "a" nil) "a" }}|{{ get (dict) "a" }}|{{ hasKey (dict "a" nil) "a" }}"#,
            "<no value>||true",
        ),
        (
            r#"{{ keys (dict "b" 1 "a" 2) (dict "a" 3) }} {{ values (dict "b" 1 "a" 2) }}"#,
            "[a b a] [2 1]",
        ),
        (
            r#"{{ pluck "n" (dict "n" 1) (dict) (dict "n" nil) }} {{ omit (dict "a" 1 "b" 2) "a" }}"#,
            "[1 <nil>] map[b:2]",
        ),
        (
            "{{ get nil \"a\" }}{{ hasKey nil \"a\" }}{{ unset nil \"a\" }}{{ keys nil | toJson }}",
            "falsemap[][]",
        ),
    ]);
    assert!(render("{{ set nil \"a\" 1 }}").ends_with(": assignment to entry in nil map"));
}

#[test]
fn digging_ends_at_an_absent_key() {
    check(&[
        (r#"{{ dig "a" "b" "none" (dict "a" (dict "b" 1)) }}"#, "1"),
        (
            r#"{{ dig "a" "x" "none" (dict "a" (dict "b" 1)) }}"#,
            "none",
        ),
        (r#"{{ dig "a" "none" (dict "a" nil) }}"#, "<no value>"),
    ]);
    for (call, text) in [
        (r#""a" (dict)"#, "dig needs at least three arguments"),
        (
            r#""a" "b" "d" (dict "a" 5)"#,
            "interface conversion: interface {} is int, not map[string]interface {}",
        ),
        (
            r#""a" "b" "d" (dict "a" nil)"#,
            "interface conversion: interface {} is nil, not map[string]interface {}",
        ),
        (
            r#""a" "b" "c""#,
            "interface conversion: interface {} is string, not map[string]interface {}",
        ),
        (
            r#"1 "d" (dict)"#,
            "interface conversion: interface {} is int, not string",
        ),
    ] {
        let rendered = render(&format!("{{{{ dig {call} }}}}"));
        assert!(rendered.ends_with(&format!(": {text}")), "{rendered}");
    }
}

#[test]
fn merge_fills_what_is_absent_or_empty() {
    check(&[
        (
            r#"{{ merge (dict "a" 0 "b" "" "l" (list) "n" nil "x" 1) (dict "a" 1 "b" "t" "l" (list 1) "n" 2 "x" 9) }}"#,
            "map[a:1 b:t l:[1] n:2 x:1]",
        ),
        (
            r#"{{ merge (dict "n" (dict "p" 1)) (dict "n" (dict "p" 2 "q" 3)) }}"#,
            "map[n:map[p:1 q:3]]",
        ),
        (
            r#"{{ merge (dict "a" "text") (dict "a" (dict "x" 1) "b" nil) }}"#,
            "map[a:text]",
        ),
        (
            r#"{{ merge (dict "c" 0i) (dict "c" 1) }} {{ merge nil (dict "a" 1) }} {{ merge nil nil }}"#,
            "map[c:(0+0i)] map[a:1] map[]",
        ),
        (
            r#"{{ $s := dict "i" (dict "t" 1) }}{{ $m := merge (dict) $s }}{{ $_ := set $m.i "t" 2 }}{{ $s }}"#,
            "map[i:map[t:2]]",
        ),
        (
            r#"{{ $e := dict }}{{ $m := merge (dict "e" $e) (dict "e" (dict "x" 1)) }}{{ $e }}"#,
            "map[x:1]",
        ),
    ]);
}

#[test]
fn merge_overwrite_lets_later_dicts_win() {
    check(&[
        (
            r#"{{ mergeOverwrite (dict "a" 1 "b" (list 1) "d" (dict "k" 1)) (dict "a" "" "b" (list) "d" (dict)) }}"#,
            "map[a: b:[] d:map[k:1]]",
        ),
        (
            r#"{{ mergeOverwrite (dict "a" (dict "x" 1)) (dict "a" nil) }}"#,
            "map[a:<nil>]",
        ),
        (
            r#"{{ mergeOverwrite (dict "a" (dict "x" 1)) (dict "a" "s") (dict "a" (dict "y" 2)) }}"#,
            "map[a:map[y:2]]",
        ),
    ]);
}

#[test]
fn merging_maps_of_strings_fails_as_reflection_does() {
    check(&[
        (
            r#"{{ merge (dict "s" (split "," ",b")) (dict "s" (split "," "x,y,z")) }}"#,
            "map[s:map[_0:x _1:b _2:z]]",
        ),
        (
            r#"{{ merge (dict "s" (dict "_0" 1)) (dict "s" (split "," "x,y")) }}"#,
            "map[s:map[_0:1 _1:y]]",
        ),
        (
            r#"{{ merge (dict "v" (semver "1.0.0")) (dict "v" (dict)) }}|"#,
            "|",
        ),
    ]);
    for (call, text) in [
        (
            r#"merge (dict "s" (split "," "a")) (dict "s" (dict "k" 1))"#,
            "reflect.Value.SetMapIndex: value of type interface {} is not assignable to type string",
        ),
        (
            r#"merge (dict "s" (split "," "a")) (dict "s" (dict "k" (list)))"#,
            "reflect.Value.SetMapIndex: value of type []interface {} is not assignable to type string",
        ),
        (
            r#"merge (dict "s" (split "," "a")) (dict "s" (dict "_0" (list)))"#,
            "reflect: call of reflect.Value.IsNil on string Value",
        ),
        (
            r#"mustMerge (dict "v" (semver "1.0.0")) (dict "v" (dict))"#,
            "src and dst must be of same type",
        ),
    ] {
        let rendered = render(&format!("{{{{ {call} }}}}"));
        assert!(rendered.ends_with(&format!(": {text}")), "{rendered}");
    }
}

#[test]
fn copies_are_deep_but_for_what_is_not_exported() {
    check(&[
        (
            r#"{{ $d := dict "l" (list (dict "a" 1)) }}{{ $c := deepCopy $d }}{{ $_ := set (first $c.l) "a" 2 }}{{ $d }}{{ $c }}"#,
            "map[l:[map[a:1]]]map[l:[map[a:2]]]",
        ),
        (
            r#"{{ deepCopy (list (semver "1.2.3") nil 1i) }}"#,
            "[0.0.0 <nil> (0+1i)]",
        ),
        (
            r#"{{ deepCopy (until 2) | typeOf }} {{ deepCopy (concat) | toJson }}"#,
            "[]int null",
        ),
    ]);
    assert!(
        render("{{ deepCopy nil }}").ends_with("reflect: call of reflect.Value.Type on zero Value")
    );
}

#[test]
fn circles_end_at_the_nesting_limit() {
    let circle = r#"{{ $d := dict "a" 1 }}{{ $_ := set $d "x" $d }}{{ $e := dict }}{{ $_ := set $e "x" $e }}"#;
    for call in [
        "deepCopy $d",
        "merge $d $e",
        "mergeOverwrite $d $e",
        "toString $d",
    ] {
        let rendered = limited(
            &format!("{circle}{{{{ $_ := {call} }}}}"),
            Limits::default(),
        );
        assert_eq!(rendered, Err(Some(Limit::Nesting)), "{call}");
    }
}
