use crate::functions::find;
use crate::functions::testing::{call, context};
use crate::value::{Text, Value};

/// `scheme|opaque|userinfo|host|hostname|path|query|fragment`, or the failure.
fn parts(url: &str) -> String {
    let function = find("urlParse").unwrap();
    match (function.call)(&mut context(), &[url.into()]) {
        Ok(Value::Dict(dict)) => {
            let keys = [
                "scheme", "opaque", "userinfo", "host", "hostname", "path", "query", "fragment",
            ];
            let parts = keys.map(|key| {
                let value = dict.get(key.as_bytes()).unwrap();
                String::from_utf8_lossy(value.as_bytes().unwrap()).into_owned()
            });
            parts.join("|")
        }
        Ok(_) => "no dict".to_owned(),
        Err(failure) => failure.text().to_owned(),
    }
}

#[test]
fn urls_are_taken_apart() {
    for (url, expected) in [
        ("", "|||||||"),
        ("*", "|||||*||"),
        (
            "HTTPS://u:p%20w@H.test:8/a%2Fb?q=%20#f%61",
            "https||u:p%20w|H.test:8|H.test|/a/b|q=%20|fa",
        ),
        ("mailto:a@b?x", "mailto|a@b|||||x|"),
        ("///a//b", "|||||///a//b||"),
        ("x:///a", "x|||||/a||"),
        ("x:/a", "x|||||/a||"),
        ("x://a?", "x|||a|a|||"),
        ("x://a??b", "x|||a|a||?b|"),
        ("pg://h1:1,h2:2/d", "pg|||h1:1,h2:2|h1:1,h2|/d||"),
        (
            "http://[fe80::1%25e%20n]:80/",
            "http|||[fe80::1%e n]:80|fe80::1%e n|/||",
        ),
        ("http://h:/", "http|||h:|h|/||"),
        ("amqp://u:@h", "amqp||u:|h|h|||"),
        ("http://a@b@c/", "http||a%40b|c|c|/||"),
    ] {
        assert_eq!(parts(url), expected, "{url}");
    }
}

#[test]
fn broken_urls_fail_in_the_words_of_go() {
    for (url, problem) in [
        (":", "missing protocol scheme"),
        ("a b:c", "first path segment in URL cannot contain colon"),
        (
            "http://h\u{7f}",
            "net/url: invalid control character in URL",
        ),
        ("http://a b/", "invalid character \" \" in host name"),
        ("http://h:p/", "invalid port \":p\" after host"),
        ("http://a:1:2/", "invalid port \":1:2\" after host"),
        ("http://h/%z", "invalid URL escape \"%z\""),
        ("http://%41/", "invalid URL escape \"%41\""),
        ("http://u p@h/", "net/url: invalid userinfo"),
        ("http://a[::1]/", "invalid IP-literal"),
        ("http://[::1/", "missing ']' in host"),
        ("http://[1.2.3.4]/", "invalid IP-literal"),
        (
            "http://[]/",
            "invalid host: ParseAddr(\"\"): unable to parse IP",
        ),
        (
            "http://[1::2::3]/",
            "invalid host: ParseAddr(\"1::2::3\"): multiple :: in address (at \":3\")",
        ),
        (
            "http://[::1.2.3]/",
            "invalid host: ParseAddr(\"::1.2.3\"): IPv4 address too short",
        ),
    ] {
        let url_shown = url.replace('\u{7f}', "\\x7f");
        let expected = format!("unable to parse url: parse \"{url_shown}\": {problem}");
        assert_eq!(parts(url), expected);
    }
    assert_eq!(
        parts("http://h/#%"),
        "unable to parse url: parse \"http://h/#%\": invalid URL escape \"%\""
    );
}

#[test]
fn urls_are_put_together() {
    for (parts, expected) in [
        (&[][..], ""),
        (&[("scheme", "s")], "s:"),
        (&[("scheme", "s"), ("path", "p")], "s://p"),
        (&[("path", "a:b/c")], "./a:b/c"),
        (&[("host", "h"), ("path", "p")], "//h/p"),
        (&[("host", "h"), ("userinfo", "a/b")], "//h"),
        (&[("host", "a b"), ("path", "*")], "//a%20b/*"),
        (&[("path", "*")], "*"),
        (&[("path", "/a?b\u{e9}[]")], "/a%3Fb%C3%A9%5B%5D"),
        (&[("fragment", "a?#'b")], "#a?%23%27b"),
        (&[("opaque", "o"), ("host", "h"), ("query", "a b")], "o?a b"),
        (
            &[("userinfo", "a%zz")],
            "error: unable to parse userinfo in dict: parse \"proto://a%zz@host\": invalid URL escape \"%zz\"",
        ),
    ] {
        let dict = context().dict().unwrap();
        for (key, value) in parts {
            dict.insert(Text::from(*key), Value::of(value));
        }
        assert_eq!(call("urlJoin", &[Value::Dict(dict)]), expected);
    }
}
