//! YAML.

use super::{Function, Parameter, any, text};
use crate::value::{Text, Value};
use crate::yaml;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "fromYaml",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "dict",
        summary: "The dict that a string is the YAML text of, by the rules of YAML 1.1: numbers become float64. What is no mapping gives a dict with the message under `Error`.",
        source: "External Secrets",
        example: ("{{ (fromYaml \"port: 5432\").port }}", "5432"),
        call: |cx, arguments| yaml::read(cx, text(arguments, 0)?.bytes()).map(Value::Dict),
    },
    Function {
        name: "toYaml",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "string",
        summary: "The YAML text of any value, without a line break at the end. A value that JSON has no form for gives an empty string.",
        source: "External Secrets",
        example: (
            "{{ dict \"list\" (list 1 \"yes\") \"name\" \"vis\" | toYaml }}",
            "list:\n- 1\n- \"yes\"\nname: vis",
        ),
        call: |cx, arguments| {
            let written = yaml::write(cx, any(arguments, 0)?)?;
            Ok(Value::Text(written.unwrap_or_else(Text::default)))
        },
    },
];
