//! Writes `docs/templates.md` below the directory given as argument (default: the current one).

mod text;

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let root = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| ".".into()));
    std::fs::write(root.join("docs/templates.md"), text::page())
}
