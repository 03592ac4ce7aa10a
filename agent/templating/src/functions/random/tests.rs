use crate::functions::testing::{check_examples, limited, render};
use crate::limits::{Limit, Limits};

#[test]
fn random_strings_have_the_wanted_length_and_letters() {
    for (template, allowed) in [
        ("{{ randAlphaNum 2000 }}", super::ALPHA_NUM),
        ("{{ randAlpha 2000 }}", super::ALPHA),
        ("{{ randNumeric 2000 }}", super::NUMERIC),
        ("{{ randAscii 2000 }}", super::ASCII),
    ] {
        let text = render(template);
        assert_eq!(text.len(), 2000, "{template}");
        // With 2000 draws a letter is missing once in some million runs at most.
        for letter in 0..=u8::MAX {
            let drawn = text.as_bytes().contains(&letter);
            assert_eq!(drawn, allowed.contains(&letter), "{template} {letter}");
        }
    }
    assert_eq!(
        render("{{ randAlpha 0 }}{{ randAscii -5 }}{{ randBytes 0 }}"),
        ""
    );
}

#[test]
fn random_numbers_stay_in_their_range() {
    for _ in 0..200 {
        assert!(["-1", "0", "1"].contains(&render("{{ randInt -1 2 }}").as_str()));
    }
    assert_eq!(render("{{ randInt 4 5 }}"), "4");
    for template in [
        "{{ randInt 5 5 }}",
        "{{ randInt 5 4 }}",
        "{{ randInt -9223372036854775808 9223372036854775807 }}",
    ] {
        assert_eq!(
            render(template),
            "error: error calling randInt: invalid argument to Intn"
        );
    }
}

#[test]
fn a_uuid_has_version_4() {
    let text = render("{{ uuidv4 }}");
    let shape: String = text
        .chars()
        .map(|character| if character == '-' { '-' } else { 'x' })
        .collect();
    assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
    assert_eq!(text.as_bytes()[14], b'4');
    assert!(b"89ab".contains(&text.as_bytes()[19]));
    assert_ne!(text, render("{{ uuidv4 }}"));
}

#[test]
fn shuffling_keeps_the_characters() {
    assert_eq!(render(r#"{{ shuffle "" }}{{ shuffle "zzz" }}"#), "zzz");
    let mut shuffled: Vec<char> = render(r#"{{ shuffle "aébc日" }}"#).chars().collect();
    shuffled.sort_unstable();
    assert_eq!(shuffled, ['a', 'b', 'c', 'é', '日']);
    assert_eq!(render(r#"{{ shuffle "\xff\xff" }}"#), "\u{fffd}\u{fffd}");
}

#[test]
fn random_bytes_are_paid_for() {
    assert_eq!(render("{{ randBytes 5 | b64dec | len }}"), "5");
    assert_eq!(
        render("{{ randBytes -1 }}"),
        "error: error calling randBytes: runtime error: makeslice: len out of range"
    );
    for template in [
        "{{ randBytes 9223372036854775807 }}",
        "{{ randAlpha 1000000000 }}",
    ] {
        assert_eq!(
            limited(template, Limits::default()),
            Err(Some(Limit::Memory)),
            "{template}"
        );
    }
}

#[test]
fn examples_render_as_they_say() {
    check_examples(super::FUNCTIONS);
}
