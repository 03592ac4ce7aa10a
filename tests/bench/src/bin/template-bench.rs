//! What a render costs, beside Go's engine with sprig in the same run.
//!
//! Per render, parse included: the time (the faster of several alternating rounds, so that what else the machine does counts
//! least) and the bytes taken from the allocator. Both engines must give the same text, or the row says so. The hostile set
//! has no peer: Go has no limits.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks to a person"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use jiff::Timestamp;
use latchkey_secret::{SecretData, SecretValue};
use latchkey_templating::{Limit, Options, Template};
use serde::Deserialize;

/// What is replaced in a page: everything between these two lines.
const BEGIN: &str = "<!-- begin: templates, written by `make bench` -->";
const END: &str = "<!-- end: templates, written by `make bench` -->";
/// Longest time of a hostile render that counts as met.
const HOSTILE_TARGET: Duration = Duration::from_millis(10);
/// The same for one that asks for expensive cryptography, which has a limit of its own.
const CRYPTOGRAPHY_TARGET: Duration = Duration::from_secs(3);

/// Measures templates beside Go's engine; about two minutes.
#[derive(Parser)]
struct Args {
    /// The Go program of `tests/bench/templates`.
    #[arg(long)]
    go: PathBuf,
    /// The repository's root.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Write the report into this page too, between its two markers.
    #[arg(long)]
    into: Option<PathBuf>,
    /// Rounds of each engine, in turn.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Milliseconds for each template in a round.
    #[arg(long, default_value_t = 200)]
    budget: u64,
}

#[derive(Clone, Deserialize)]
struct Workload {
    id: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    data: BTreeMap<String, String>,
    template: String,
}

#[derive(Clone, Deserialize)]
struct Measured {
    id: String,
    nanoseconds: f64,
    bytes: f64,
    out: String,
    #[serde(default)]
    err: String,
}

/// One row: the better round of each engine.
struct Row {
    id: String,
    ours: Measured,
    go: Measured,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("template-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let typical = read(&args.root.join("tests/bench/templates/typical.jsonl"))?;
    let corpus = read(
        &args
            .root
            .join("agent/templating/tests/corpus/templates.jsonl"),
    )?;
    let user: Vec<Workload> = corpus
        .into_iter()
        .filter(|work| work.group == "user")
        .collect();
    let hostile = read(&args.root.join("tests/bench/templates/hostile.jsonl"))?;
    ensure!(!user.is_empty(), "the corpus has no group `user`");

    let mut report = String::new();
    let mut left_out = Vec::new();
    for (title, workloads) in [
        ("Typical templates", &typical),
        ("Templates of users (group `user` of the corpus)", &user),
    ] {
        eprintln!("{title}");
        let rows = compare(args, workloads, &mut left_out)?;
        report.push_str(&table(title, &rows)?);
    }
    if !left_out.is_empty() {
        writeln!(
            report,
            "Left out, because sprig lacks a function or a result is random: {}.\n",
            left_out.join(", ")
        )?;
    }
    eprintln!("hostile templates");
    report.push_str(&hostile_table(&hostile)?);
    println!("{report}");
    if let Some(page) = &args.into {
        write_into(page, &report)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<Workload>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read {}", path.display()))?;
    text.lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect::<Result<_>>()
        .with_context(|| format!("failed to understand {}", path.display()))
}

/// Measures both engines in turn and keeps the better round of each.
fn compare(args: &Args, workloads: &[Workload], left_out: &mut Vec<String>) -> Result<Vec<Row>> {
    let budget = Duration::from_millis(args.budget);
    let mut rows: Vec<Row> = Vec::new();
    for round in 0..args.rounds {
        let theirs = measure_go(&args.go, workloads, budget)?;
        let ours = workloads.iter().map(|work| measure_ours(work, budget));
        for (go, ours) in theirs.into_iter().zip(ours.collect::<Result<Vec<_>>>()?) {
            if !go.err.is_empty() || go.out != ours.out {
                if round == 0 {
                    left_out.push(go.id);
                }
                continue;
            }
            match rows.iter_mut().find(|row| row.id == go.id) {
                Some(row) => {
                    row.go.nanoseconds = row.go.nanoseconds.min(go.nanoseconds);
                    row.ours.nanoseconds = row.ours.nanoseconds.min(ours.nanoseconds);
                }
                None => rows.push(Row {
                    id: go.id.clone(),
                    ours,
                    go,
                }),
            }
        }
    }
    Ok(rows)
}

fn measure_go(program: &Path, workloads: &[Workload], budget: Duration) -> Result<Vec<Measured>> {
    let mut child = Command::new(program)
        .arg(format!("-budget={}ms", budget.as_millis()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to run {}", program.display()))?;
    let mut input = child.stdin.take().context("no standard input")?;
    for work in workloads {
        let line = serde_json::json!({
            "id": work.id, "data": work.data, "template": work.template,
        });
        writeln!(input, "{line}")?;
    }
    drop(input);
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "the Go program ended with {}",
        output.status
    );
    let lines = String::from_utf8(output.stdout)?;
    let measured: Vec<Measured> = lines
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect::<Result<_>>()?;
    ensure!(
        measured.len() == workloads.len(),
        "the Go program lost a template"
    );
    Ok(measured)
}

fn measure_ours(work: &Workload, budget: Duration) -> Result<Measured> {
    let data: SecretData = work
        .data
        .iter()
        .map(|(key, value)| (key.clone(), SecretValue::from(value.clone())))
        .collect();
    let options = Options::new(Timestamp::now());
    let out = render(work, &data, &options)?;
    let warm = Instant::now();
    while warm.elapsed() < budget / 4 {
        render(work, &data, &options)?;
    }
    let allocated = allocation_counter::measure(|| {
        // It succeeded a moment ago.
        let _ = render(work, &data, &options);
    });
    let (begin, mut count) = (Instant::now(), 0_u32);
    while begin.elapsed() < budget {
        render(work, &data, &options)?;
        count += 1;
    }
    let bytes = u32::try_from(allocated.bytes_total).unwrap_or(u32::MAX);
    Ok(Measured {
        id: work.id.clone(),
        nanoseconds: begin.elapsed().as_secs_f64() * 1e9 / f64::from(count.max(1)),
        bytes: f64::from(bytes),
        out: String::from_utf8_lossy(out.expose()).into_owned(),
        err: String::new(),
    })
}

fn render(work: &Workload, data: &SecretData, options: &Options) -> Result<SecretValue> {
    let template = Template::parse(&work.id, &work.template, options)?;
    Ok(template.render(data, options)?)
}

fn table(title: &str, rows: &[Row]) -> Result<String> {
    if rows.is_empty() {
        bail!("{title}: nothing could be compared");
    }
    let mut text = format!(
        "#### {title}\n\n| template | Go µs | ours µs | Go / ours | Go bytes | our bytes | ours / Go |\n\
         |---|---|---|---|---|---|---|\n"
    );
    let (mut speed, mut memory) = (Vec::new(), Vec::new());
    for row in rows {
        let (faster, smaller) = (
            row.go.nanoseconds / row.ours.nanoseconds,
            row.ours.bytes / row.go.bytes,
        );
        speed.push(faster);
        memory.push(smaller);
        writeln!(
            text,
            "| {} | {:.1} | {:.1} | {faster:.1} | {:.0} | {:.0} | {smaller:.3} |",
            row.id,
            row.go.nanoseconds / 1e3,
            row.ours.nanoseconds / 1e3,
            row.go.bytes,
            row.ours.bytes,
        )?;
    }
    let slowest = speed.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = memory.iter().copied().fold(0.0, f64::max);
    writeln!(
        text,
        "\n| target | wanted | measured | verdict |\n|---|---|---|---|\n\
         | time of Go over ours, the least | >= 2 | {slowest:.1} | {} |\n\
         | our bytes over Go's, the most | <= 0.25 | {largest:.3} | {} |\n",
        verdict(slowest >= 2.0),
        verdict(largest <= 0.25),
    )?;
    Ok(text)
}

fn hostile_table(workloads: &[Workload]) -> Result<String> {
    let mut text = String::from(
        "#### Hostile templates\n\n| template | stopped by | ms | most bytes at once | bytes in all |\n|---|---|---|---|---|\n",
    );
    let (mut slowest, mut slowest_cryptography) = (Duration::ZERO, Duration::ZERO);
    let cryptography = format!("limit of {}", Limit::Cryptography);
    for work in workloads {
        let options = Options::new(Timestamp::now());
        let data = SecretData::new();
        let (mut stopped, mut spent) = (String::new(), Duration::MAX);
        let mut allocated = allocation_counter::AllocationInfo::default();
        // The best of three: what else the machine does is not the template's.
        for _ in 0..3 {
            let begin = Instant::now();
            allocated = allocation_counter::measure(|| stopped = end_of(work, &data, &options));
            spent = spent.min(begin.elapsed());
        }
        let slowest = if stopped == cryptography {
            &mut slowest_cryptography
        } else {
            &mut slowest
        };
        *slowest = spent.max(*slowest);
        writeln!(
            text,
            "| {} | {stopped} | {:.2} | {} | {} |",
            work.id,
            spent.as_secs_f64() * 1e3,
            allocated.bytes_max,
            allocated.bytes_total,
        )?;
    }
    writeln!(
        text,
        "\n| target | wanted | measured | verdict |\n|---|---|---|---|\n\
         | slowest hostile template, cryptography apart | <= 10 ms | {:.2} ms | {} |\n\
         | slowest one stopped by the limit of cryptography | <= 3 s | {:.2} s | {} |\n",
        slowest.as_secs_f64() * 1e3,
        verdict(slowest <= HOSTILE_TARGET),
        slowest_cryptography.as_secs_f64(),
        verdict(slowest_cryptography <= CRYPTOGRAPHY_TARGET),
    )?;
    Ok(text)
}

/// How a hostile render ended.
fn end_of(work: &Workload, data: &SecretData, options: &Options) -> String {
    let template = match Template::parse(&work.id, &work.template, options) {
        Ok(template) => template,
        Err(error) => return error.to_string(),
    };
    match template.render(data, options) {
        Ok(out) => format!("nothing: {} bytes", out.len()),
        Err(error) => match error.limit() {
            Some(limit) => format!("limit of {limit}"),
            None => "an error of the template".to_owned(),
        },
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

fn write_into(path: &Path, report: &str) -> Result<()> {
    let page = std::fs::read_to_string(path)?;
    let replaced = page.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some(format!("{before}{BEGIN}\n\n{report}{END}{after}"))
    });
    let page = replaced.with_context(|| format!("{} lacks {BEGIN}, {END}", path.display()))?;
    Ok(std::fs::write(path, page)?)
}
