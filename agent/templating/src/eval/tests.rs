//! Expected texts are those of Go 1.26 with External Secrets' functions.

use jiff::Timestamp;
use latchkey_secret::{SecretData, SecretValue};

use crate::template::{MissingKey, Options, Template};

/// Renders a template named `k` over the data of these tests; an error's text behind `error: `.
fn render(template: &str, options: &Options) -> String {
    let data: SecretData = [("s", "str"), ("e", ""), ("n", "5")]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), SecretValue::from(value.to_owned())))
        .collect();
    let parsed = Template::parse("k", template, options).expect("the template parses");
    match parsed.render(&data, options) {
        Ok(output) => String::from_utf8_lossy(output.expose()).into_owned(),
        Err(error) => format!("error: {}", error.full_text()),
    }
}

fn check(cases: &[(&str, &str)]) {
    let options = Options::new(Timestamp::UNIX_EPOCH);
    for (template, expected) in cases {
        assert_eq!(render(template, &options), *expected, "{template}");
    }
}

#[test]
fn an_element_shows_its_static_type_until_it_passes_a_pipeline() {
    check(&[
        (
            r#"{{ $d := dict "a" "x" }}{{ $d.a.b }}"#,
            r#"error: template: k:1:29: executing "k" at <$d.a.b>: can't evaluate field b in type interface {}"#,
        ),
        (
            r#"{{ $d := dict "a" "x" }}{{ (index $d "a").b }}"#,
            r#"error: template: k:1:37: executing "k" at <"a">: can't evaluate field b in type string"#,
        ),
        (
            r#"{{ $d := dict "a" "x" }}{{ $a := $d.a }}{{ $a.b }}"#,
            r#"error: template: k:1:45: executing "k" at <$a.b>: can't evaluate field b in type string"#,
        ),
        (
            "{{ range list 1 }}{{ .x }}{{ end }}",
            r#"error: template: k:1:21: executing "k" at <.x>: can't evaluate field x in type interface {}"#,
        ),
        (
            r#"{{ range splitList "," "a" }}{{ .x }}{{ end }}"#,
            r#"error: template: k:1:32: executing "k" at <.x>: can't evaluate field x in type string"#,
        ),
        (
            "{{ range $x := list 1 }}{{ with $x }}{{ .y }}{{ end }}{{ end }}",
            r#"error: template: k:1:40: executing "k" at <.y>: can't evaluate field y in type int"#,
        ),
        (
            r#"{{ $d := dict "n" nil }}{{ $d.n.x }}"#,
            r#"error: template: k:1:29: executing "k" at <$d.n.x>: nil pointer evaluating interface {}.x"#,
        ),
        (
            "{{ (first list).x }}",
            r#"error: template: k:1:10: executing "k" at <list>: nil data; no entry for key "x""#,
        ),
        (
            "{{ coalesce.x }}",
            r#"error: template: k:1:3: executing "k" at <coalesce>: nil pointer evaluating interface {}.x"#,
        ),
        (
            "{{ range list nil }}{{ upper . }}{{ end }}",
            r#"error: template: k:1:29: executing "k" at <.>: wrong type for value; expected string; got interface {}"#,
        ),
        (
            "{{ range list 1 }}{{ upper . }}{{ end }}",
            r#"error: template: k:1:27: executing "k" at <.>: wrong type for value; expected string; got int"#,
        ),
        (
            "{{ upper (first list) }}",
            r#"error: template: k:1:16: executing "k" at <list>: invalid value; expected string"#,
        ),
        (
            "{{ range list nil }}{{ len . }}{{ end }}",
            r#"error: template: k:1:23: executing "k" at <len .>: error calling len: len of nil pointer"#,
        ),
        (
            "{{ len (first list) }}",
            r#"error: template: k:1:3: executing "k" at <len (first list)>: error calling len: reflect: call of reflect.Value.Type on zero Value"#,
        ),
        (
            "{{ range list nil }}{{ keys . }}{{ end }}",
            r#"error: template: k:1:28: executing "k" at <.>: wrong type for value; expected map[string]interface {}; got interface {}"#,
        ),
        ("{{ keys (first list) | len }}", "0"),
    ]);
}

#[test]
fn arguments_are_checked_as_by_reflection() {
    check(&[
        (
            "{{ upper 5 }}",
            r#"error: template: k:1:9: executing "k" at <5>: expected string; found 5"#,
        ),
        (
            "{{ upper nil }}",
            r#"error: template: k:1:9: executing "k" at <nil>: cannot assign nil to string"#,
        ),
        (
            r#"{{ repeat "3" "x" }}"#,
            r#"error: template: k:1:10: executing "k" at <"3">: expected integer; found "3""#,
        ),
        (r#"{{ repeat 1.0 "x" }}"#, "x"),
        (
            r#"{{ repeat 1.5 "x" }}"#,
            r#"error: template: k:1:10: executing "k" at <1.5>: expected integer; found 1.5"#,
        ),
        (
            r#"{{ repeat (int64 1) "x" }}"#,
            r#"error: template: k:1:17: executing "k" at <1>: wrong type for value; expected int; got int64"#,
        ),
        (
            "{{ ternary 1 2 0 }}",
            r#"error: template: k:1:15: executing "k" at <0>: expected bool; found 0"#,
        ),
        (
            r#"{{ ternary 1 2 (len "a") }}"#,
            r#"error: template: k:1:20: executing "k" at <"a">: wrong type for value; expected bool; got int"#,
        ),
        (
            r#"{{ get 5 "a" }}"#,
            r#"error: template: k:1:7: executing "k" at <5>: can't handle 5 for arg of type map[string]interface {}"#,
        ),
        (
            r#"{{ get . "a" }}"#,
            r#"error: template: k:1:7: executing "k" at <.>: wrong type for value; expected map[string]interface {}; got map[string]string"#,
        ),
        (
            r#"{{ dateModify "1h" "x" }}"#,
            r#"error: template: k:1:19: executing "k" at <"x">: can't handle "x" for arg of type time.Time"#,
        ),
        (
            r#"{{ round 1.5 1 "x" }}"#,
            r#"error: template: k:1:15: executing "k" at <"x">: expected float; found "x""#,
        ),
        ("{{ round 1.55 1 1 }}", "1.5"),
        (
            r#"{{ derivePassword -1 "zz" "a" "b" "c" }}"#,
            r#"error: template: k:1:18: executing "k" at <-1>: expected unsigned integer; found -1"#,
        ),
        (
            r#"{{ derivePassword .n "zz" "a" "b" "c" }}"#,
            r#"error: template: k:1:18: executing "k" at <.n>: wrong type for value; expected uint32; got string"#,
        ),
        (
            r#"{{ derivePassword 1.0 "zz" "a" "b" "c" }}"#,
            "cannot find password template zz",
        ),
        (
            r#"{{ $t := toDate "2006" "2001" }}{{ $t.Add 1.0 }}"#,
            "2001-01-01 00:00:00.000000001 +0000 UTC",
        ),
        (
            r#"{{ $t := toDate "2006" "2001" }}{{ $t.Add (int64 1) }}"#,
            r#"error: template: k:1:49: executing "k" at <1>: wrong type for value; expected time.Duration; got int64"#,
        ),
        (
            r#"{{ $t := toDate "2006" "2001" }}{{ $t.Sub nil }}"#,
            r#"error: template: k:1:42: executing "k" at <nil>: cannot assign nil to time.Time"#,
        ),
        (
            r#"{{ (semver "1.0.0").LessThan nil }}"#,
            r#"error: template: k:1:19: executing "k" at <(semver "1.0.0").LessThan>: error calling LessThan: runtime error: invalid memory address or nil pointer dereference"#,
        ),
        (
            r#"{{ (semver "1.0.0").Equal .s }}"#,
            r#"error: template: k:1:26: executing "k" at <.s>: wrong type for value; expected *semver.Version; got string"#,
        ),
        (
            "{{ upper }}",
            r#"error: template: k:1:3: executing "k" at <upper>: wrong number of args for upper: want 1 got 0"#,
        ),
        (
            r#"{{ htpasswd "a" "b" .s }}"#,
            r#"error: template: k:1:20: executing "k" at <.s>: wrong type for value; expected sprig.HashAlgorithm; got string"#,
        ),
        (
            r#"{{ upper "a" "b" }}"#,
            r#"error: template: k:1:3: executing "k" at <upper>: wrong number of args for upper: want 1 got 2"#,
        ),
        (
            r#"{{ "a" | upper "b" }}"#,
            r#"error: template: k:1:9: executing "k" at <upper>: wrong number of args for upper: want 1 got 2"#,
        ),
        (
            "{{ default }}",
            r#"error: template: k:1:3: executing "k" at <default>: wrong number of args for default: want at least 1 got 0"#,
        ),
        (
            "{{ 1 | round }}",
            r#"error: template: k:1:7: executing "k" at <round>: wrong number of args for round: want at least 2 got 0"#,
        ),
        (
            "{{ and }}",
            r#"error: template: k:1:3: executing "k" at <and>: wrong number of args for and: want at least 1 got 0"#,
        ),
        (
            "{{ printf 5 }}",
            r#"error: template: k:1:10: executing "k" at <5>: expected string; found 5"#,
        ),
        (
            "{{ 18446744073709551615 }}",
            r#"error: template: k:1:3: executing "k" at <18446744073709551615>: 18446744073709551615 overflows int"#,
        ),
        (
            "{{ until 18446744073709551615 }}",
            r#"error: template: k:1:9: executing "k" at <18446744073709551615>: expected integer; found 18446744073709551615"#,
        ),
    ]);
}

#[test]
fn what_is_no_call_takes_no_arguments() {
    check(&[
        (
            r#"{{ 1 "a" }}"#,
            r#"error: template: k:1:3: executing "k" at <1>: can't give argument to non-function 1"#,
        ),
        (
            r#"{{ .s "a" }}"#,
            r#"error: template: k:1:3: executing "k" at <.s>: s is not a method but has arguments"#,
        ),
        (
            r#"{{ "a" | .s }}"#,
            r#"error: template: k:1:9: executing "k" at <.s>: s is not a method but has arguments"#,
        ),
        (
            "{{ $x := 1 }}{{ $x 2 }}",
            r#"error: template: k:1:16: executing "k" at <$x>: can't give argument to non-function $x"#,
        ),
        (
            "{{ (list 1) 2 }}",
            r#"error: template: k:1:3: executing "k" at <(list 1) 2>: can't give argument to non-function list 1"#,
        ),
        (
            r#"{{ 1 | (upper "a") }}"#,
            r#"error: template: k:1:3: executing "k" at <1>: can't give argument to non-function upper "a""#,
        ),
        (
            "{{ nil }}",
            r#"error: template: k:1:3: executing "k" at <nil>: nil is not a command"#,
        ),
        (
            "{{ $t := now }}{{ $t.Year 1 }}",
            r#"error: template: k:1:20: executing "k" at <$t.Year>: wrong number of args for Year: want 0 got 1"#,
        ),
        (
            "{{ $t := now }}{{ $t.Date 1 }}",
            r#"error: template: k:1:20: executing "k" at <$t.Date>: wrong number of args for Date: want 0 got 1"#,
        ),
        (
            "{{ $t := now }}{{ $t.Date }}",
            r#"error: template: k:1:20: executing "k" at <$t.Date>: function Date has 3 return values; should be 1 or 2"#,
        ),
        (
            "{{ $t := now }}{{ $t.wall }}",
            r#"error: template: k:1:20: executing "k" at <$t.wall>: wall is an unexported field of struct type time.Time"#,
        ),
        (
            r#"{{ (semver "1.0.0").major }}"#,
            r#"error: template: k:1:11: executing "k" at <"1.0.0">: major is an unexported field of struct type *semver.Version"#,
        ),
        (
            r#"{{ (semver "1.0.0").IncMajor.Original }}"#,
            r#"error: template: k:1:11: executing "k" at <"1.0.0">: can't evaluate field Original in type semver.Version"#,
        ),
        (r#"{{ (semver "1.0.0").IncMajor.String }}"#, "2.0.0"),
    ]);
}

#[test]
fn and_and_or_stop_early_and_return_operands() {
    check(&[
        (r#"{{ or "a" (fail "x") }}"#, "a"),
        (r#"{{ and 0 (fail "x") }}"#, "0"),
        (r#"{{ and 1 "b" }}"#, "b"),
        (r#"{{ or 0 "" }}"#, ""),
        ("{{ or nil false | typeOf }}", "bool"),
        (r#"{{ "x" | or 0 }}"#, "x"),
        (
            r#"{{ (fail "x") | or 1 }}"#,
            r#"error: template: k:1:4: executing "k" at <fail "x">: error calling fail: x"#,
        ),
        ("{{ 1 | and 2 }}", "1"),
        ("{{ and nil }}", "<no value>"),
    ]);
}

#[test]
fn variables_live_to_the_end_of_their_block() {
    check(&[
        (
            "{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ $x = 3 }}{{ end }}{{ $x }}",
            "21",
        ),
        (
            "{{ $x := 1 }}{{ range 3 }}{{ $x = . }}{{ end }}{{ $x }}",
            "2",
        ),
        (
            "{{ $x := 9 }}{{ range $x = list 4 5 }}{{ end }}{{ $x }}",
            "5",
        ),
        (
            r#"{{ $i := 0 }}{{ $e := 0 }}{{ range $i, $e = list "a" "b" }}{{ end }}{{ $i }}{{ $e }}"#,
            "1b",
        ),
        (
            "{{ if $x := 0 }}{{ else if $y := 2 }}{{ $x }}{{ $y }}{{ end }}",
            "02",
        ),
        (
            "{{ $x = 1 }}",
            r#"error: template: k:1:8: executing "k" at <1>: undefined variable: $x"#,
        ),
        (
            r#"{{ define "t" }}{{ $ }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x := 1 }}{{ template "t" "a" }}{{ $x }}"#,
            "a21",
        ),
        (
            r#"{{ define "t" }}{{ . }}{{ end }}{{ template "t" }}"#,
            "<no value>",
        ),
        ("{{ with $x := 5 }}{{ $x }}{{ . }}{{ end }}", "55"),
    ]);
}

#[test]
fn loops_run_over_lists_maps_integers_and_nil() {
    check(&[
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        ("{{ range -1 }}x{{ else }}none{{ end }}", "none"),
        (
            "{{ range int64 2 }}{{ typeOf . }} {{ end }}",
            "int64 int64 ",
        ),
        (
            "{{ range $i, $e := 3 }}{{ end }}",
            r#"error: template: k:1:19: executing "k" at <3>: can't use 3 to iterate over more than one variable"#,
        ),
        (r#"{{ range index "b" 0 }}{{ break }}{{ end }}"#, ""),
        ("{{ range first list }}x{{ else }}none{{ end }}", "none"),
        (
            "{{ range .s }}{{ end }}",
            r#"error: template: k:1:9: executing "k" at <.s>: range can't iterate over str"#,
        ),
        (
            "{{ range 1.5 }}{{ end }}",
            r#"error: template: k:1:9: executing "k" at <1.5>: range can't iterate over 1.5"#,
        ),
        (
            "{{ range true }}{{ end }}",
            r#"error: template: k:1:9: executing "k" at <true>: range can't iterate over true"#,
        ),
        (
            r#"{{ range $k, $v := dict "b" 1 "a" 2 }}{{ $k }}{{ $v }}{{ end }}"#,
            "a2b1",
        ),
        ("{{ range . }}{{ . }},{{ end }}", ",5,str,"),
        (
            r#"{{ range $i, $e := list "a" "b" }}{{ $i }}{{ $e }}{{ end }}"#,
            "0a1b",
        ),
        (
            r#"{{ $d := dict "a" 1 }}{{ range $k, $v := $d }}{{ $_ := set $d "b" 2 }}{{ $k }}{{ end }}"#,
            "a",
        ),
        (
            "{{ range list 1 2 3 }}{{ if eq . 2 }}{{ continue }}{{ end }}{{ . }}{{ end }}",
            "13",
        ),
        (
            "{{ range list 1 2 3 }}{{ if eq . 2 }}{{ break }}{{ end }}{{ . }}{{ end }}",
            "1",
        ),
        (
            "{{ range list 1 2 }}{{ range list }}{{ else }}{{ break }}{{ end }}{{ . }}{{ end }}",
            "12",
        ),
        (
            "{{ range list 1 2 }}{{ range list }}{{ else }}{{ continue }}{{ end }}{{ . }}{{ end }}",
            "",
        ),
    ]);
}

#[test]
fn comparison_knows_kinds() {
    check(&[
        (
            "{{ eq 1 1.0 }}",
            r#"error: template: k:1:3: executing "k" at <eq 1 1.0>: error calling eq: incompatible types for comparison: int and float64"#,
        ),
        ("{{ eq 1 (int64 1) }}", "true"),
        (r#"{{ eq 97 (index "a" 0) }}"#, "true"),
        (r#"{{ lt -1 (index "a" 0) }}"#, "true"),
        (r#"{{ eq "a" "b" "a" }}"#, "true"),
        (
            "{{ eq 1 }}",
            r#"error: template: k:1:3: executing "k" at <eq 1>: error calling eq: missing argument for comparison"#,
        ),
        ("{{ eq nil 1 }}", "false"),
        ("{{ eq nil nil }}", "true"),
        ("{{ eq (list) nil }}", "false"),
        (
            "{{ eq (list 1) (list 1) }}",
            r#"error: template: k:1:3: executing "k" at <eq (list 1) (list 1)>: error calling eq: non-comparable type [%!s(int=1)]: []interface {}"#,
        ),
        (
            "{{ eq (dict) (list) }}",
            r#"error: template: k:1:3: executing "k" at <eq (dict) (list)>: error calling eq: non-comparable types map[]: map[string]interface {}, []interface {}: []"#,
        ),
        ("{{ eq nil (list) }}", "false"),
        (
            "{{ lt true false }}",
            r#"error: template: k:1:3: executing "k" at <lt true false>: error calling lt: invalid type for comparison"#,
        ),
        (
            "{{ lt nil 1 }}",
            r#"error: template: k:1:3: executing "k" at <lt nil 1>: error calling lt: invalid type for comparison"#,
        ),
        (
            r#"{{ lt 1 "a" }}"#,
            r#"error: template: k:1:3: executing "k" at <lt 1 "a">: error calling lt: incompatible types for comparison: int and string"#,
        ),
        ("{{ eq 1i 1i }}", "true"),
        (
            "{{ lt 1i 2i }}",
            r#"error: template: k:1:3: executing "k" at <lt 1i 2i>: error calling lt: invalid type for comparison"#,
        ),
        (
            r#"{{ $n := float64 "nan" }}{{ eq $n $n }}{{ lt $n $n }}{{ le $n $n }}{{ gt $n $n }}{{ ge $n $n }}"#,
            "falsefalsefalsetruetrue",
        ),
        (
            r#"{{ $v := semver "1.0.0" }}{{ eq $v $v }}{{ eq $v (semver "1.0.0") }}{{ eq $v.IncMajor $v.IncMajor }}"#,
            "truefalsetrue",
        ),
        (
            r#"{{ ne "a" "b" }}{{ le "a" "a" }}{{ ge "a" "b" }}"#,
            "truetruefalse",
        ),
    ]);
}

#[test]
fn index_and_len_follow_go() {
    check(&[
        (r#"{{ index "abc" 1 }}"#, "98"),
        (r#"{{ index . "absent" }}|"#, "|"),
        (r#"{{ index (dict) "absent" }}"#, "<no value>"),
        (
            "{{ index (list 1 2) 2 }}",
            r#"error: template: k:1:3: executing "k" at <index (list 1 2) 2>: error calling index: reflect: slice index out of range"#,
        ),
        (
            r#"{{ index "ab" 2 }}"#,
            r#"error: template: k:1:3: executing "k" at <index "ab" 2>: error calling index: reflect: string index out of range"#,
        ),
        (
            "{{ index (list 1) 5 }}",
            r#"error: template: k:1:3: executing "k" at <index (list 1) 5>: error calling index: index out of range: 5"#,
        ),
        (
            "{{ index (list 1) -1 }}",
            r#"error: template: k:1:3: executing "k" at <index (list 1) -1>: error calling index: index out of range: -1"#,
        ),
        (
            r#"{{ index (list 1) "a" }}"#,
            r#"error: template: k:1:3: executing "k" at <index (list 1) "a">: error calling index: cannot index slice/array with type string"#,
        ),
        (
            "{{ index (list 1) nil }}",
            r#"error: template: k:1:3: executing "k" at <index (list 1) nil>: error calling index: cannot index slice/array with nil"#,
        ),
        (
            "{{ index . 1 }}",
            r#"error: template: k:1:3: executing "k" at <index . 1>: error calling index: value has type int; should be string"#,
        ),
        (
            "{{ index . nil }}",
            r#"error: template: k:1:3: executing "k" at <index . nil>: error calling index: value is nil; should be of type string"#,
        ),
        (
            "{{ index nil 1 }}",
            r#"error: template: k:1:3: executing "k" at <index nil 1>: error calling index: index of untyped nil"#,
        ),
        (
            "{{ index (list nil) 0 0 }}",
            r#"error: template: k:1:3: executing "k" at <index (list nil) 0 0>: error calling index: index of nil pointer"#,
        ),
        (
            "{{ index 5 0 }}",
            r#"error: template: k:1:3: executing "k" at <index 5 0>: error calling index: can't index item of type int"#,
        ),
        (
            r#"{{ index (semver "1.0.0") 0 }}"#,
            r#"error: template: k:1:3: executing "k" at <index (semver "1.0.0") 0>: error calling index: can't index item of type semver.Version"#,
        ),
        (
            "{{ len 5 }}",
            r#"error: template: k:1:3: executing "k" at <len 5>: error calling len: len of type int"#,
        ),
        (
            "{{ len nil }}",
            r#"error: template: k:1:3: executing "k" at <len nil>: error calling len: reflect: call of reflect.Value.Type on zero Value"#,
        ),
        (
            r#"{{ len (semver "1.0.0") }}"#,
            r#"error: template: k:1:3: executing "k" at <len (semver "1.0.0")>: error calling len: len of type semver.Version"#,
        ),
        (
            "{{ call .s }}",
            r#"error: template: k:1:3: executing "k" at <call .s>: error calling call: non-function .s of type string"#,
        ),
        (
            "{{ 5 | call }}",
            r#"error: template: k:1:7: executing "k" at <call>: error calling call: non-function <int Value> of type int"#,
        ),
        (
            "{{ call nil }}",
            r#"error: template: k:1:3: executing "k" at <call nil>: error calling call: call of nil"#,
        ),
        (
            "{{ call (list 1) 2 }}",
            r#"error: template: k:1:3: executing "k" at <call (list 1) 2>: error calling call: non-function list 1 of type []interface {}"#,
        ),
        (
            "{{ index }}",
            r#"error: template: k:1:3: executing "k" at <index>: wrong number of args for index: want at least 1 got 0"#,
        ),
        ("{{ index 5 }}", "5"),
    ]);
}

#[test]
fn errors_point_at_the_node_touched_last() {
    check(&[
        (
            "a\n  {{ .s }}{{ .nope }}",
            r#"error: template: k:2:13: executing "k" at <.nope>: map has no entry for key "nope""#,
        ),
        (
            "é{{ .nope }}",
            r#"error: template: k:1:5: executing "k" at <.nope>: map has no entry for key "nope""#,
        ),
        (
            "{{ .s.a.b }}",
            r#"error: template: k:1:5: executing "k" at <.s.a.b>: can't evaluate field a in type string"#,
        ),
        (
            "{{ (upper .s).x }}",
            r#"error: template: k:1:10: executing "k" at <.s>: can't evaluate field x in type string"#,
        ),
        ("{{ .s | upper | repeat 2 }}", "STRSTR"),
        (
            "{{ repeat 2 .s | fail }}",
            r#"error: template: k:1:17: executing "k" at <fail>: error calling fail: strstr"#,
        ),
        (
            "{{ print (index (list 1)\n  5) }}",
            r#"error: template: k:1:10: executing "k" at <index (list 1) 5>: error calling index: index out of range: 5"#,
        ),
        (
            r#"{{ template "t"  ( dict   "k" 1 ) }}{{ define "t" }}{{ .nope }}{{ end }}"#,
            r#"error: template: k:1:55: executing "t" at <.nope>: map has no entry for key "nope""#,
        ),
        (
            r#"{{ template "none" . | print }}"#,
            r#"error: template: k:1:12: executing "k" at <{{template "none" . | print}}>: template "none" not defined"#,
        ),
        (
            r#"{{ range fail "x" }}{{ end }}"#,
            r#"error: template: k:1:9: executing "k" at <fail "x">: error calling fail: x"#,
        ),
        (
            "{{ if and .s (not .nope) }}{{ end }}",
            r#"error: template: k:1:18: executing "k" at <.nope>: map has no entry for key "nope""#,
        ),
        (
            r#"{{ $x := 1 | printf "%d" | fail }}"#,
            r#"error: template: k:1:27: executing "k" at <fail>: error calling fail: 1"#,
        ),
        (
            r#"{{ fail "100%s" }}"#,
            r#"error: template: k:1:3: executing "k" at <fail "100%s">: error calling fail: 100%s"#,
        ),
        (
            "{{ with .s }}{{ $.nope }}{{ end }}",
            r#"error: template: k:1:17: executing "k" at <$.nope>: map has no entry for key "nope""#,
        ),
        (
            r#"{{ block "b" .s }}{{ .x }}{{ end }}"#,
            r#"error: template: k:1:21: executing "b" at <.x>: can't evaluate field x in type string"#,
        ),
    ]);
}

#[test]
fn an_absent_key_is_no_value_where_keys_may_be_missing() {
    let options = Options {
        missing_key: MissingKey::Default,
        ..Options::new(Timestamp::UNIX_EPOCH)
    };
    for (template, expected) in [
        ("{{ .x }}", "<no value>"),
        ("{{ .x.y.z }}", "<no value>"),
        ("{{ .x | default 1 }}", "1"),
        ("{{ if .x }}a{{ else }}b{{ end }}", "b"),
        (r#"{{ $d := dict }}{{ $d.x }}"#, "<no value>"),
        (
            r#"{{ $d := dict "n" nil }}{{ $d.n.x }}"#,
            r#"error: template: k:1:29: executing "k" at <$d.n.x>: nil pointer evaluating interface {}.x"#,
        ),
    ] {
        assert_eq!(render(template, &options), expected, "{template}");
    }
}

#[test]
fn an_error_shows_no_value_unless_asked_for_the_whole_text() {
    let options = Options::new(Timestamp::UNIX_EPOCH);
    let data = SecretData::from([("s".to_owned(), SecretValue::from("hunter2".to_owned()))]);
    for template in [
        "{{ fail .s }}",
        "{{ range .s }}{{ end }}",
        "{{ .s | call }}",
        "{{ eq (list .s) (list .s) }}",
        r#"{{ mustToDate "2006" .s }}"#,
    ] {
        let parsed = Template::parse("k", template, &options).expect("the template parses");
        let error = parsed.render(&data, &options).expect_err("it fails");
        assert!(error.full_text().contains("hunter2"), "{template}");
        assert!(!error.to_string().contains("hunter2"), "{template}");
        assert!(!format!("{error:?}").contains("hunter2"), "{template}");
    }
}
