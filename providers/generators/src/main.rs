//! `provider-generators`.

use anyhow::Context as _;
use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    latchkey_provider_generators::run(latchkey_provider_generators::Args::parse())
        .context("provider-generators")
}
