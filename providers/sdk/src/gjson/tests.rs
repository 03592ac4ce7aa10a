use super::*;

/// The document of appendix A of the specification; its results were produced with the Go library.
const DOCUMENT: &str = r##"{"name":{"first":"Tom","last":"Anderson"},"age":37,"f":1.50,"e":1e3,"neg":-5,"big":12345678901234567890,"t":true,"n":null,"s":"","fav.movie":"Deer","a.b":{"c":"lit"},"a":{"b":{"c":"nest"}},"list":[1,"x",{"k":"v"}],"friends":[{"first":"Dale","age":44},{"first":"Roger","age":68}],"esc":"q\"\u00e9\n","inner":"{\"p\":\"q\"}","dup":1,"dup":2,"o":{ "x" : 1 , "y":[ 1 , 2 ] },"@at":"at","*":"star","0":"zero"}"##;

fn rendered(text: &str, path: &str) -> Option<String> {
    get(text.as_bytes(), path)
        .map(|found| String::from_utf8(found.render().expose().to_vec()).unwrap())
}

#[test]
fn appendix_a_holds() {
    let name = r#"{"first":"Tom","last":"Anderson"}"#;
    for (path, expected) in [
        ("name.first", Some("Tom")),
        ("age", Some("37")),
        ("f", Some("1.5")),
        ("e", Some("1000")),
        ("neg", Some("-5")),
        ("big", Some("12345678901234567890")),
        ("t", Some("true")),
        ("n", Some("")),
        ("s", Some("")),
        ("fav.movie", None),
        (r"fav\.movie", Some("Deer")),
        ("a.b.c", Some("nest")),
        (r"a\.b.c", Some("lit")),
        (r"a\.b\.c", None),
        ("list", Some(r#"[1,"x",{"k":"v"}]"#)),
        ("list.0", Some("1")),
        ("list.2.k", Some("v")),
        ("list.#", Some("3")),
        ("list.9", None),
        ("friends.#.first", Some(r#"["Dale","Roger"]"#)),
        ("friends.#(age>50).first", Some("Roger")),
        (r#"friends.#(first=="Dale").age"#, Some("44")),
        ("esc", Some("q\"é\n")),
        ("inner", Some(r#"{"p":"q"}"#)),
        ("inner.p", None),
        ("inner|@fromstr|p", Some("q")),
        ("inner.@fromstr.p", Some("q")),
        ("name.@keys", Some(r#"["first","last"]"#)),
        ("name.@values", Some(r#"["Tom","Anderson"]"#)),
        ("name.@this", Some(name)),
        ("o", Some(r#"{ "x" : 1 , "y":[ 1 , 2 ] }"#)),
        ("o.@ugly", Some(r#"{"x":1,"y":[1,2]}"#)),
        ("o.y.@reverse", Some("[2,1]")),
        ("dup", Some("1")),
        ("missing", None),
        ("name.missing", None),
        ("na*", Some(name)),
        ("n?me.first", Some("Tom")),
        ("@at", Some("at")),
        (r"\@at", Some("at")),
        (r"\*", Some("star")),
        ("0", Some("zero")),
        ("", None),
        ("name.first|@tostr", Some(r#""Tom""#)),
        ("name.first.@tostr", Some(r#""Tom""#)),
        ("{name.first,age}", Some(r#"{"first":"Tom","age":37}"#)),
        ("[age,t]", Some("[37,true]")),
        ("name..first", None),
        ("..#", Some("1")),
        ("name.@join", Some(name)),
        (r#"!"lit""#, Some("lit")),
    ] {
        assert_eq!(rendered(DOCUMENT, path).as_deref(), expected, "{path}");
    }
}

#[test]
fn what_is_not_json_has_no_members() {
    for text in ["plain", "\"str\"", "123", "[1,2]", "", "{bad"] {
        assert_eq!(rendered(text, "a"), None, "{text}");
    }
    assert_eq!(rendered(r#"{"a":1}trailing"#, "a").as_deref(), Some("1"));
}

#[test]
fn queries_pipes_and_modifiers_follow_the_syntax() {
    let friends = r#"{"friends":[{"first":"Dale","last":"Murphy","age":44,"nets":["ig","fb"],"vip":"true"},{"first":"Roger","last":"Craig","age":68,"nets":["fb","tw"],"vip":false},{"first":"Jane","last":"Murphy","age":47,"nets":["ig","tw"]}],"children":["Sara","Alex","Jack"]}"#;
    for (path, expected) in [
        (r#"friends.#(last=="Murphy").first"#, Some("Dale")),
        (
            r#"friends.#(last=="Murphy")#.first"#,
            Some(r#"["Dale","Jane"]"#),
        ),
        ("friends.#(age>45)#.last", Some(r#"["Craig","Murphy"]"#)),
        (r#"friends.#(first%"D*").last"#, Some("Murphy")),
        (
            r#"friends.#(first!%"D*")#.first"#,
            Some(r#"["Roger","Jane"]"#),
        ),
        (
            r#"friends.#(nets.#(=="fb"))#.first"#,
            Some(r#"["Dale","Roger"]"#),
        ),
        (r#"children.#(%"*a*")"#, Some("Sara")),
        (r#"children.#(>"K")#"#, Some(r#"["Sara"]"#)),
        ("friends.#(age>100)", None),
        ("friends.#(age>100)#", Some("[]")),
        ("friends.#(vip==~true)#.first", Some(r#"["Dale"]"#)),
        ("friends.#(vip==~false)#.first", Some(r#"["Roger","Jane"]"#)),
        ("friends.#(vip!=~*)#.first", Some(r#"["Jane"]"#)),
        ("friends.#(vip)#.first", Some(r#"["Dale","Roger"]"#)),
        ("friends.#.nets.0", Some(r#"["ig","fb","ig"]"#)),
        ("friends.#.nets|0", Some(r#"["ig","fb"]"#)),
        ("friends.#.age|@reverse|0", Some("47")),
        (
            "friends.#(first=Dale).nets|@flatten",
            Some(r#"["ig","fb"]"#),
        ),
        ("children|@reverse", Some(r#"["Jack","Alex","Sara"]"#)),
        ("children|@reverse|0", Some("Jack")),
        (
            r#"friends.#.{first,"years":age}|1"#,
            Some(r#"{"first":"Roger","years":68}"#),
        ),
        (
            r#"{"n":children.0,"c":!"x"}"#,
            Some(r#"{"n":"Sara","c":"x"}"#),
        ),
        ("@dig:nets|#", Some("3")),
        ("friends.@keys", Some("[null,null,null]")),
        ("child*.2", Some("Jack")),
        ("children.x", None),
        ("missing|@keys", None),
        ("missing.@tostr", None),
    ] {
        assert_eq!(rendered(friends, path).as_deref(), expected, "{path}");
    }
    for (text, path, expected) in [
        ("[1,[2],[3,4],[5,[6,7]]]", "@flatten", "[1,2,3,4,5,[6,7]]"),
        (
            "[1,[2],[3,4],[5,[6,7]]]",
            r#"@flatten:{"deep":true}"#,
            "[1,2,3,4,5,6,7]",
        ),
        (r#"[{"a":1,"b":2},{"a":3}]"#, "@join", r#"{"a":3,"b":2}"#),
        (
            r#"[{"a":1,"b":2},{"a":3}]"#,
            r#"@join:{"preserve":true}"#,
            r#"{"a":1,"b":2,"a":3}"#,
        ),
        (
            r#"{"id":["1","2"],"v":[5,6]}"#,
            "@group",
            r#"[{"id":"1","v":5},{"id":"2","v":6}]"#,
        ),
        (
            r#"{"b":[1,2],"a":{}}"#,
            r#"@pretty:{"sortKeys":true}"#,
            "{\n  \"a\": {},\n  \"b\": [1, 2]\n}\n",
        ),
        ("{\"a\":1}\n{\"a\":2}", "..#.a", "[1,2]"),
        ("{\"a\":1}\n{\"a\":2}", "..1.a", "2"),
    ] {
        assert_eq!(rendered(text, path).as_deref(), Some(expected), "{path}");
    }
}

#[test]
fn bytes_that_are_not_utf_8_pass_through() {
    assert_eq!(
        get(b"{\"a\":\"\xff\"}", "a").unwrap().render().expose(),
        b"\xff"
    );
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let _ = get(deep.as_bytes(), r#"@flatten:{"deep":true}"#);
    let _ = get(deep.as_bytes(), "@dig:a");
    let _ = get(deep.as_bytes(), "@pretty");
    assert!(get(DOCUMENT.as_bytes(), &"[".repeat(20_000)).is_none());
    assert!(get(DOCUMENT.as_bytes(), &"@this|".repeat(1000)).is_none());
    assert!(
        get(
            DOCUMENT.as_bytes(),
            &format!("list.{}", "#(".repeat(10_000))
        )
        .is_none()
    );
}

#[test]
fn work_is_bounded() {
    let wide = format!(
        "[{}]",
        r#"{"a":[1,2,3]},"#.repeat(2000).trim_end_matches(',')
    );
    let started = std::time::Instant::now();
    assert!(get(wide.as_bytes(), &format!("{}a", "@dig:".repeat(20))).is_some());
    assert!(
        started.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn debug_shows_no_bytes() {
    assert_eq!(
        format!("{:?}", get(DOCUMENT.as_bytes(), "name.first").unwrap()),
        "Found(5 bytes)"
    );
}

/// Paths without the features that the `gjson` crate is known to lack or to answer differently.
fn plain_path() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let component = prop::sample::select(vec!["a", "b", "a.b", "0", "1", "*", "?", "b*", "list"]);
    prop::collection::vec(component, 1..4).prop_map(|mut parts| {
        // The crate does not go on where a wildcard's first match leads nowhere, and counts members of objects; see the
        // vectors below.
        let last = parts.len() - 1;
        for part in &mut parts[..last] {
            if part.contains(['*', '?']) {
                *part = "a";
            }
        }
        parts.join(".")
    })
}

/// Answers of tidwall/gjson 1.14.4.
#[test]
fn a_member_without_the_rest_of_the_path_does_not_end_the_search() {
    for (text, path, expected) in [
        (r#"{"a" :[],"a" :{"a" :1}}"#, "*.*", Some("1")),
        (r#"{"a":{"x":1},"b":{"a":2}}"#, "*.a", Some("2")),
        (r#"{"a":{"x":1},"a":{"a":2}}"#, "a.a", Some("2")),
        (r#"{"a":[],"b":[5]}"#, "*.0", Some("5")),
        (r#"{"a":1,"b":{"a":3}}"#, "*.a", Some("3")),
        (r#"{"b" :1,"b" :[]}"#, "b.#", Some("0")),
        (r#"{"a":{"b":{}},"ab":{"b":{"a":7}}}"#, "a*.b.a", Some("7")),
        (r#"{"a":"{\"b\":1}"}"#, "a.b", None),
    ] {
        assert_eq!(
            rendered(text, path).as_deref(),
            expected,
            "{path} in {text}"
        );
    }
}

/// Answers of tidwall/gjson 1.14.4 where the `gjson` crate gives others.
#[test]
fn a_count_after_a_wildcard_is_one_of_arrays_only() {
    for (text, path, expected) in [
        (r#"{"a" :{"a" :[]}}"#, "*.#", None),
        (r#"{"a" :{"a" :[]}}"#, "*.a.#", Some("0")),
        (r#"{"a" :[1]}"#, "*.#", Some("1")),
        (r#"{"a":{"b":[1,2]}}"#, "?.#", None),
        (r##"{"a":{"#":5}}"##, "*.#", Some("5")),
        (r#"{"a":[],"b":[5]}"#, "*.#", Some("0")),
    ] {
        assert_eq!(
            rendered(text, path).as_deref(),
            expected,
            "{path} in {text}"
        );
    }
}

fn document() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let leaf = prop::sample::select(vec![
        "1", "-2", "true", "false", "\"x\"", "\"y z\"", "{}", "[]",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|list| format!("[{}]", list.join(", "))),
            prop::collection::vec(
                (
                    prop::sample::select(vec!["a", "b", "list", "0", "ab"]),
                    inner
                ),
                0..4
            )
            .prop_map(|members| {
                // The crate ends its search at the first of two equal names; see the vectors below.
                let members: std::collections::BTreeMap<_, _> = members.into_iter().collect();
                let members: Vec<_> = members
                    .iter()
                    .map(|(key, value)| format!("\"{key}\" :{value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(2000))]

    #[test]
    fn agrees_with_the_oracle_on_plain_paths(text in document(), path in plain_path()) {
        let oracle = gjson::get(&text, &path);
        let expected = oracle.exists().then(|| oracle.str().to_owned());
        proptest::prop_assert_eq!(rendered(&text, &path), expected, "{} in {}", path, text);
    }

    #[test]
    fn no_path_and_no_text_make_it_panic(
        text in proptest::collection::vec(proptest::sample::select(br#"{}[]:,"\u01a.b-tn #"#.to_vec()), 0..60),
        path in r#"[ab01.|#()\[\]{}@!:,"\\*?<>=%~é]{0,24}"#,
    ) {
        let _ = get(&text, &path).map(|found| found.render());
        for modifier in ["@keys", "@values", "@reverse", "@flatten", "@join", "@pretty", "@group", "@dig:a", "@fromstr"] {
            let _ = get(&text, &format!("{modifier}.{path}"));
        }
    }
}
