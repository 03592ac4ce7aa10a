//! Semantic versions.

use std::rc::Rc;

use super::{Function, Parameter, text};
use crate::value::Value;
use crate::version::Version;
use crate::version::constraint::Constraints;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "semver",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "version",
        summary: "Reads a semantic version, with or without a `v`, of one to three numbers. Its parts and successors are methods of the result: `.Major`, `.Prerelease`, `.IncMinor`.",
        source: "sprig",
        example: (r#"{{ (semver "v1.4").IncMinor }}"#, "1.5.0"),
        call: |cx, arguments| {
            let text = text(arguments, 0)?;
            cx.allocate(text.bytes().len() * 2)?;
            Ok(Value::Version(Some(Rc::new(Version::parse(text)?))))
        },
    },
    Function {
        name: "semverCompare",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "bool",
        summary: "Whether a version (the second string) satisfies a constraint (the first).",
        source: "sprig",
        example: (r#"{{ semverCompare ">=1.2, <2" "1.9.3" }}"#, "true"),
        call: |cx, arguments| {
            let (constraints, version) = (text(arguments, 0)?, text(arguments, 1)?);
            cx.allocate(constraints.bytes().len() * 4 + version.bytes().len() * 2)?;
            let constraints = Constraints::parse(cx, constraints.bytes())?;
            Ok(Value::Bool(constraints.accept(&Version::parse(version)?)))
        },
    },
];
