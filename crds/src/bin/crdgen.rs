//! Writes every CustomResourceDefinition below the directory given as argument (default: the current one).

use std::path::PathBuf;

use anyhow::Context;
use latchkey_crds::manifests;

fn main() -> anyhow::Result<()> {
    let root = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| ".".into()));
    for manifest in manifests::all() {
        let path = root.join(manifest.path);
        std::fs::create_dir_all(path.parent().unwrap_or(&root))
            .with_context(|| format!("cannot create the directory of {}", path.display()))?;
        std::fs::write(&path, manifests::to_yaml(&manifest.definition)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
