//! `latchkey template` as users run it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const EXTERNAL_SECRET: &str = r#"
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: web, namespace: team-a, labels: {own: label}}
spec:
  dataFrom: [{extract: {key: db}}]
  target:
    name: creds
    template:
      type: Opaque
      metadata:
        labels: {team: "{{ .team }}"}
        annotations: {note: "{{ .team | upper }}"}
        finalizers: [example.com/keep]
      templateFrom:
        - configMap: {name: texts, items: [{key: conf}]}
        - secret: {name: hidden, items: [{key: token}]}
        - literal: |
            user: {{ .user }}
      data:
        url: "https://{{ .user }}:{{ .password }}@db"
---
apiVersion: v1
kind: ConfigMap
metadata: {name: texts}
data: {conf: "team={{ .team }}"}
"#;

const HIDDEN: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: hidden}
stringData: {token: "t-{{ .team }}"}
"#;

/// A Secret with values: user ann, password pw (stringData over data), team blue.
const VALUES: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: values}
data: {user: YW5u, password: b2xk, team: Ymx1ZQ==}
stringData: {password: pw}
"#;

struct Run {
    code: i32,
    out: String,
    err: String,
}

fn command(folder: &Path, arguments: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_latchkey"))
        .arg("template")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("its input is a pipe");
    // A command that does not read its input may be gone already.
    let _ = input.write_all(stdin);
    drop(input);
    child.wait_with_output().expect("the program ends")
}

fn run_with(folder: &TempDir, arguments: &[&str], stdin: &str) -> Run {
    let output = command(folder.path(), arguments, stdin.as_bytes());
    Run {
        code: output.status.code().expect("it ends by itself"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

fn run(folder: &TempDir, arguments: &[&str]) -> Run {
    run_with(folder, arguments, "")
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    folder
}

fn usual() -> TempDir {
    folder(&[
        ("es.yaml", EXTERNAL_SECRET.as_bytes()),
        ("hidden.yaml", HIDDEN.as_bytes()),
        ("values.yaml", VALUES.as_bytes()),
    ])
}

#[test]
fn a_single_template_renders_its_bytes_and_nothing_else() {
    let folder = folder(&[
        ("t.txt", b"{{ .a | upper }}-{{ .b | len }}\n"),
        ("b.bin", b"\xff\0"),
    ]);
    let flags = ["--data", "a=x=y", "--data-file", "b=b.bin"];
    let from_file = run(
        &folder,
        &[&["--template-file", "t.txt"], &flags[..]].concat(),
    );
    assert_eq!(
        (
            from_file.code,
            from_file.out.as_str(),
            from_file.err.as_str()
        ),
        (0, "X=Y-2\n", "")
    );
    let inline = run(&folder, &["--template", "{{ .a }}", "-d", "a=1"]);
    assert_eq!(inline.out, "1");
    let from_stdin = run_with(&folder, &["--template-file", "-"], "{{ add 1 2 }}");
    assert_eq!(from_stdin.out, "3");
    let bytes = command(
        folder.path(),
        &["--template", "{{ .b }}", "--data-file", "b=b.bin"],
        b"",
    );
    assert_eq!(bytes.stdout, b"\xff\0");
    let as_json = run(
        &folder,
        &[
            "--template",
            "{{ .b }}",
            "--data-file",
            "b=b.bin",
            "-o",
            "json",
        ],
    );
    assert_eq!(
        serde_json::from_str::<Value>(&as_json.out).unwrap(),
        json!({ "out_base64": "/wA=" })
    );
    let delimiters = [
        "--template-left-delimiter=[[",
        "--template-right-delimiter=]]",
        "--template=[[ .a ]]{{",
        "--data=a=1",
    ];
    assert_eq!(run(&folder, &delimiters).out, "1{{");
}

#[test]
fn an_external_secret_becomes_the_secret_that_it_makes() {
    let folder = usual();
    let expected = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {
            "name": "creds", "namespace": "team-a", "labels": { "team": "blue" }, "annotations": { "note": "BLUE" },
            "finalizers": ["example.com/keep"],
        },
        "data": {
            "conf": "dGVhbT1ibHVl", "token": "dC1ibHVl", "user": "YW5u", "url": "aHR0cHM6Ly9hbm46cHdAZGI=",
        },
    });
    let files = ["--secret-file=values.yaml", "--secret-file=hidden.yaml"];
    let in_json = run(&folder, &[&["es.yaml", "-o", "json"], &files[..]].concat());
    assert_eq!(in_json.err, "");
    assert_eq!(
        serde_json::from_str::<Value>(&in_json.out).unwrap(),
        expected
    );
    let in_yaml = run(&folder, &[&["--file", "es.yaml"], &files[..]].concat());
    assert_eq!(
        serde_saphyr::from_str::<Value>(&in_yaml.out).unwrap(),
        expected
    );
    let raw = run(
        &folder,
        &[&["es.yaml", "-o", "raw", "--key", "url"], &files[..]].concat(),
    );
    assert_eq!(raw.out, "https://ann:pw@db");
    let from_stdin = run_with(
        &folder,
        &[
            &["-", "-o", "raw", "--key=user", "--data=user=flag"],
            &files[..],
        ]
        .concat(),
        EXTERNAL_SECRET,
    );
    assert_eq!(from_stdin.out, "flag", "{}", from_stdin.err);
    let unchosen = run(&folder, &[&["es.yaml", "-o", "raw"], &files[..]].concat());
    assert_eq!(unchosen.code, 64);
    assert!(
        unchosen.err.contains("conf, token, url, user"),
        "{}",
        unchosen.err
    );
}

#[test]
fn the_flags_of_esoctl_do_the_same() {
    let folder = usual();
    std::fs::write(
        folder.path().join("push.yaml"),
        r#"
apiVersion: external-secrets.io/v1alpha1
kind: PushSecret
metadata: {name: push}
spec:
  selector: {secret: {name: source}}
  template:
    metadata: {labels: {a: "{{ .token }}"}}
    data: {token: "{{ .token | toString | upper }} was templated"}
    templateFrom:
      - configMap: {name: any, items: [{key: one}]}
      - secret: {name: any, items: [{key: two}]}
"#,
    )
    .unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("data.yaml", "token: dG9rZW4=\nother: eA==\n");
    write(
        "config-map.yaml",
        "kind: ConfigMap\nmetadata: {name: texts}\ndata: {one: '1{{ .token }}'}\n",
    );
    write(
        "secret.yaml",
        "kind: Secret\nmetadata: {name: texts}\ndata: {two: Mg==}\n",
    );
    let done = run(
        &folder,
        &[
            "--source-templated-object",
            "push.yaml",
            "--source-secret-data-file",
            "data.yaml",
            "--template-from-config-map",
            "config-map.yaml",
            "--template-from-secret",
            "secret.yaml",
            "--output",
            "result.yaml",
        ],
    );
    assert_eq!(
        (done.code, done.out.as_str(), done.err.as_str()),
        (0, "", "")
    );
    let path = folder.path().join("result.yaml");
    let result: Value = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(
        result,
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "source", "labels": { "a": "token" } },
            "data": {
                "token": "VE9LRU4gd2FzIHRlbXBsYXRlZA==", "other": "eA==", "one": "MXRva2Vu", "two": "Mg==",
            },
        })
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // For the habit of other programs.
    let yaml = run(
        &folder,
        &[
            "push.yaml",
            "--secret-file=data.yaml",
            "--template-from-config-map=config-map.yaml",
            "--template-from-secret=secret.yaml",
            "--output",
            "json",
        ],
    );
    assert_eq!(serde_json::from_str::<Value>(&yaml.out).unwrap(), result);
}

#[test]
fn a_cluster_external_secret_is_rendered_as_its_objects_would_be() {
    let folder = folder(&[(
        "ces.yaml",
        b"kind: ClusterExternalSecret\napiVersion: external-secrets.io/v1\nmetadata: {name: all}\nspec:\n  externalSecretSpec:\n    target: {template: {mergePolicy: Merge, data: {b: 'x{{ .a }}'}}}\n",
    )]);
    let result = run(&folder, &["ces.yaml", "--data=a=1", "-o", "json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&result.out).unwrap()["data"],
        json!({ "a": "MQ==", "b": "eDE=" }),
        "{}",
        result.err
    );
}

#[test]
fn a_failed_template_is_pointed_at() {
    let folder = usual();
    let failed = run(&folder, &["--template", "a\n{{ .x }}"]);
    assert_eq!((failed.code, failed.out.as_str()), (1, ""));
    assert_eq!(
        failed.err,
        "latchkey: template: template:2:3: executing \"template\" at <.x>: map has no entry for key \"x\"\n \
         --> template, line 2, column 4\n  |\n2 | {{ .x }}\n  |    ^\n"
    );
    let failed = run(&folder, &["--template", "{{ 1 | nope }}"]);
    assert_eq!(failed.code, 1);
    assert!(
        failed.err.contains("function \"nope\" not defined")
            && failed.err.contains("line 1, column 8"),
        "{}",
        failed.err
    );

    let files = ["--secret-file=values.yaml", "--secret-file=hidden.yaml"];
    let broken = EXTERNAL_SECRET.replace("team={{ .team }}", "{{ .nobody }}");
    let failed = run_with(&folder, &[&["-"], &files[..]].concat(), &broken);
    assert_eq!(failed.code, 1);
    assert!(
        failed.err.starts_with(
            "latchkey: could not apply template: error fetching templateFrom data: unable to execute template at key conf: "
        ) && failed.err.contains("--> template.templateFrom[0], ConfigMap texts, key conf, line 1, column 4"),
        "{}",
        failed.err
    );
    let broken = EXTERNAL_SECRET.replace("{{ .team | upper }}", "{{ fail .team }}");
    let failed = run_with(&folder, &[&["-"], &files[..]].concat(), &broken);
    assert!(
        failed.err.contains("error calling fail: blue")
            && failed
                .err
                .contains("--> template.metadata.annotations[note], line 1, column 4"),
        "{}",
        failed.err
    );
    let failed = run(&folder, &["es.yaml", "--secret-file=values.yaml"]);
    assert_eq!(failed.code, 1);
    assert!(
        failed
            .err
            .contains("Secret \"hidden\" is in none of the files (--secret-file)"),
        "{}",
        failed.err
    );
    let forbidden = EXTERNAL_SECRET.replace("type: Opaque", "type: bootstrap.kubernetes.io/token");
    let failed = run_with(&folder, &["-"], &forbidden);
    assert_eq!(
        failed.err,
        "latchkey: could not apply template: template.type=\"bootstrap.kubernetes.io/token\" is not allowed\n"
    );
}

#[test]
fn mistakes_in_the_command_and_its_files_have_codes_of_their_own() {
    let folder = usual();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("broken.yaml", "a: [");
    write("pod.yaml", "kind: Pod\n");
    write(
        "number.yaml",
        "kind: Secret\nmetadata: {name: n}\nstringData: {port: 5432}\n",
    );
    write(
        "base64.yaml",
        "kind: Secret\nmetadata: {name: n}\ndata: {port: '!'}\n",
    );
    for (arguments, code, text) in [
        (&[][..], 64, "required"),
        (
            &["--template", "x", "--cases", "y"],
            64,
            "cannot be used with",
        ),
        (&["--template", "x", "--data", "novalue"], 64, "--data"),
        (&["-", "--secret-file", "-"], 64, "once only"),
        (&["--template", "x", "-o", "toml"], 64, "toml"),
        (&["none.yaml"], 66, "failed to read none.yaml"),
        (&["broken.yaml"], 65, "broken.yaml: "),
        (&["pod.yaml"], 65, "holds no ExternalSecret"),
        (
            &["es.yaml", "--secret-file", "pod.yaml"],
            65,
            "Pod is neither a Secret nor a ConfigMap",
        ),
        (
            &["es.yaml", "--secret-file", "number.yaml"],
            65,
            "key port is not a text",
        ),
        (
            &["es.yaml", "--secret-file", "base64.yaml"],
            65,
            "key port is not base64",
        ),
        (
            &[
                "es.yaml",
                "--secret-file=values.yaml",
                "--secret-file=values.yaml",
            ],
            65,
            "more than one Secret",
        ),
    ] {
        let failed = run(&folder, arguments);
        assert_eq!(
            (failed.code, failed.out.as_str()),
            (code, ""),
            "{arguments:?}: {}",
            failed.err
        );
        assert!(failed.err.contains(text), "{arguments:?}: {}", failed.err);
    }
}

#[test]
fn cases_are_answered_line_by_line_and_bad_lines_are_told_at_the_end() {
    let folder = TempDir::new().unwrap();
    let lines = [
        json!({ "id": "a", "data": { "x": "1" }, "template": "{{ .x }}" }).to_string(),
        json!({ "id": "b", "data": {}, "template": "{{ \"/w==\" | b64dec }}" }).to_string(),
        json!({ "id": "c", "data": {}, "template": "{{ .x }}", "group": "ignored" }).to_string(),
        "not json".to_owned(),
        String::new(),
        json!({ "id": "d", "template": "{{" }).to_string(),
        json!({ "id": "e" }).to_string(),
        json!({ "id": "f", "data": { "v": "s3" }, "template": "{{ fail .v }}" }).to_string(),
    ];
    let result = run_with(&folder, &["--cases", "-"], &lines.join("\n"));
    let answers: Vec<Value> = result
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        answers,
        [
            json!({ "id": "a", "out": "1" }),
            json!({ "id": "b", "out_base64": "/w==" }),
            json!({ "id": "c", "err": "unable to execute template at key c: template: c:1:3: executing \"c\" at <.x>: map has no entry for key \"x\"" }),
            json!({ "id": "d", "err": "unable to parse template at key d: template: d:1: unclosed action" }),
            json!({ "id": "f", "err": "unable to execute template at key f: template: f:1:3: executing \"f\" at <fail .v>: error calling fail: s3" }),
        ]
    );
    assert_eq!(result.code, 65);
    assert!(
        result
            .err
            .starts_with("latchkey: 2 lines are no cases: line 4: ")
            && result.err.contains("line 7: missing field `template`"),
        "{}",
        result.err
    );
    let path = folder.path().join("cases.jsonl");
    std::fs::write(&path, &lines[0]).unwrap();
    let result = run(&folder, &["--cases", "cases.jsonl"]);
    assert_eq!(
        (result.code, result.out.as_str()),
        (0, "{\"id\":\"a\",\"out\":\"1\"}\n")
    );
}

#[test]
fn a_target_of_another_kind_is_rendered_as_that_kind() {
    // externalsecret.md 5.3, 5.4
    let manifest = "
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: web, namespace: team-a, labels: {own: label}}
spec:
  target:
    manifest: {apiVersion: example.com/v1, kind: Widget}
    template:
      templateFrom:
        - {target: 'spec.rules[0].port', configMap: {name: texts, items: [{key: port}]}}
        - {target: Spec, configMap: {name: texts, items: [{key: port}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: texts}
data: {port: \"{{ .port }}\"}
";
    let folder = folder(&[("es.yaml", manifest.as_bytes())]);
    let run = run(
        &folder,
        &["es.yaml", "--data", "port=5432", "--format", "json"],
    );
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(
        serde_json::from_str::<Value>(&run.out).unwrap(),
        json!({
            "apiVersion": "example.com/v1", "kind": "Widget",
            "metadata": { "name": "web", "namespace": "team-a" },
            "spec": { "rules": [{ "port": 5432 }], "port": "5432" },
        })
    );
}
