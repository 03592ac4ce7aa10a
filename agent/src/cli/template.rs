//! `latchkey template`: renders templates offline, from files.
//!
//! It runs the very code that the agent runs, so that what it prints is what the agent delivers. Its error texts are whole: they may
//! quote values, which whoever runs it has anyway.
//!
//! ```text
//! manifests, files, flags ─> inputs ─> engine::template::render ─> output (YAML, JSON, raw)
//!                                              └─> report: where in which template, with the line
//! JSON lines ─> cases ─> JSON lines
//! ```

mod cases;
mod inputs;
mod object;
mod output;
mod report;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args, ValueEnum};
use jiff::Timestamp;
use latchkey_templating::{Delimiters, Options, Template};

use self::inputs::Inputs;
use self::output::{Output, Rendered};
use self::report::Report;

/// Exit codes, as in sysexits(3).
mod exit {
    /// A template failed.
    pub(super) const FAILED: u8 = 1;
    /// The command line is wrong.
    pub(super) const USAGE: u8 = 64;
    /// An input is not of its form.
    pub(super) const DATA: u8 = 65;
    /// An input cannot be read.
    pub(super) const NO_INPUT: u8 = 66;
    /// The output cannot be written.
    pub(super) const OUTPUT: u8 = 74;
}

/// The settings of `latchkey template`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Files may be `-` for standard input, once. Exit codes: 0 rendered, 1 a template failed, 64 wrong usage, 65 an input is not of
its form, 66 an input cannot be read, 74 the output cannot be written.

Examples:
  latchkey template --template '{{ .user | upper }}' --data user=ann
  latchkey template external-secret.yaml --secret-file values.yaml --configmap-file templates.yaml
  latchkey template external-secret.yaml --data-file keystore=keystore.p12 -o raw --key tls.crt")]
#[command(group = ArgGroup::new("subject").required(true).args(["manifest", "file", "template", "template_file", "cases"]))]
#[group(skip)]
pub struct TemplateArgs {
    /// Manifest of an ExternalSecret, ClusterExternalSecret or PushSecret whose template is rendered. ConfigMaps and Secrets in the
    /// same file are found by templateFrom.
    #[arg(value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,

    /// The same.
    #[arg(
        short,
        long,
        value_name = "MANIFEST",
        visible_alias = "source-templated-object"
    )]
    pub file: Option<PathBuf>,

    /// Text of one template.
    #[arg(short, long, value_name = "TEXT")]
    pub template: Option<String>,

    /// File with the text of one template.
    #[arg(long, value_name = "FILE")]
    pub template_file: Option<PathBuf>,

    /// File of JSON lines `{"id", "data", "template"}`, each rendered for itself with its id as the name. Prints JSON lines
    /// `{"id", "out" | "out_base64" | "err"}`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "data_file", "secret_file", "configmap_file", "format", "output"])]
    pub cases: Option<PathBuf>,

    /// A value, as if the provider had it. May be repeated.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = pair)]
    pub data: Vec<(String, String)>,

    /// A value from a file, byte for byte. May be repeated.
    #[arg(long, value_name = "KEY=FILE", value_parser = pair)]
    pub data_file: Vec<(String, String)>,

    /// Secret manifest. One that templateFrom names holds templates; any other one holds values, as if the provider had them. A
    /// map of keys to base64 without kind holds values too. May be repeated.
    #[arg(long, value_name = "FILE", visible_alias = "source-secret-data-file")]
    pub secret_file: Vec<PathBuf>,

    /// ConfigMap manifest for templateFrom. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub configmap_file: Vec<PathBuf>,

    /// Secret manifest for every templateFrom Secret that is not given otherwise, whatever its name.
    #[arg(long, value_name = "FILE")]
    pub template_from_secret: Option<PathBuf>,

    /// ConfigMap manifest for every templateFrom ConfigMap that is not given otherwise, whatever its name.
    #[arg(long, value_name = "FILE")]
    pub template_from_config_map: Option<PathBuf>,

    /// How the result is printed: `yaml` or `json` with values in base64, or `raw`. Default: `raw` for a single template, else
    /// `yaml`.
    #[arg(short = 'o', long, value_enum)]
    pub format: Option<Format>,

    /// With `raw`, the key of the result that is printed, where there is more than one.
    #[arg(short, long)]
    pub key: Option<String>,

    /// File that the result is written to, readable for its owner only. The words of `--format` mean that instead.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// What opens an action.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new(), default_value = "{{")]
    pub template_left_delimiter: String,

    /// What closes an action.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new(), default_value = "}}")]
    pub template_right_delimiter: String,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A manifest in YAML.
    Yaml,
    /// A manifest in JSON.
    Json,
    /// The bytes of one value and nothing else.
    Raw,
}

/// Why the command ended otherwise than well.
#[derive(Debug)]
struct Failure {
    code: u8,
    /// What standard error is told; the first line says it all.
    text: String,
}

// === impl Failure ===

impl Failure {
    fn usage(text: impl Into<String>) -> Self {
        Self::new(exit::USAGE, text)
    }

    fn data(text: impl Into<String>) -> Self {
        Self::new(exit::DATA, text)
    }

    fn new(code: u8, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self::new(exit::FAILED, report.to_string())
    }
}

/// Runs the command and tells standard error why it failed.
#[must_use]
pub fn run(args: TemplateArgs) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "latchkey: {}", failure.text.trim_end());
            ExitCode::from(failure.code)
        }
    }
}

fn try_run(mut args: TemplateArgs) -> Result<(), Failure> {
    let options = Options {
        delimiters: Delimiters {
            left: std::mem::take(&mut args.template_left_delimiter),
            right: std::mem::take(&mut args.template_right_delimiter),
        },
        ..Options::new(Timestamp::now())
    };
    if let Some(path) = &args.cases {
        return cases::run(&mut *inputs::open(path)?, &options);
    }
    let output = Output::new(args.format, args.output.take(), args.key.take());
    let inputs = Inputs::read(&args)?;
    let rendered = if let Some((name, text)) = &inputs.template {
        Rendered::Text(single(name, text, &inputs, &options)?)
    } else {
        object::render(&inputs, &options)?
    };
    output.write(&rendered)
}

/// Renders one template.
fn single(
    name: &str,
    text: &[u8],
    inputs: &Inputs,
    options: &Options,
) -> Result<latchkey_secret::SecretValue, Failure> {
    let template = Template::parse_bytes(name, text, options).map_err(|error| {
        Report::new(error.to_string()).at(name, text, (error.line, error.column))
    })?;
    let rendered = template
        .render(&inputs.values(&BTreeSet::new()), options)
        .map_err(|error| {
            let report = Report::new(error.full_text());
            match error.position() {
                Some(position) => report.at(name, text, position),
                None => report,
            }
        })?;
    Ok(rendered)
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(String::from("must be KEY=...")),
    }
}
