use std::time::{Duration, Instant};

use latchkey_provider_sdk::ErrorClass;
use proptest::prelude::*;

use super::*;
use crate::random::System;
use crate::random::fixture::{Broken, Repeatable};

fn spec() -> PasswordSpec {
    PasswordSpec::default()
}

fn text(value: &SecretValue) -> String {
    String::from_utf8(value.expose().to_vec()).unwrap()
}

fn make(spec: &PasswordSpec) -> String {
    let data = Recipe::from_spec(spec)
        .unwrap()
        .generate(&mut System::default())
        .unwrap();
    text(&data[DEFAULT_KEY])
}

/// Letters, digits and the rest of a password.
fn counts(password: &str) -> (usize, usize, usize) {
    let count = |is: fn(&char) -> bool| password.chars().filter(is).count();
    let letters = count(char::is_ascii_alphabetic);
    let digits = count(char::is_ascii_digit);
    (letters, digits, password.chars().count() - letters - digits)
}

#[test]
fn an_empty_spec_gives_24_characters_without_repetition() {
    // E235, E236.
    for _ in 0..100 {
        let password = make(&spec());
        assert_eq!(counts(&password), (12, 6, 6), "{password}");
        let distinct: BTreeSet<char> = password.chars().collect();
        assert_eq!(distinct.len(), 24, "{password}");
        assert!(
            password
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || DEFAULT_SYMBOLS.contains(c))
        );
    }
    assert_eq!(DEFAULT_SYMBOLS.chars().count(), 30);
}

#[test]
fn given_values_replace_the_defaults() {
    // E235.
    let cases = [
        (
            PasswordSpec {
                length: Some(0),
                ..spec()
            },
            (12, 6, 6),
        ),
        (
            PasswordSpec {
                length: Some(-5),
                ..spec()
            },
            (12, 6, 6),
        ),
        (
            PasswordSpec {
                length: Some(10),
                ..spec()
            },
            (6, 2, 2),
        ),
        (
            PasswordSpec {
                length: Some(3),
                ..spec()
            },
            (3, 0, 0),
        ),
        (
            PasswordSpec {
                length: Some(8),
                digits: Some(0),
                symbols: Some(0),
                ..spec()
            },
            (8, 0, 0),
        ),
        (
            PasswordSpec {
                length: Some(5),
                digits: Some(5),
                symbols: Some(0),
                ..spec()
            },
            (0, 5, 0),
        ),
        (
            PasswordSpec {
                length: Some(100),
                allow_repeat: true,
                ..spec()
            },
            (50, 25, 25),
        ),
        (
            PasswordSpec {
                length: Some(4096),
                allow_repeat: true,
                ..spec()
            },
            (2048, 1024, 1024),
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(counts(&make(&spec)), expected, "{spec:?}");
    }
    let lower = PasswordSpec {
        length: Some(26),
        digits: Some(0),
        symbols: Some(0),
        no_upper: true,
        ..spec()
    };
    let mut letters: Vec<char> = make(&lower).chars().collect();
    letters.sort_unstable();
    assert_eq!(letters.into_iter().collect::<String>(), LOWER);
    // The example of the design: only repetition makes it possible.
    let design = PasswordSpec {
        digits: Some(5),
        symbols: Some(5),
        symbol_characters: Some("-_$@".into()),
        allow_repeat: true,
        ..spec()
    };
    let password = make(&design);
    assert_eq!(counts(&password), (14, 5, 5));
    assert!(
        password
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_$@".contains(c))
    );
    assert!(
        Recipe::from_spec(&PasswordSpec {
            allow_repeat: false,
            ..design
        })
        .is_err()
    );
}

#[test]
fn impossible_specs_fail_in_upstreams_words() {
    // E235, E236, G-03, G-04.
    let less = "number of digits and symbols must be less than total length";
    let letters = "number of letters exceeds available letters and repeats are not allowed";
    let digits = "number of digits exceeds available digits and repeats are not allowed";
    let symbols = "number of symbols exceeds available symbols and repeats are not allowed";
    let unique = "secretKeys must be non-empty and unique";
    let (config, argument) = (ErrorClass::InvalidConfig, ErrorClass::InvalidArgument);
    let set = |set: &str, count| PasswordSpec {
        symbol_characters: Some(set.into()),
        symbols: Some(count),
        ..spec()
    };
    let named = |keys: &[&str]| PasswordSpec {
        secret_keys: Some(keys.iter().map(|key| (*key).to_owned()).collect()),
        ..spec()
    };
    let cases = [
        (
            PasswordSpec {
                length: Some(4),
                digits: Some(3),
                symbols: Some(2),
                ..spec()
            },
            config,
            less,
        ),
        (
            PasswordSpec {
                digits: Some(i64::MAX),
                symbols: Some(i64::MAX),
                ..spec()
            },
            config,
            less,
        ),
        (
            PasswordSpec {
                digits: Some(-1),
                ..spec()
            },
            argument,
            "digits must not be negative",
        ),
        (
            PasswordSpec {
                symbols: Some(-1),
                ..spec()
            },
            argument,
            "symbols must not be negative",
        ),
        (
            PasswordSpec {
                length: Some(44),
                ..spec()
            },
            config,
            digits,
        ),
        (
            PasswordSpec {
                length: Some(53),
                digits: Some(0),
                symbols: Some(0),
                ..spec()
            },
            config,
            letters,
        ),
        (
            PasswordSpec {
                length: Some(27),
                digits: Some(0),
                symbols: Some(0),
                no_upper: true,
                ..spec()
            },
            config,
            letters,
        ),
        (
            PasswordSpec {
                length: Some(40),
                symbols: Some(31),
                digits: Some(0),
                ..spec()
            },
            config,
            symbols,
        ),
        // G-04: what upstream loops over for ever.
        (set("$$$$$$", 2), config, symbols),
        (set("abcdef-", 2), config, symbols),
        (set("0123456789-", 6), config, symbols),
        (
            PasswordSpec {
                length: Some(4097),
                ..spec()
            },
            config,
            "length 4097 is above the limit of 4096",
        ),
        (named(&[]), config, unique),
        (named(&[""]), config, unique),
        (named(&["a", "b", "a"]), config, unique),
    ];
    for (spec, class, message) in cases {
        let begin = Instant::now();
        let error = Recipe::from_spec(&spec).unwrap_err();
        assert_eq!(
            (error.class(), error.message()),
            (class, message),
            "{spec:?}"
        );
        assert!(begin.elapsed() < Duration::from_millis(100), "{spec:?}");
    }
}

#[test]
fn symbols_are_characters_and_shared_ones_are_drawn_once() {
    // G-04.
    let wide = PasswordSpec {
        length: Some(8),
        digits: Some(0),
        symbols: Some(2),
        symbol_characters: Some("é😀".into()),
        ..spec()
    };
    let password = make(&wide);
    assert_eq!(password.chars().count(), 8);
    assert!(
        password.contains('é') && password.contains('😀'),
        "{password}"
    );
    // Two letters may take two of the 26, so that 24 are certain.
    for count in [1, 24] {
        let shared = PasswordSpec {
            length: Some(count + 2),
            digits: Some(0),
            symbols: Some(count),
            symbol_characters: Some(LOWER.into()),
            ..spec()
        };
        let password = make(&shared);
        let distinct: BTreeSet<char> = password.chars().collect();
        assert_eq!(distinct.len(), password.len());
    }
}

#[test]
fn each_key_has_a_password_of_its_own_in_the_encoding_that_was_asked_for() {
    // E236.
    let recipe = |encoding| {
        Recipe::from_spec(&PasswordSpec {
            secret_keys: Some(vec!["a".into(), "b".into()]),
            encoding: Some(encoding),
            ..spec()
        })
        .unwrap()
    };
    for (encoding, length) in [
        (PasswordEncoding::Raw, 24),
        (PasswordEncoding::Hex, 48),
        (PasswordEncoding::Base64, 32),
        (PasswordEncoding::Base64Url, 32),
        (PasswordEncoding::Base32, 40),
    ] {
        let data = recipe(encoding).generate(&mut System::default()).unwrap();
        assert_eq!(data.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_ne!(text(&data["a"]), text(&data["b"]));
        assert!(
            data.values().all(|value| value.len() == length),
            "{encoding}"
        );
    }
    let error = recipe(PasswordEncoding::Raw)
        .generate(&mut Broken)
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Internal);
}

#[test]
fn every_place_and_every_character_is_as_likely() {
    // Chi-square with a fixed seed: 4 places for the one digit, 10 digits. The limits are those of a chance of 1 in 1000.
    let recipe = Recipe::from_spec(&PasswordSpec {
        length: Some(4),
        digits: Some(1),
        symbols: Some(1),
        ..spec()
    })
    .unwrap();
    let mut random = Repeatable(7);
    let (mut places, mut values) = ([0_u32; 4], [0_u32; 10]);
    let rounds = 20_000;
    for _ in 0..rounds {
        let password = text(&recipe.generate(&mut random).unwrap()[DEFAULT_KEY]);
        let (place, digit) = password
            .char_indices()
            .find(|(_, c)| c.is_ascii_digit())
            .unwrap();
        places[place] += 1;
        values[digit.to_digit(10).unwrap() as usize] += 1;
    }
    let chi_square = |seen: &[u32]| -> f64 {
        let expected = f64::from(rounds) / seen.len() as f64;
        seen.iter()
            .map(|count| (f64::from(*count) - expected).powi(2) / expected)
            .sum()
    };
    assert!(chi_square(&places) < 16.27, "{places:?}");
    assert!(chi_square(&values) < 27.88, "{values:?}");
}

proptest! {
    #[test]
    fn passwords_hold_what_was_asked_for(
        length in 1_i64..120,
        digits in prop::option::of(0_i64..40),
        symbols in prop::option::of(0_i64..40),
        no_upper: bool,
        allow_repeat: bool,
        set in prop::option::of("[-_$@.!aB3é]{0,12}"),
        seed: u64,
    ) {
        let spec = PasswordSpec {
            length: Some(length), digits, symbols, no_upper, allow_repeat, symbol_characters: set, ..spec()
        };
        let Ok(recipe) = Recipe::from_spec(&spec) else { return Ok(()) };
        let password = text(&recipe.generate(&mut Repeatable(seed)).unwrap()[DEFAULT_KEY]);
        let characters: Vec<char> = password.chars().collect();
        prop_assert_eq!(characters.len(), usize::try_from(length).unwrap());
        if !allow_repeat {
            let distinct: BTreeSet<&char> = characters.iter().collect();
            prop_assert_eq!(distinct.len(), characters.len());
        }
        for part in &recipe.parts {
            let found = characters.iter().filter(|c| part.characters.contains(c)).count();
            prop_assert!(found >= part.count);
        }
        let known = |c: &char| recipe.parts.iter().any(|part| part.characters.contains(c));
        prop_assert!(characters.iter().all(known));
        let own_symbols = &recipe.parts[2].characters;
        let is_upper = |c: &&char| c.is_ascii_uppercase() && !own_symbols.contains(c);
        prop_assert!(!no_upper || characters.iter().find(is_upper).is_none());
    }
}
