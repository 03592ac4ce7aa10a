//! Shapes of templates that meet a bound of their own: depth, length, patterns, cryptography.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use jiff::Timestamp;
use latchkey_secret::SecretData;
use latchkey_templating::{Limits, Options, Template};

/// How a template ends that reaches no limit.
const RENDERS: &str = "renders";

/// Stopped by the budget of expensive cryptography.
const CRYPTOGRAPHY: &[&str] = &[
    "{{ range 1000 }}{{ $x := bcrypt `a` }}{{ end }}",
    "{{ range 1000 }}{{ $x := htpasswd `a` `b` `bcrypt` }}{{ end }}",
    "{{ range 1000 }}{{ $x := derivePassword 1 `long` `a` `b` `c` }}{{ end }}",
    "{{ range 1000 }}{{ $x := genPrivateKey `rsa` }}{{ end }}",
    "{{ range 1000 }}{{ $x := genPrivateKey `dsa` }}{{ end }}",
    "{{ range 1000 }}{{ $x := genCA `a` 1 }}{{ end }}",
];

#[test]
fn expensive_cryptography_has_a_budget_of_its_own() {
    let limits = Limits {
        cryptography: 1,
        ..Limits::default()
    };
    for template in CRYPTOGRAPHY {
        assert_eq!(end_of(template, limits), "cryptography", "{template}");
    }
}

#[test]
fn patterns_have_a_size() {
    let limits = Limits {
        pattern: 4 << 10,
        ..Limits::default()
    };
    let end = end_of("{{ regexMatch (repeat 900 `[a-f]`) `` }}", limits);
    assert_eq!(end, "pattern size");
}

#[test]
fn long_and_deep_texts_parse_or_fail_without_a_deep_stack() {
    let chain = |start: &str, link: &str| format!("{start}{}{{{{ end }}}}", link.repeat(10_000));
    for template in [
        chain("{{ if false }}", "{{ else if false }}"),
        chain("{{ with false }}", "{{ else with false }}"),
        format!("{{{{ 1{} }}}}", " | print".repeat(20_000)),
    ] {
        assert_eq!(end_of(&template, Limits::default()), RENDERS);
    }
    let parentheses = format!("{{{{ {}1{} }}}}", "(".repeat(9_000), ")".repeat(9_000));
    assert_eq!(end_of(&parentheses, Limits::default()), "nesting");
    let blocks = "{{ if true }}".repeat(20_000) + &"{{ end }}".repeat(20_000);
    let options = Options::new(Timestamp::UNIX_EPOCH);
    let refused = Template::parse("blocks", &blocks, &options).err().unwrap();
    assert_eq!(refused.message, "the template exceeds its limit of nesting");
}

#[test]
fn variables_pay_for_their_number() {
    let declared: String = (0..4_000)
        .map(|index| format!("{{{{ $a{index} := 1 }}}}"))
        .collect();
    let template = declared + &"{{ $a1 }}".repeat(4_000);
    assert_eq!(end_of(&template, Limits::default()), "steps");
}

/// The limit that rendering reaches, or how else it ends.
fn end_of(template: &str, limits: Limits) -> String {
    let options = Options {
        limits,
        ..Options::new(Timestamp::UNIX_EPOCH)
    };
    let parsed = Template::parse("bounds", template, &options).unwrap();
    match parsed.render(&SecretData::new(), &options) {
        Ok(_) => RENDERS.to_owned(),
        Err(error) => match error.limit() {
            Some(limit) => limit.to_string(),
            None => error.to_string(),
        },
    }
}
