//! `latchkey conformance` against the server of the rig.

use std::path::Path;

use anyhow::{Result, bail};
use clap::Parser as _;
use latchkey::args::{Cli, Command};
use latchkey::cli::conformance::{Report, examine};
use rcgen::ExtendedKeyUsagePurpose;

use crate::rig::{Authority, Provider};

/// Runs the suite with the identities of the rig and these arguments.
pub(crate) async fn run(provider: &Provider, rest: &[String]) -> Result<Report> {
    let (port, folder) = (provider.address().port(), provider.folder.path());
    run_at(port, &provider.authority, folder, rest).await
}

/// The same against any server on this port whose certificate is the authority's. Files are written to `folder`.
pub(crate) async fn run_at(
    port: u16,
    authority: &Authority,
    folder: &Path,
    rest: &[String],
) -> Result<Report> {
    let file = |name: &str| folder.join(name).display().to_string();
    for (name, usage) in [
        ("client", ExtendedKeyUsagePurpose::ClientAuth),
        ("server", ExtendedKeyUsagePurpose::ServerAuth),
    ] {
        let [authority, certificate, key] = authority.pem(usage);
        std::fs::write(file("ca.crt"), authority)?;
        std::fs::write(file(&format!("{name}.crt")), certificate)?;
        std::fs::write(file(&format!("{name}.key")), key)?;
    }
    let mut line = vec!["latchkey".to_owned(), "conformance".to_owned()];
    line.push(format!("--address=localhost:{port}"));
    for (flag, name) in [
        ("ca", "ca.crt"),
        ("cert", "client.crt"),
        ("key", "client.key"),
        ("server-cert", "server.crt"),
        ("server-key", "server.key"),
    ] {
        line.push(format!("--{flag}={}", file(name)));
    }
    line.extend_from_slice(rest);
    match Cli::try_parse_from(line)?.command {
        Command::Conformance(args) => Ok(examine(&args).await?),
        _ => bail!("another command"),
    }
}
