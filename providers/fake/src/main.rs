//! `provider-fake`.

use anyhow::Context as _;
use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    latchkey_provider_fake::run(latchkey_provider_fake::Args::parse()).context("provider-fake")
}
