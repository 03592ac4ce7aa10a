//! What templates can call, as data for the book (`docs/templates.md`).

use crate::functions::{GROUPS, Parameter};

/// A function that templates can call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// The types of its arguments in call order, such as `string` or, for any number of further ones, `any...`.
    pub parameters: Vec<String>,
    /// The type of its result.
    pub result: &'static str,
    /// One sentence: what it does.
    pub summary: &'static str,
    /// Where it comes from: `Go`, `sprig`, `External Secrets`.
    pub source: &'static str,
    /// What it is about; entries of one subject follow each other.
    pub subject: &'static str,
    /// A template without data.
    pub example: &'static str,
    /// What [`Self::example`] renders to.
    pub output: &'static str,
}

// === impl Entry ===

impl Entry {
    /// Name and types: `abbrev(int, string) string`.
    #[must_use]
    pub fn signature(&self) -> String {
        format!(
            "{}({}) {}",
            self.name,
            self.parameters.join(", "),
            self.result
        )
    }
}

/// Everything that templates can call: Go's own functions, then the others by subject, each by name.
#[must_use]
pub fn reference() -> Vec<Entry> {
    let mut entries = builtins();
    for groups in GROUPS.chunk_by(|(left, _), (right, _)| left == right) {
        let functions = groups.iter().flat_map(|(subject, functions)| {
            functions.iter().map(move |function| (*subject, function))
        });
        let mut group: Vec<Entry> = functions
            .map(|(subject, function)| {
                let fixed = function
                    .parameters
                    .iter()
                    .map(|parameter| word(*parameter).to_owned());
                let further = function
                    .variadic
                    .map(|parameter| format!("{}...", word(parameter)));
                Entry {
                    name: function.name,
                    parameters: fixed.chain(further).collect(),
                    result: function.result,
                    summary: function.summary,
                    source: function.source,
                    subject,
                    example: function.example.0,
                    output: function.example.1,
                }
            })
            .collect();
        group.sort_by_key(|entry| entry.name);
        entries.append(&mut group);
    }
    entries
}

/// The book's word for a type.
fn word(parameter: Parameter) -> &'static str {
    match parameter {
        Parameter::Any => "any",
        Parameter::Text => "string",
        Parameter::Int => "int",
        Parameter::Uint32 => "uint32",
        Parameter::Float => "float64",
        Parameter::Bool => "bool",
        Parameter::List => "list",
        Parameter::Dict => "dict",
        Parameter::Time => "time",
        Parameter::Duration => "duration",
        Parameter::Version => "version",
        Parameter::Location => "location",
        Parameter::Bytes => "bytes",
        Parameter::Certificate => "certificate",
        Parameter::HashAlgorithm => "alg",
    }
}

/// The functions of Go itself, without `slice`, which sprig's hides.
fn builtins() -> Vec<Entry> {
    let entry = |name, parameters: &[&str], result, summary, example, output| Entry {
        name,
        parameters: parameters.iter().map(|word| (*word).to_owned()).collect(),
        result,
        summary,
        source: "Go",
        subject: "Go's own",
        example,
        output,
    };
    vec![
        entry(
            "and",
            &["any", "any..."],
            "any",
            "The first argument that is empty, else the last; those behind it are not evaluated.",
            r#"{{ and "a" "" "b" | quote }}"#,
            "\"\"",
        ),
        entry(
            "call",
            &["any", "any..."],
            "any",
            "Calls a function value. There are none here, so it always fails.",
            "{{ if false }}{{ call 1 }}{{ end }}",
            "",
        ),
        entry(
            "eq",
            &["any", "any..."],
            "bool",
            "Whether the first argument equals any of the others; they must be of one kind.",
            "{{ eq 2 1 2 }}",
            "true",
        ),
        entry(
            "ge",
            &["any", "any"],
            "bool",
            "Whether the first argument is greater than or equal to the second.",
            "{{ ge 2 2 }}",
            "true",
        ),
        entry(
            "gt",
            &["any", "any"],
            "bool",
            "Whether the first argument is greater than the second.",
            r#"{{ gt "b" "a" }}"#,
            "true",
        ),
        entry(
            "html",
            &["any..."],
            "string",
            "The arguments as text, escaped for HTML.",
            r#"{{ html "<a&b>" }}"#,
            "&lt;a&amp;b&gt;",
        ),
        entry(
            "index",
            &["any", "any..."],
            "any",
            "The entry of a list, a map or a string at an index or key, and of that at the next; an absent key gives an empty value.",
            r#"{{ index (list "a" "b") 1 }}"#,
            "b",
        ),
        entry(
            "js",
            &["any..."],
            "string",
            "The arguments as text, escaped for JavaScript.",
            r#"{{ js "it's" }}"#,
            r"it\'s",
        ),
        entry(
            "le",
            &["any", "any"],
            "bool",
            "Whether the first argument is less than or equal to the second.",
            "{{ le 1 2 }}",
            "true",
        ),
        entry(
            "len",
            &["any"],
            "int",
            "The number of bytes of a string, or of entries of a list or map.",
            r#"{{ len "abc" }}"#,
            "3",
        ),
        entry(
            "lt",
            &["any", "any"],
            "bool",
            "Whether the first argument is less than the second.",
            "{{ lt 1.5 2.5 }}",
            "true",
        ),
        entry(
            "ne",
            &["any", "any"],
            "bool",
            "Whether the arguments differ; they must be of one kind.",
            r#"{{ ne "a" "b" }}"#,
            "true",
        ),
        entry(
            "not",
            &["any"],
            "bool",
            "Whether the argument is empty.",
            r#"{{ not "" }}"#,
            "true",
        ),
        entry(
            "or",
            &["any", "any..."],
            "any",
            "The first argument that is not empty, else the last; those behind it are not evaluated.",
            r#"{{ or "" "b" }}"#,
            "b",
        ),
        entry(
            "print",
            &["any..."],
            "string",
            "The arguments as text, with a blank between two of which neither is a string.",
            r#"{{ print 1 2 "a" }}"#,
            "1 2a",
        ),
        entry(
            "printf",
            &["string", "any..."],
            "string",
            "The arguments in the places of a Go format.",
            r#"{{ printf "%s-%03d" "a" 7 }}"#,
            "a-007",
        ),
        entry(
            "println",
            &["any..."],
            "string",
            "The arguments as text with blanks between them and a line break at the end.",
            r#"{{ println "a" 1 | trim }}"#,
            "a 1",
        ),
        entry(
            "urlquery",
            &["any..."],
            "string",
            "The arguments as text, escaped for the query of a URL.",
            r#"{{ urlquery "a b&c" }}"#,
            "a+b%26c",
        ),
    ]
}
