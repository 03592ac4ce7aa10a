//! Writes the corpus as seeds for the fuzz targets, into the folders where cargo-fuzz looks for them.

#[path = "../fuzz/src/lib.rs"]
#[expect(dead_code, unreachable_pub, reason = "the fuzz crate's own library")]
mod targets;

use std::fs;
use std::path::Path;

use latchkey_secret::SecretValue;
use serde_json::Value;

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = |target| root.join("fuzz/corpus").join(target);
    for target in ["parse", "render", "printf"] {
        fs::create_dir_all(folder(target))?;
    }
    let cases = fs::read_to_string(root.join("tests/corpus/templates.jsonl"))?;
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line)?;
        let name = case["id"].as_str().unwrap_or_default();
        let text = case["template"].as_str().unwrap_or_default();
        let data = case["data"].as_object().into_iter().flatten();
        let data = data.map(|(key, value)| {
            let value = value.as_str().unwrap_or_default().to_owned();
            (key.clone(), SecretValue::from(value))
        });
        fs::write(folder("parse").join(name), format!("\0{text}"))?;
        fs::write(
            folder("render").join(name),
            targets::render_input(text, &data.collect()),
        )?;
        // What stands between quotes may be a format.
        for (index, format) in text
            .split('"')
            .enumerate()
            .filter(|(_, it)| it.contains('%'))
        {
            fs::write(folder("printf").join(format!("{name}-{index}")), format)?;
        }
    }
    Ok(())
}
