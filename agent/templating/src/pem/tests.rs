use super::*;

/// A text, the kind and body of each block that is found in it, and what is left.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

/// Kind and body of every block, and what is left.
fn blocks(text: &str) -> (Vec<(String, String)>, String) {
    let mut rest = text.as_bytes();
    let mut found = Vec::new();
    while let (Some(block), next) = decode(rest) {
        found.push((
            String::from_utf8_lossy(&block.kind).into_owned(),
            String::from_utf8_lossy(&block.bytes).into_owned(),
        ));
        rest = next;
    }
    (found, String::from_utf8_lossy(rest).into_owned())
}

#[test]
fn blocks_are_read_as_go_reads_them() {
    let cases: &[Case] = &[
        ("", &[], ""),
        ("junk", &[], "junk"),
        (
            "-----BEGIN X-----\nZm9v\n-----END X-----",
            &[("X", "foo")],
            "",
        ),
        (
            "-----BEGIN X-----\r\nZm\r\n9v\r\n-----END X-----  \t\r\nrest",
            &[("X", "foo")],
            "rest",
        ),
        ("-----BEGIN X-----\n-----END X-----\n", &[("X", "")], ""),
        (
            "before\n-----BEGIN X----- \n Z m\t9v\n-----END X-----\n\nafter\n",
            &[("X", "foo")],
            "\nafter\n",
        ),
        // Not at the begin of a line.
        (
            "x-----BEGIN X-----\nZm9v\n-----END X-----\n",
            &[],
            "x-----BEGIN X-----\nZm9v\n-----END X-----\n",
        ),
        // Broken ones are passed over.
        (
            "-----BEGIN X-----\n!!\n-----END X-----\n-----BEGIN Y-----\nZm9v\n-----END Y-----\n",
            &[("Y", "foo")],
            "",
        ),
        (
            "-----BEGIN X-----\nZm9v\n-----BEGIN Y-----\nZm9v\n-----END Y-----\n",
            &[("Y", "foo")],
            "",
        ),
        (
            "-----BEGIN X-----\nZm9v\n-----END Z-----\n-----BEGIN Y-----\nZm9v\n-----END Y-----\n",
            &[("Y", "foo")],
            "",
        ),
        (
            "-----BEGIN X-----\nZm9v\n-----END X----- tail\n",
            &[],
            "-----BEGIN X-----\nZm9v\n-----END X----- tail\n",
        ),
        (
            "-----BEGIN X-----\nA: b\n-----END X-----\n",
            &[],
            "-----BEGIN X-----\nA: b\n-----END X-----\n",
        ),
        (
            "-----BEGIN X-----\nA: b\n\n-----END X-----\n",
            &[("X", "")],
            "",
        ),
    ];
    for (text, expected, rest) in cases {
        let (found, left) = blocks(text);
        let found: Vec<_> = found
            .iter()
            .map(|(kind, body)| (kind.as_str(), body.as_str()))
            .collect();
        assert_eq!(&found, expected, "{text:?}");
        assert_eq!(&left, rest, "{text:?}");
    }
}

#[test]
fn headers_are_written_by_name_with_proc_type_first() {
    let text =
        "-----BEGIN X-----\nZed : 1\nA:\u{a0}b \u{2003}\nProc-Type: 4\n\nZm9v\n-----END X-----\n";
    let (block, _) = decode(text.as_bytes());
    let mut out = Vec::new();
    block.unwrap().encode(&mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "-----BEGIN X-----\nProc-Type: 4\nA: b\nZed: 1\n\nZm9v\n-----END X-----\n"
    );
}

#[test]
fn lines_are_64_columns_wide() {
    let mut out = Vec::new();
    encode("X", &[0; 49], &mut out);
    let text = String::from_utf8(out).unwrap();
    let widths: Vec<_> = text.lines().map(str::len).collect();
    assert_eq!(widths, [17, 64, 4, 15]);
    assert!(text.len() <= encoded_length("X", 49));
}
