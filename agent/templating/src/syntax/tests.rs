use std::fmt::Write;

use super::Shown;
use super::ast::{Block, Branch, Command, Expression, Forest, Number, Pipeline, Statement};
use crate::limits::Limits;
use crate::template::Delimiters;

fn parse(text: &str) -> Result<Forest, String> {
    let (delimiters, limits) = (Delimiters::default(), Limits::default());
    super::parse("t", text.as_bytes(), &delimiters, &limits).map_err(|error| error.to_string())
}

/// The error of a template, without `template: t:`.
fn error(text: &str) -> String {
    let error = parse(text).err().unwrap_or_default();
    error.trim_start_matches("template: t:").to_owned()
}

/// Every node of the text's own template as `position:printed`, in the order of the text.
fn nodes(text: &str) -> String {
    let forest = parse(text).unwrap();
    let mut out = String::new();
    block(&forest.own, text, &mut out);
    out.trim_end().to_owned()
}

fn block(of: &Block, text: &str, out: &mut String) {
    let bytes = text.as_bytes();
    for statement in &of.0 {
        let position = statement.position();
        match statement {
            Statement::Text(span) => {
                write!(out, "{position}:{:?} ", span.name(bytes)).unwrap();
            }
            Statement::Action(it) => {
                write!(out, "{position}:{} ", Shown(statement, bytes)).unwrap();
                pipeline(it, text, out);
            }
            Statement::If(it) => branch("if", it, text, out),
            Statement::With(it) => branch("with", it, text, out),
            Statement::Range(it) => branch("range", it, text, out),
            Statement::Template(_) | Statement::Break(_) | Statement::Continue(_) => {
                write!(out, "{position}:{} ", Shown(statement, bytes)).unwrap();
            }
        }
    }
}

fn branch(keyword: &str, it: &Branch, text: &str, out: &mut String) {
    write!(out, "{}:{keyword}[", it.position).unwrap();
    pipeline(&it.pipeline, text, out);
    out.push_str("then ");
    block(&it.then, text, out);
    if let Some(otherwise) = &it.otherwise {
        out.push_str("else ");
        block(otherwise, text, out);
    }
    out.push_str("] ");
}

fn pipeline(it: &Pipeline, text: &str, out: &mut String) {
    let text = text.as_bytes();
    write!(out, "{}:{} ", it.position, Shown(it, text)).unwrap();
    for Command { position, words } in &it.commands {
        write!(out, "{position}: ").unwrap();
        for word in words {
            write!(out, "{}:{} ", word.position(), Shown(word, text)).unwrap();
        }
    }
}

#[test]
fn nodes_have_the_positions_and_the_print_of_go() {
    for (text, expected) in [
        ("a{{ .b }}", r#"0:"a" 4:{{.b}} 4:.b 4: 4:.b"#),
        // A chain of fields bears the position of its second part.
        ("{{ .a.b.c }}", "3:{{.a.b.c}} 3:.a.b.c 3: 5:.a.b.c"),
        (
            "{{$x := 1}}{{ $x.a.b }}",
            "2:{{$x := 1}} 2:$x := 1 8: 8:1 14:{{$x.a.b}} 14:$x.a.b 14: 16:$x.a.b",
        ),
        (
            "{{ ( len  . ).a }}",
            "3:{{(len .).a}} 3:(len .).a 3: 13:(len .).a",
        ),
        (
            "{{len (.)|print 'x' `y` \"z\" nil true 0x1F $}}",
            "2:{{len (.) | print 'x' `y` \"z\" nil true 0x1F $}} \
             2:len (.) | print 'x' `y` \"z\" nil true 0x1F $ 2: 2:len 7:. \
             10: 10:print 16:'x' 20:`y` 24:\"z\" 28:nil 32:true 37:0x1F 42:$",
        ),
        (
            "{{if .a}}x{{else if .b}}{{else}}z{{end}}",
            "5:if[5:.a 5: 5:.a then 9:\"x\" else 20:if[20:.b 20: 20:.b then else 32:\"z\" ] ]",
        ),
        (
            "{{range $i, $e := .}}{{break}}{{continue}}{{end}}",
            "8:range[8:$i, $e := . 18: 18:. then 23:{{break}} 32:{{continue}} ]",
        ),
        (
            "{{with $y := .a}}{{end}}{{block `b\n` 1}}{{end}}{{template \"b\\n\"}}",
            "7:with[7:$y := .a 13: 13:.a then ] 32:{{template \"b\\n\" 1}} 58:{{template \"b\\n\"}}",
        ),
        // Trimmed text and comments.
        (
            "a \n{{- /* c */ -}}\t b {{- 1 -}} \r\n c",
            r#"0:"a" 20:"b" 26:{{1}} 26:1 26: 26:1 35:"c""#,
        ),
        ("{{-3}}", "2:{{-3}} 2:-3 2: 2:-3"),
        // The last stage may be missing.
        ("{{1|}}", "2:{{1}} 2:1 2: 2:1"),
    ] {
        assert_eq!(nodes(text), expected, "{text}");
    }
}

#[test]
fn errors_have_the_lines_and_words_of_go() {
    for (text, expected) in [
        ("{{", "1: unclosed action"),
        ("\n{{\n", "3: unclosed action started at t:2"),
        ("{{ (1 }}", "1: unclosed left paren"),
        (
            "{{\n(1\n}}",
            "3: unclosed left paren in action started at t:1",
        ),
        ("{{ 1) }}", "1: unexpected right paren"),
        ("{{/* a", "1: unclosed comment"),
        (
            "\n{{/* a\n */ }}",
            "2: comment ends before closing delimiter",
        ),
        ("{{ /* a */}}", r#"1: unexpected "/" in command"#),
        ("{{ \"a\n\" }}", "1: unterminated quoted string"),
        ("{{ `a", "1: unterminated raw quoted string"),
        ("{{ 'a", "1: unterminated character constant"),
        ("{{ 'ab' }}", "1: malformed character constant: 'ab'"),
        ("{{ '' }}", "1: invalid syntax"),
        (r#"{{ "\'" }}"#, "1: invalid syntax"),
        (r#"{{ template "\xg" }}"#, "1: invalid syntax"),
        ("{{ 3- }}", r#"1: bad number syntax: "3-""#),
        ("{{ 1a }}", r#"1: bad number syntax: "1a""#),
        ("{{ 0x }}", r#"1: illegal number syntax: "0x""#),
        ("{{ 08 }}", r#"1: integer overflow: "08""#),
        ("{{ 1+i }}", "1: syntax error scanning complex number"),
        (
            "{{ . }}\n{{ \u{1} }}",
            "2: unrecognized character in action: U+0001",
        ),
        ("{{ $é¥ }}", "1: bad character U+00A5 '¥'"),
        ("{{ a:b }}", r#"1: function "a" not defined"#),
        ("{{ 1 :b }}", "1: expected :="),
        ("{{ }}", "1: missing value for command"),
        ("{{ if }}{{end}}", "1: missing value for if"),
        ("{{ | 1 }}", r#"1: unexpected "|" in command"#),
        (
            "{{ 1 | \"a\" }}",
            "1: non executable command in pipeline stage 2",
        ),
        ("{{ \"a\".b }}", r#"1: unexpected . after term "\"a\"""#),
        ("{{ $x }}", r#"1: undefined variable "$x""#),
        (
            "{{if $x := 1}}{{end}}{{ $x }}",
            r#"1: undefined variable "$x""#,
        ),
        ("{{ $x, $y := 1 }}", "1: too many declarations in command"),
        (
            "{{ range $x, 1 }}{{end}}",
            "1: range can only initialize variables",
        ),
        (
            "{{ nofunction }}",
            r#"1: function "nofunction" not defined"#,
        ),
        (
            "{{ print \"a long string here\" := }}",
            r#"1: unexpected ":=" in operand"#,
        ),
        ("{{ end }}", "1: unexpected {{end}}"),
        ("{{ else }}", "1: unexpected {{else}}"),
        (
            "{{ end \"a long string here\" }}",
            r#"1: unexpected "\"a long st"... in end"#,
        ),
        ("{{ if 1 }}\n", "2: unexpected EOF"),
        (
            "{{ if 1 }}{{ else }}{{ else }}",
            "1: expected end; found {{else}}",
        ),
        (
            "{{ if 1 }}{{ else with 1 }}{{ end }}",
            "1: unexpected <with> in input",
        ),
        (
            "{{ range . }}{{ else if 1 }}{{ end }}",
            "1: unexpected <if> in input",
        ),
        ("{{ break }}", "1: {{break}} outside {{range}}"),
        (
            "{{ range . }}{{ else }}{{ continue }}{{ end }}",
            "1: {{continue}} outside {{range}}",
        ),
        (
            "{{ range . }}{{ block \"b\" . }}{{ break }}",
            "1: {{break}} outside {{range}}",
        ),
        (
            "{{ if 1 }}{{ define \"a\" }}{{ end }}",
            "1: unexpected <define> in command",
        ),
        ("{{ define a }}", r#"1: unexpected "a" in define clause"#),
        (
            "{{ define \"a\" }}{{ else }}",
            "1: unexpected {{else}} in define clause",
        ),
        ("{{ block \"a\" }}", "1: missing value for block clause"),
        (
            "{{ block \"a\"\n.}}\n{{ else }}",
            "2: unexpected {{else}} in block clause",
        ),
        ("{{ template . }}", "1: unexpected <.> in template clause"),
        (
            "{{define \"x\"}}a{{end}}\n{{define \"x\"}}b{{end}}\n",
            r#"2: template: multiple definition of template "x""#,
        ),
        (
            "{{define \"t\"}}a{{end}}\nb\n",
            r#"3: template: multiple definition of template "t""#,
        ),
        (
            "{{define \"x\"}}a{{end}}{{define \"x\"}} \u{2003}{{end}}",
            "",
        ),
        ("{{ $x = 1 }}{{ $y := $y }}", ""),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn a_definition_by_the_text_s_own_name_is_the_template_if_there_is_no_other_text() {
    assert_eq!(nodes("{{define `t`}}a{{end}}\n \n"), r#"14:"a""#);
}

#[test]
fn names_may_be_of_any_script_and_any_bytes() {
    assert_eq!(nodes("{{ .é.中٣ }}"), "3:{{.é.中٣}} 3:.é.中٣ 3: 6:.é.中٣");
    let forest = parse(r#"{{define "\xff"}}a{{end}}{{define "\xfe"}}b{{end}}"#).unwrap();
    assert_eq!(forest.defined.len(), 2);
}

#[test]
fn other_delimiters_open_and_close_actions() {
    let delimiters = Delimiters {
        left: "<".to_owned(),
        right: "-".to_owned(),
    };
    let parse = |text: &str| super::parse("t", text.as_bytes(), &delimiters, &Limits::default());
    let forest = parse("{{a}} <- 1 --b</*c*/-").unwrap();
    let root = &forest.own;
    let mut out = String::new();
    block(root, "{{a}} <- 1 --b</*c*/-", &mut out);
    assert_eq!(out, r#"0:"{{a}}" 9:{{1}} 9:1 9: 9:1 13:"b" "#);
}

fn number(source: &str) -> Number {
    let forest = parse(&format!("{{{{ {source} }}}}")).unwrap();
    match &forest.own.0[0] {
        Statement::Action(pipeline) => match &pipeline.commands[0].words[0] {
            Expression::Number(_, _, number) => Number::clone(number),
            _ => panic!("{source} is no number"),
        },
        _ => panic!("{source} is no action"),
    }
}

#[test]
fn numbers_have_every_type_that_holds_them() {
    let big = 9_223_372_036_854_775_808.0;
    for (source, int, uint, float) in [
        ("0", Some(0), Some(0), Some(0.0)),
        ("-0", Some(0), Some(0), Some(0.0)),
        ("+1", Some(1), None, Some(1.0)),
        ("-1", Some(-1), None, Some(-1.0)),
        ("017", Some(15), Some(15), Some(15.0)),
        ("0x_1F", Some(31), Some(31), Some(31.0)),
        ("1_000", Some(1000), Some(1000), Some(1000.0)),
        ("9223372036854775808", None, Some(1 << 63), Some(big)),
        ("-9223372036854775808", Some(i64::MIN), None, Some(-big)),
        ("9223372036854775808.0", None, Some(1 << 63), Some(big)),
        ("18446744073709551616.0", None, None, Some(big * 2.0)),
        ("1.0", Some(1), Some(1), Some(1.0)),
        ("-.5", None, None, Some(-0.5)),
        ("1e3", Some(1000), Some(1000), Some(1000.0)),
        ("0x1p-2", None, None, Some(0.25)),
        ("0x1.fffffffffffff7p1023", None, None, Some(f64::MAX)),
        ("0x1p-1074", None, None, Some(5e-324)),
        ("0x1p-1075", Some(0), Some(0), Some(0.0)),
        ("0x1.8p-1074", None, None, Some(1e-323)),
        ("0x.00000000000000000008p80", Some(8), Some(8), Some(8.0)),
        (
            "0x1000000000000000080000p-32",
            Some(1 << 52),
            Some(1 << 52),
            Some(4_503_599_627_370_496.0),
        ),
        (
            "0x20000000000001",
            Some(0x20_0000_0000_0001),
            Some(0x20_0000_0000_0001),
            Some(9_007_199_254_740_992.0),
        ),
        ("0i", Some(0), Some(0), Some(0.0)),
        ("2i", None, None, None),
        ("3+0i", Some(3), Some(3), Some(3.0)),
        (r"'\x41'", Some(65), Some(65), Some(65.0)),
        ("'é'", Some(233), Some(233), Some(233.0)),
    ] {
        let number = number(source);
        assert_eq!(
            (number.int, number.uint, number.float),
            (int, uint, float),
            "{source}"
        );
    }
    assert_eq!(number("-1.5-2i").complex, (-1.5, -2.0));
    assert!(number("0i").is_complex && number("'a'").is_character);
    assert_eq!(
        error("{{ 0x1.fffffffffffff8p1023 }}"),
        r#"1: illegal number syntax: "0x1.fffffffffffff8p1023""#
    );
}

#[test]
fn strings_are_unquoted_as_go_does() {
    let unquote = |source: &str| super::quoted::unquote(source.as_bytes());
    for (source, expected) in [
        (
            r#""\a\b\f\n\r\t\v\\\"""#,
            b"\x07\x08\x0C\n\r\t\x0B\\\"".as_slice(),
        ),
        (r#""\x41\101\u00e9\U0001F600""#, "AAé\u{1F600}".as_bytes()),
        (r#""\xff\377""#, b"\xff\xff"),
        ("`a\\n\r\nb`", b"a\\n\nb"),
    ] {
        assert_eq!(unquote(source).as_deref(), Some(expected), "{source}");
    }
    for source in [
        r#""\'""#,
        r#""\400""#,
        r#""\x4""#,
        r#""\18""#,
        r#""\ud800""#,
        r#""\U00110000""#,
        r#""\U80000041""#,
    ] {
        assert_eq!(unquote(source), None, "{source}");
    }
}

/// Runs `step` on a thread with less stack than the recursions of this test would take.
fn on_a_small_stack(step: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(192 << 10);
    thread.spawn(step).unwrap().join().unwrap();
}

#[test]
fn long_chains_and_deep_parentheses_need_no_deep_stack() {
    on_a_small_stack(|| {
        let chain = format!("{{{{if 0}}}}{}{{{{end}}}}", "{{else if 0}}".repeat(10_000));
        drop(parse(&chain).unwrap());
        let longer = chain.replacen("{{if 0}}", &"{{if 0}}{{end}}".repeat(20_000), 1);
        assert_eq!(error(&longer), "1: the template exceeds its limit of steps");
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(10_000), ")".repeat(10_000));
        let forest = parse(&deep).unwrap();
        let mut printed = String::new();
        block(&forest.own, &deep, &mut printed);
        assert!(printed.len() > 20_000);
        let deeper = format!("{{{{ {}1{} }}}}", "(".repeat(10_001), ")".repeat(10_001));
        assert_eq!(error(&deeper), "1: max expression depth exceeded");
    });
}

#[test]
fn blocks_nest_up_to_the_limit() {
    on_a_small_stack(|| {
        let nested = |depth| "{{if 1}}".repeat(depth) + &"{{end}}".repeat(depth);
        let limit = Limits::default().nesting as usize;
        drop(parse(&nested(limit)).unwrap());
        assert_eq!(
            error(&nested(limit + 1)),
            "1: the template exceeds its limit of nesting"
        );
    });
}
