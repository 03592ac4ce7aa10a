//! Types: what a value is, and whether two are the same.

use super::Function;
use super::Parameter::{Any, Text};
use super::{any, text};
use crate::context::Context;
use crate::convert;
use crate::failure::Result;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "typeOf",
        parameters: &[Any],
        variadic: None,
        result: "string",
        summary: "The Go type of a value: `string`, `int64`, `[]interface {}`.",
        source: "sprig",
        example: (
            "{{ typeOf (add 1 2) }} {{ typeOf (list) }}",
            "int64 []interface {}",
        ),
        call: type_of,
    },
    Function {
        name: "kindOf",
        parameters: &[Any],
        variadic: None,
        result: "string",
        summary: "The Go kind of a value: `string`, `int64`, `slice`, `map`, `ptr`, `struct`, `invalid` for nil.",
        source: "sprig",
        example: ("{{ kindOf (list) }} {{ kindOf nil }}", "slice invalid"),
        call: kind_of,
    },
    Function {
        name: "typeIs",
        parameters: &[Text, Any],
        variadic: None,
        result: "bool",
        summary: "Whether a value has the named type.",
        source: "sprig",
        example: (r#"{{ typeIs "int" 3 }}"#, "true"),
        call: type_is,
    },
    Function {
        name: "kindIs",
        parameters: &[Text, Any],
        variadic: None,
        result: "bool",
        summary: "Whether a value has the named kind.",
        source: "sprig",
        example: (r#"{{ kindIs "map" (dict) }}"#, "true"),
        call: kind_is,
    },
    Function {
        name: "typeIsLike",
        parameters: &[Text, Any],
        variadic: None,
        result: "bool",
        summary: "Whether a value has the named type or is a pointer to it.",
        source: "sprig",
        example: (
            r#"{{ typeIsLike "semver.Version" (semver "1.2.3") }}"#,
            "true",
        ),
        call: type_is_like,
    },
    Function {
        name: "deepEqual",
        parameters: &[Any, Any],
        variadic: None,
        result: "bool",
        summary: "Whether two values are equal in type and content; an int and an int64 never are.",
        source: "sprig",
        example: (
            "{{ deepEqual (list 1 2) (list 1 2) }} {{ deepEqual 1 (int64 1) }}",
            "true false",
        ),
        call: deep_equal,
    },
];

fn type_of(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    cx.text(any(arguments, 0)?.type_name())
}

fn kind_of(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    cx.text(any(arguments, 0)?.kind_name())
}

fn type_is(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let wanted = text(arguments, 0)?.bytes();
    Ok(Value::Bool(
        wanted == any(arguments, 1)?.type_name().as_bytes(),
    ))
}

fn kind_is(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let wanted = text(arguments, 0)?.bytes();
    Ok(Value::Bool(
        wanted == any(arguments, 1)?.kind_name().as_bytes(),
    ))
}

fn type_is_like(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let wanted = text(arguments, 0)?.bytes();
    let found = any(arguments, 1)?.type_name().as_bytes();
    Ok(Value::Bool(
        wanted == found || found.strip_prefix(b"*") == Some(wanted),
    ))
}

fn deep_equal(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let equal = convert::deep_equal(cx, any(arguments, 0)?, any(arguments, 1)?)?;
    Ok(Value::Bool(equal))
}

#[cfg(test)]
mod tests {
    use crate::functions::testing::{check_examples, render};

    #[test]
    fn examples_render_as_they_say() {
        check_examples(super::FUNCTIONS);
    }

    #[test]
    fn a_pointer_is_like_its_type() {
        let template = r#"{{ $v := semver "1.2.3" }}{{ typeIs "semver.Version" $v }} {{ typeIsLike "semver.Version" $v }} {{ typeIsLike "*semver.Version" $v }} {{ kindOf $v }} {{ typeOf $v.IncMajor }}"#;
        assert_eq!(render(template), "false true true ptr semver.Version");
    }
}
