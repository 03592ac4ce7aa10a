//! The fuzz targets with the corpus, with kept inputs, and with random templates.

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate's own library")]
mod targets;

use std::path::Path;
use std::time::{Duration, Instant};

use latchkey_secret::{SecretData, SecretValue};
use latchkey_templating::Limits;
use proptest::prelude::*;
use serde_json::Value;

/// What a fuzz target is.
type Target = fn(&[u8]);

/// Far beyond what the steps of [`targets::LIMITS`] take even in a debug build on a busy machine.
const SLOW: Duration = Duration::from_secs(20);

#[test]
fn the_corpus_breaks_no_promise() {
    for line in include_str!("corpus/templates.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let text = case["template"].as_str().unwrap();
        let data: SecretData = case["data"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| {
                (
                    key.clone(),
                    SecretValue::from(value.as_str().unwrap().to_owned()),
                )
            })
            .collect();
        targets::parse(format!("\0{text}").as_bytes());
        targets::render(&targets::render_input(text, &data));
        targets::printf(text.as_bytes());
    }
}

#[test]
fn hostile_inputs_and_those_that_once_failed_break_no_promise() {
    let targets: [(&str, Target); 3] = [
        ("parse", targets::parse),
        ("render", targets::render),
        ("printf", targets::printf),
    ];
    for (name, target) in targets {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/inputs")
            .join(name);
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let begin = Instant::now();
            target(&std::fs::read(&path).unwrap());
            assert!(begin.elapsed() < SLOW, "{} takes too long", path.display());
        }
    }
}

/// Values, and things that are nearly one.
const VALUES: &[&str] = &[
    ".",
    "$",
    ".a",
    ".b",
    "$.c",
    "$x",
    "$x.y",
    "nil",
    "true",
    "0",
    "-1",
    "7",
    "0x1p4",
    "2i",
    "'x'",
    "99999999999",
    "1e300",
    "\"\"",
    "\"a%db\"",
    "`r`",
    "\"\\xff\"",
    "(list 1 nil \"s\")",
    "(dict \"k\" .)",
    "(until 300)",
    "(semver \"1.2\")",
    "(toDate \"2006\" \"2020\")",
    "(fromYaml .a)",
    "(fromJson .b)",
    "(splitList \"\" .a)",
    "(repeat 999 .a)",
    "now",
    "(1)",
];

/// Callees, with first arguments that lead somewhere.
const CALLEES: &[&str] = &[
    "",
    "print",
    "println",
    "printf \"%*d %[2]v %q\"",
    "html",
    "js",
    "urlquery",
    "len",
    "index",
    "slice",
    "and",
    "or",
    "not",
    "eq",
    "lt",
    "call",
    "list",
    "dict",
    "set (dict)",
    "merge (dict)",
    "get .",
    "dig \"a\" \"b\"",
    "first",
    "chunk 3",
    "append",
    "concat",
    "uniq",
    "has",
    "without",
    "sortAlpha",
    "join \",\"",
    "repeat 99999",
    "indent 9999",
    "nindent 2",
    "until",
    "untilStep 0 99999",
    "seq 1 99999",
    "substr 0 -1",
    "wrap 1",
    "wrapWith 1 \"\"",
    "abbrev 5",
    "trunc -3",
    "replace \"\" \"xy\"",
    "regexMatch \"(a*)*\"",
    "regexReplaceAll \"(.*)\" \"$1$1\"",
    "regexSplit \"\"",
    "mustRegexFindAll \".\"",
    "toJson",
    "toPrettyJson",
    "toYaml",
    "fromJson",
    "fromYaml",
    "deepCopy",
    "deepEqual",
    "b64enc",
    "b64dec",
    "b32dec",
    "hexdec",
    "sha256sum",
    "bcrypt",
    "genPrivateKey \"rsa\"",
    "encryptAES \"k\"",
    "decryptAES \"k\"",
    "randAlpha 99999",
    "randBytes",
    "shuffle",
    "date \"Mon Jan 2 15:04:05.000 2006\"",
    "dateModify \"1h\"",
    "ago",
    "duration",
    "durationRound",
    "semver",
    "semverCompare \"^1.x || >2\"",
    "urlParse",
    "urlJoin",
    "filterPEM \"X\"",
    "pkcs12key",
    "jwkPublicKeyPem",
    "certSANs",
    "round 1.5",
    "add 1",
    "div 1",
    "mod",
    "mul",
    "max",
    "float64",
    "int",
    "toString",
    "quote",
    "cat",
    "title",
    "camelcase",
    "plural \"a\" \"b\"",
    "ternary 1 2",
    "coalesce",
    "typeOf",
    "fail",
];

fn pipelines() -> impl Strategy<Value = String> {
    let values = prop::collection::vec(prop::sample::select(VALUES), 0..4);
    let command = (prop::sample::select(CALLEES), values)
        .prop_map(|(callee, values)| format!("{callee} {}", values.join(" ")));
    prop::collection::vec(command, 1..4).prop_map(|commands| commands.join("|"))
}

/// Mostly valid templates.
fn templates() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        Just(" text\n".to_owned()),
        Just("{{/* c */ -}}".to_owned()),
        Just("{{template `t` .}}".to_owned()),
        Just("{{if .}}{{break}}{{end}}".to_owned()),
        Just("{{continue}}".to_owned()),
        pipelines().prop_map(|pipeline| format!("{{{{- {pipeline} }}}}")),
        pipelines().prop_map(|pipeline| format!("{{{{$x = {pipeline}}}}}")),
    ];
    let body = text.prop_recursive(4, 32, 4, |inner| {
        let body = prop::collection::vec(inner, 0..4).prop_map(|parts| parts.concat());
        let keyword = prop::sample::select(&[
            "if",
            "with",
            "with $y :=",
            "range",
            "range $i, $x =",
            "range $i, $y :=",
            "block `t`",
        ]);
        (keyword, pipelines(), body.clone(), prop::option::of(body)).prop_map(
            |(keyword, pipeline, body, otherwise)| {
                let otherwise = otherwise.map_or(String::new(), |it| format!("{{{{else}}}}{it}"));
                format!("{{{{{keyword} {pipeline}}}}}{body}{otherwise}{{{{end}}}}")
            },
        )
    });
    prop::collection::vec(body, 1..6).prop_map(|parts| {
        format!(
            "{{{{$x := list 1}}}}{}{{{{define `t`}}}}{{{{.}}}}{{{{end}}}}",
            parts.concat()
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_template_panics_or_passes_its_limits(
        template in templates(),
        damage in prop::option::weighted(0.2, any::<(prop::sample::Index, prop::sample::Index)>()),
        data in prop::collection::vec(any::<String>(), 0..4),
        (steps, memory, output, nesting) in (0_u64..20_000, 0_u64..1 << 20, 0_u64..4096, 0_u32..100),
    ) {
        let limits = Limits { steps, memory, output, nesting, ..targets::LIMITS };
        let mut input = template.into_bytes();
        if let Some((from, count)) = damage {
            let from = from.index(input.len());
            let to = from + count.index(input.len() - from);
            input.drain(from..to);
        }
        for part in data {
            input.push(0);
            input.extend_from_slice(part.as_bytes());
        }
        let begin = Instant::now();
        targets::render_within(&input, limits);
        prop_assert!(begin.elapsed() < SLOW);
    }

    #[test]
    fn no_bytes_panic(input in prop::collection::vec(any::<u8>(), 0..200)) {
        targets::parse(&input);
        targets::printf(&input);
        targets::render(&input);
    }
}
