use super::Version;
use super::constraint::Constraints;
use crate::functions::testing::context;
use crate::value::Text;

fn parse(text: &str) -> Result<Version, String> {
    Version::parse(&Text::from(text)).map_err(|failure| failure.text().to_owned())
}

fn version(text: &str) -> Version {
    parse(text).expect("a version")
}

fn accepts(constraint: &str, text: &str) -> Result<bool, String> {
    let constraints = Constraints::parse(&mut context(), constraint.as_bytes());
    let constraints = constraints.map_err(|failure| failure.text().to_owned())?;
    Ok(constraints.accept(&version(text)))
}

#[test]
fn versions_read_generously() {
    for (text, expected) in [
        ("1.2.3", Ok("1.2.3")),
        ("v1.2", Ok("1.2.0")),
        ("01.002.3", Ok("1.2.3")),
        ("v1-rc", Ok("1.0.0-rc")),
        ("1.2.3-a.1+m-1.02", Ok("1.2.3-a.1+m-1.02")),
        ("1.2.3--", Ok("1.2.3--")),
        ("", Err("invalid semantic version")),
        ("V1", Err("invalid semantic version")),
        ("1.2.", Err("invalid semantic version")),
        ("1.2.3.4", Err("invalid semantic version")),
        ("1.2.3-", Err("invalid semantic version")),
        ("1.2.3-a..b", Err("invalid semantic version")),
        ("1.2.3+", Err("invalid semantic version")),
        ("1.2.3\n", Err("invalid semantic version")),
        ("1.2.3-01", Err("version segment starts with 0")),
        (
            "18446744073709551616",
            Err(
                "error parsing version segment: strconv.ParseUint: parsing \"18446744073709551616\": value out of range",
            ),
        ),
    ] {
        let outcome = parse(text).map(|version| version.text());
        assert_eq!(
            outcome.as_deref().map_err(String::as_str),
            expected,
            "{text}"
        );
    }
}

#[test]
fn versions_are_in_the_order_of_semver() {
    let order = [
        "0.9.9",
        "1.0.0-2",
        "1.0.0-11",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0",
        "1.0.1",
        "1.10.0",
    ];
    for pair in order.windows(2) {
        assert!(
            version(pair[0]).compare(&version(pair[1])).is_lt(),
            "{pair:?}"
        );
        assert!(
            version(pair[1]).compare(&version(pair[0])).is_gt(),
            "{pair:?}"
        );
    }
    assert!(version("1+a").compare(&version("v1.0.0+b")).is_eq());
}

#[test]
fn successors_keep_the_v_of_the_original() {
    let start = version("v1.2.3-rc.1+m");
    for (next, expected) in [
        (start.next_patch(), "v1.2.3"),
        (start.next_minor(), "v1.3.0"),
        (start.next_major(), "v2.0.0"),
        (start.next_patch().next_patch(), "v1.2.4"),
        (version("0.0.18446744073709551615").next_patch(), "0.0.0"),
    ] {
        assert_eq!(next.original().to_lossy(), expected);
    }
    let set = |text: &str| start.with_prerelease(&Text::from(text));
    assert_eq!(set("x.1").expect("it is one").text(), "1.2.3-x.1+m");
    assert_eq!(set("").expect("it is one").text(), "1.2.3+m");
    assert_eq!(
        set("0 1").err().expect("a blank").text(),
        "invalid prerelease string"
    );
    assert_eq!(
        set("01").err().expect("a zero").text(),
        "version segment starts with 0"
    );
    let metadata = start.with_metadata(&Text::from("a..b"));
    assert_eq!(
        metadata.err().expect("a gap").text(),
        "invalid metadata string"
    );
}

#[test]
fn constraints_hold() {
    for (constraint, accepted, refused) in [
        ("1.2.3", "1.2.3", "1.2.4"),
        ("=1.2", "1.2.9", "1.3.0"),
        ("*", "0.0.1", "1.0.0-rc"),
        ("!=1.2", "1.3.0", "1.2.7"),
        (">1", "2.0.0", "1.9.9"),
        (">1.2", "1.3.0", "1.2.9"),
        ("<=1.2", "1.2.9", "1.3.0"),
        ("=> 1.2, =< 1.4", "1.3.0", "1.5.0"),
        ("~1.2.3", "1.2.9", "1.3.0"),
        ("~>1", "1.9.0", "2.0.0"),
        ("^0.2.3", "0.2.9", "0.3.0"),
        ("^0.0.3", "0.0.3", "0.0.4"),
        ("^0", "0.9.0", "1.0.0"),
        ("1.2.3 - 1.3", "1.3.7", "1.4.0"),
        ("<1 || >=2", "2.0.0", "1.5.0"),
        (">=1.2.3-0", "1.3.0-alpha", "1.2.2"),
        (">=1.2", "1.2.0", "1.3.0-alpha"),
        ("~1.2.3-rc", "1.2.3-rc.1", "1.3.0-rc"),
    ] {
        assert_eq!(
            accepts(constraint, accepted),
            Ok(true),
            "{constraint} {accepted}"
        );
        assert_eq!(
            accepts(constraint, refused),
            Ok(false),
            "{constraint} {refused}"
        );
    }
}

#[test]
fn what_is_no_constraint_is_refused_in_the_words_of_upstream() {
    for (constraint, expected) in [
        ("", "improper constraint: "),
        ("latest", "improper constraint: latest"),
        (">>1", "improper constraint: >>1"),
        ("1.2.3.4", "improper constraint: 1.2.3.4"),
        ("1,,2", "improper constraint: 1,,2"),
        ("1,", "improper constraint: 1,"),
        ("1 ||", "improper constraint: "),
        ("1.2 -", "improper constraint: 1.2 -"),
        // Ranges are rewritten first, also in the middle of what looks like a version.
        ("1.2.3.4 - 5", "improper constraint: 1.>= 2.3.4, <= 5 "),
        ("1|2", "constraint parser error"),
        ("1.2.3-01", "constraint parser error"),
    ] {
        assert_eq!(
            accepts(constraint, "1.2.3"),
            Err(expected.to_owned()),
            "{constraint}"
        );
    }
}
