//! `provider-vault`.

use anyhow::Context as _;
use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    latchkey_provider_vault::run(latchkey_provider_vault::Args::parse()).context("provider-vault")
}
