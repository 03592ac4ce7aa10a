//! Sizes of the images, read from the docker-archives that `make images` wrote.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// Size of a block of a tar archive.
const BLOCK: usize = 512;

/// What an image weighs, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Its layers as they are on a node's disk.
    pub(crate) layers: u64,
    /// Its layers through `gzip`, as a registry holds and a node pulls them.
    pub(crate) compressed: u64,
    /// The largest file in it: the program.
    pub(crate) program: u64,
}

/// Reads the archive at `path`.
pub(crate) fn size(path: &Path) -> Result<Size> {
    let archive = fs::read(path)
        .with_context(|| format!("no image at {}; `make images` writes it", path.display()))?;
    measure(&archive).with_context(|| format!("failed to read {}", path.display()))
}

fn measure(archive: &[u8]) -> Result<Size> {
    let entries = entries(archive)?;
    let content = |name: &str| {
        let found = entries.iter().find(|(have, _)| have == name);
        found
            .map(|(_, content)| *content)
            .with_context(|| format!("the archive has no {name}"))
    };
    let manifest: Value = serde_json::from_slice(content("manifest.json")?)?;
    let mut total = Size {
        layers: 0,
        compressed: 0,
        program: 0,
    };
    let layers = manifest[0]["Layers"]
        .as_array()
        .context("the manifest has no layers")?;
    for layer in layers {
        let layer = content(layer.as_str().context("a layer without a name")?)?;
        ensure!(
            !layer.starts_with(&[0x1f, 0x8b]),
            "a layer is compressed in the archive"
        );
        total.layers += length(layer);
        total.compressed += compressed(layer)?;
        let largest = self::entries(layer)?
            .iter()
            .map(|(_, file)| length(file))
            .max();
        total.program = total.program.max(largest.unwrap_or_default());
    }
    Ok(total)
}

/// Names and contents of the regular files of a tar archive.
fn entries(archive: &[u8]) -> Result<Vec<(String, &[u8])>> {
    let mut found = Vec::new();
    let mut rest = archive;
    while let Some((header, after)) = rest.split_at_checked(BLOCK) {
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let size = octal(&header[124..136]).context("a tar header without a size")?;
        let content = after.get(..size).context("the tar archive is cut off")?;
        if matches!(header[156], b'0' | 0) {
            let prefix = match &header[257..262] {
                b"ustar" => text(&header[345..500]),
                _ => String::new(),
            };
            let name = text(&header[..100]);
            let name = match prefix.is_empty() {
                true => name,
                false => format!("{prefix}/{name}"),
            };
            found.push((name, content));
        }
        rest = after
            .get(size.next_multiple_of(BLOCK)..)
            .unwrap_or_default();
    }
    Ok(found)
}

fn text(field: &[u8]) -> String {
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

fn octal(field: &[u8]) -> Option<usize> {
    usize::from_str_radix(text(field).trim(), 8).ok()
}

fn compressed(layer: &[u8]) -> Result<u64> {
    let mut gzip = Command::new("gzip")
        .args(["-6", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to run gzip")?;
    let mut input = gzip.stdin.take().context("gzip has no standard input")?;
    let output = std::thread::scope(|scope| {
        // Both ends of the pipe at once: gzip stops reading while nobody takes what it wrote.
        let writer = scope.spawn(move || input.write_all(layer));
        let output = gzip.wait_with_output();
        match writer.join() {
            Ok(written) => written.and(output),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    if !output.status.success() {
        bail!("gzip ended with {}", output.status);
    }
    Ok(length(&output.stdout))
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Whether all images are there, before minutes are spent on a cluster.
pub(crate) fn check(folder: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        let path = folder.join(format!("{name}.tar"));
        File::open(&path)
            .with_context(|| format!("no image at {}; run `make images`", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use latchkey_cluster::archive::{Tag, Tar, write};

    use super::*;

    #[test]
    fn layers_and_their_largest_file_are_counted() -> Result<()> {
        let mut layer = Tar::default();
        layer.folder("etc", 0o755)?;
        layer.file("etc/small", 0o644, b"x")?;
        layer.file("program", 0o755, &[7; 3000])?;
        layer.link("alias", "program")?;
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("image.tar");
        let tag = Tag {
            name: "docker.io/latchkey/a:1",
            entry_point: &["/program"],
        };
        write(&path, layer, &[tag])?;
        let size = size(&path)?;
        assert_eq!(size.program, 3000);
        // Four headers, one block and six blocks of content, two blocks at the end.
        assert_eq!(size.layers, 13 * 512);
        assert!((1..1000).contains(&size.compressed), "{size:?}");
        Ok(())
    }

    #[test]
    fn an_archive_that_is_cut_off_is_refused() -> Result<()> {
        let mut layer = Tar::default();
        layer.file("program", 0o755, &[7; 3000])?;
        let bytes = layer.finish();
        assert!(entries(&bytes[..1024]).is_err());
        assert!(measure(&bytes).is_err());
        Ok(())
    }
}
