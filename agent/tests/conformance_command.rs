//! `latchkey conformance` as users run it, as far as it goes without a server.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests may")]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
    command.arg("conformance").args(arguments).output().unwrap()
}

#[test]
fn exit_codes_tell_usage_from_inputs() {
    for (arguments, code, text) in [
        (&[][..], 64, "--address"),
        (
            &["--address=localhost:1", "--ca=a", "--cert=b", "--key=c"],
            64,
            "--provider-ref",
        ),
        (
            &[
                "--address=unix:///x",
                "--ca=a",
                "--cert=b",
                "--key=c",
                "--provider-ref=Fake/n/f",
            ],
            64,
            "unix",
        ),
        (
            &[
                "--address=localhost:1",
                "--ca=/nonexistent/ca.crt",
                "--cert=b",
                "--key=c",
                "--provider-ref=Fake/n/f",
            ],
            66,
            "/nonexistent/ca.crt",
        ),
    ] {
        let output = run(arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(text), "{text}: {told}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_help_names_references_and_exit_codes() {
    let output = run(&["--help"]);
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for text in [
        "[GROUP/VERSION/]KIND/[NAMESPACE/]NAME",
        "--existing-file",
        "none failed",
    ] {
        assert!(help.contains(text), "{text}\n{help}");
    }
}
