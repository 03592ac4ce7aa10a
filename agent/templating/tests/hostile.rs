//! Templates made to exhaust their renderer are stopped by a limit, which the error names, and take little memory until then.
//!
//! No time is measured here: how long each takes is beside the limits themselves. The one test is alone in its program, since it
//! measures the peak of the process's memory.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use jiff::Timestamp;
use latchkey_secret::{SecretData, SecretValue};
use latchkey_templating::{Limit, Limits, Options, Template};

/// What the whole run may add to the process's peak of memory, in KiB: the memory limit and as much again.
const PEAK: u64 = 64 << 10;

/// How a template ends that reaches no limit.
const RENDERS: &str = "renders";

/// Stopped by the number of steps.
const STEPS: &[&str] = &[
    // Loops.
    "{{ range 9223372036854775807 }}{{ end }}",
    "{{ range 100000 }}{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}{{ end }}",
    "{{ range 1000000 }}{{ $d := dict }}{{ end }}",
    "{{ $l := until 30000 }}{{ range 1000000 }}{{ range $l }}{{ break }}{{ end }}{{ end }}",
    "{{ range 1000000 }}{{ $x := fromJson `{` }}{{ end }}",
    // Recursion that doubles.
    "{{ define `a` }}{{ if lt (len .) 30 }}{{ template `a` (print . `x`) }}{{ template `a` (print . `y`) }}{{ end }}{{ end }}{{ template `a` `` }}",
    // Texts that double.
    "{{ $s := `abcdefgh` }}{{ range 64 }}{{ $s = print $s $s }}{{ end }}",
    "{{ $s := `abcdefgh` }}{{ range 64 }}{{ $s = printf `%s%s` $s $s }}{{ end }}",
    "{{ $s := `abcdefgh` }}{{ range 64 }}{{ $s = cat $s $s }}{{ end }}",
    "{{ $s := `abcdefgh` }}{{ range 64 }}{{ $s = join `` (list $s $s) }}{{ end }}",
    "{{ $s := repeat 1000 `abcdefgh` }}{{ $s = repeat 1000 $s }}{{ $s = repeat 1000 $s }}",
    "{{ range 100 }}{{ printf `%*d` 1000000 1 }}{{ end }}",
    "{{ $s := `aaaaaaaa` }}{{ range 64 }}{{ $s = replace `a` `aa` $s }}{{ end }}",
    "{{ $s := `aaaaaaaa` }}{{ range 64 }}{{ $s = regexReplaceAll `a` $s `aa` }}{{ end }}",
    "{{ $s := `\"` }}{{ range 64 }}{{ $s = toJson $s }}{{ end }}",
    "{{ $s := `\"` }}{{ range 64 }}{{ $s = quote $s }}{{ end }}",
    "{{ $s := `&` }}{{ range 64 }}{{ $s = html $s $s }}{{ end }}",
    "{{ $s := .text }}{{ range 100 }}{{ $s = b64enc $s }}{{ end }}",
    // Lists that double, and lists whose parts are shared so that their text would double.
    "{{ $l := list 1 }}{{ range 64 }}{{ $l = concat $l $l }}{{ end }}",
    "{{ $l := list 1 }}{{ range 60 }}{{ $l = list $l $l }}{{ end }}{{ print $l }}",
    "{{ $l := list 1 }}{{ range 60 }}{{ $l = list $l $l }}{{ end }}{{ toJson $l }}",
    "{{ $l := list 1 }}{{ range 60 }}{{ $l = list $l $l }}{{ end }}{{ toYaml $l }}",
    "{{ $l := list 1 }}{{ range 60 }}{{ $l = list $l $l }}{{ end }}{{ deepCopy $l | len }}",
    "{{ $l := list 1 }}{{ $m := list 1 }}{{ range 60 }}{{ $l = list $l $l }}{{ $m = list $m $m }}{{ end }}{{ deepEqual $l $m }}",
    "{{ $l := dict `a` 1 }}{{ range 60 }}{{ $l = dict `a` $l `b` $l }}{{ end }}{{ toJson $l }}",
    "{{ $l := dict `a` 1 }}{{ $m := dict `a` 2 }}{{ range 60 }}{{ $l = dict `a` $l `b` $l }}{{ $m = dict `a` $m `b` $m }}{{ end }}{{ merge $l $m }}",
    // Growth by a little, a million times.
    "{{ $s := `` }}{{ range 1000000 }}{{ $s = print $s `aaaaaaaaaaaaaaaa` }}{{ end }}",
    "{{ $l := list }}{{ range 1000000 }}{{ $l = append $l 1 }}{{ end }}",
    "{{ $d := dict }}{{ range $i, $x := until 1000000 }}{{ $_ := set $d (print $i) $i }}{{ end }}",
    // Quadratic searches.
    "{{ $l := until 5000 }}{{ range 1000000 }}{{ $x := has -1 $l }}{{ end }}",
    "{{ until 100000 | uniq | len }}",
    "{{ $l := splitList `` (repeat 20000 `a`) }}{{ range 100000 }}{{ $x := uniq $l }}{{ end }}",
    "{{ $l := until 30000 }}{{ range 1000 }}{{ $x := without $l 1 }}{{ end }}",
    "{{ $s := repeat 100000 `a` }}{{ regexFindAll `.*?b|a` $s -1 | len }}",
    // Long texts looked at again and again.
    "{{ $s := repeat 1000000 `a` }}{{ $t := repeat 1000000 `a` }}{{ range 100000 }}{{ $x := eq $s $t }}{{ end }}",
    "{{ $s := repeat 1000000 `a` }}{{ $t := repeat 1000000 `a` }}{{ range 100000 }}{{ $x := lt $s $t }}{{ end }}",
    "{{ $s := repeat 1000000 `a` }}{{ $t := repeat 1000000 `a` }}{{ range 100000 }}{{ $x := deepEqual $s $t }}{{ end }}",
    "{{ $s := repeat 1000000 `a` }}{{ range 100000 }}{{ $x := contains `b` $s }}{{ end }}",
    "{{ $s := repeat 1000000 `a` }}{{ range 100000 }}{{ $x := sha256sum $s }}{{ end }}",
    "{{ $s := repeat 100000 `a` }}{{ range 1000000 }}{{ $x := ext $s }}{{ end }}",
    "{{ $s := repeat 100000 `a` }}{{ range 1000000 }}{{ $x := int $s }}{{ end }}",
    "{{ $s := repeat 100000 `a` }}{{ range 1000000 }}{{ $x := camelcase $s }}{{ end }}",
    "{{ $s := repeat 100000 `a` }}{{ range 1000000 }}{{ $x := splitList `a` $s }}{{ end }}",
    "{{ $s := repeat 50000 `é` }}{{ range 1000000 }}{{ $x := upper $s }}{{ end }}",
    "{{ $s := repeat 20000 `- a\n` }}{{ range 1000000 }}{{ $x := toYaml $s }}{{ end }}",
    "{{ $s := repeat 100000 `a` }}{{ range 1000000 }}{{ $x := js $s }}{{ end }}",
    "{{ $s := repeat 100000 `a` }}{{ range 1000000 }}{{ $x := printf `%x` $s }}{{ end }}",
    "{{ $s := repeat 100000 `a` }}{{ range 1000000 }}{{ $x := replace $s `` `a` }}{{ end }}",
    "{{ $s := repeat 100000 `a` }}{{ range 1000000 }}{{ $x := fromYaml $s }}{{ end }}",
    "{{ $s := repeat 100000 `a` }}{{ range 1000000 }}{{ $x := encryptAES `a` $s }}{{ end }}",
    // Regular expressions.
    "{{ regexMatch (repeat 10000 `\\pL`) .text }}",
    "{{ regexMatch `[a-z]{1000}.{1000}\\w{1000}` (repeat 100000 `a`) }}",
    "{{ range $i, $x := until 100000 }}{{ $y := regexMatch (printf `a%d` $i) `a` }}{{ end }}",
    // Numbers of many digits.
    "{{ range 100000 }}{{ $x := addf 1e308 5e-324 }}{{ end }}",
    "{{ range 100000 }}{{ $x := divf 1e308 5e-324 1e308 }}{{ end }}",
    // Cheap cryptography.
    "{{ range 1000000 }}{{ $x := genPrivateKey `ed25519` }}{{ end }}",
    "{{ range 1000000 }}{{ $x := randAlpha 1000000 }}{{ end }}",
];

/// Stopped by the bytes of values.
const MEMORY: &[&str] = &[
    "{{ repeat 999999999 `abc` }}",
    "{{ repeat 1000000000000000000 `abc` }}",
    "{{ until 2147483647 }}",
    "{{ until 9223372036854775807 | len }}",
    "{{ untilStep 0 9223372036854775807 1 }}",
    "{{ indent 1000000000000000000 `a` }}",
    "{{ nindent 999999999 .text }}",
    "{{ randAlpha 9223372036854775807 }}",
    "{{ randBytes 9999999999 }}",
];

/// Stopped by the bytes of output.
const OUTPUT: &[&str] = &[
    "{{ range 9223372036854775807 }}0123456789012345678901234567890123456789012345678901234567890123456789{{ end }}",
    "{{ range 9223372036854775807 }}{{ $.text }}{{ end }}",
];

/// Stopped by the depth.
const NESTING: &[&str] = &[
    "{{ define `a` }}{{ template `a` }}{{ end }}{{ template `a` }}",
    "{{ define `a` }}{{ template `a` }}{{ template `a` }}{{ end }}{{ template `a` }}",
    "{{ define `a` }}{{ if 1 }}{{ with 1 }}{{ range 1 }}{{ template `a` (((((1))))) }}{{ end }}{{ end }}{{ end }}{{ end }}{{ template `a` }}",
    "{{ $l := list }}{{ range 100000 }}{{ $l = list $l }}{{ end }}",
    "{{ $d := dict }}{{ range 10000 }}{{ $d = dict `a` $d }}{{ end }}{{ print $d }}",
    "{{ repeat 100000 `[` | fromJson }}",
    "{{ repeat 100000 `{\"a\":` | fromJson }}",
    "{{ repeat 100000 `[` | printf `a: %s` | fromYaml }}",
    "{{ repeat 100000 `- ` | fromYaml }}",
];

/// What is done with a dict `$d` that contains itself, and another one, `$e`: stopped by the depth, too.
const CIRCLES: &[&str] = &[
    "print $d",
    "$d",
    "toString $d",
    "printf `%#v` $d",
    "deepCopy $d",
    "merge $d $e",
    "merge (dict) $d",
    "mergeOverwrite $d $e",
    "mergeOverwrite (dict `x` (dict)) $d",
    "quote $d",
    "cat $d",
    "eq $d $e",
    "html $d",
    "urlquery $d",
    "js $d",
    "join `` (list $d)",
    "sortAlpha (list $d)",
];

#[test]
fn hostile_templates_reach_a_limit_and_little_memory() {
    let before = peak();
    let mut wrong = Vec::new();
    let mut check = |template: &str, expected: Limit| {
        let end = end_of(template, Limits::default());
        if end != expected.to_string() {
            wrong.push(format!("{template}: {end}, not {expected}"));
        }
    };
    for (templates, expected) in [
        (STEPS, Limit::Steps),
        (MEMORY, Limit::Memory),
        (OUTPUT, Limit::Output),
        (NESTING, Limit::Nesting),
    ] {
        for template in templates {
            check(template, expected);
        }
    }
    for action in CIRCLES {
        let template = format!(
            "{{{{ $d := dict }}}}{{{{ $_ := set $d `x` $d }}}}{{{{ $e := dict }}}}{{{{ $_ := set $e `x` $e }}}}{{{{ {action} }}}}"
        );
        check(&template, Limit::Nesting);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let grown = peak().saturating_sub(before);
    assert!(grown < PEAK, "the peak of memory grew by {grown} KiB");
}

/// The limit that rendering reaches, or how else it ends.
fn end_of(template: &str, limits: Limits) -> String {
    let options = Options {
        limits,
        ..Options::new(Timestamp::UNIX_EPOCH)
    };
    let data = SecretData::from([("text".to_owned(), SecretValue::from("x".repeat(1_000)))]);
    let parsed = Template::parse("hostile", template, &options).unwrap();
    match parsed.render(&data, &options) {
        Ok(_) => RENDERS.to_owned(),
        Err(error) => match error.limit() {
            Some(limit) => limit.to_string(),
            None => error.to_string(),
        },
    }
}

/// The process's peak of memory so far, in KiB; 0 where the system does not tell.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
