//! Container images written by hand in the docker-archive format, for tests that need one without a build tool.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::layout::{PAUSE_IMAGE, TEST_IMAGE};
use crate::tools::hexadecimal;

/// A tar archive in memory, in the plain `ustar` format (POSIX.1-1988), owned by root, dated 0.
#[derive(Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    /// Adds a file with permission bits `mode`.
    ///
    /// # Errors
    /// When `name` is over 100 bytes.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.header(name, mode, content.len(), b'0', "")?;
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        Ok(())
    }

    /// Adds a folder.
    ///
    /// # Errors
    /// When `name` is over 100 bytes.
    pub fn folder(&mut self, name: &str, mode: u32) -> Result<()> {
        self.header(name, mode, 0, b'5', "")
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// When `name` or `target` is over 100 bytes.
    pub fn link(&mut self, name: &str, target: &str) -> Result<()> {
        self.header(name, 0o777, 0, b'2', target)
    }

    /// The archive's bytes.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }

    fn header(&mut self, name: &str, mode: u32, size: usize, kind: u8, target: &str) -> Result<()> {
        let mut block = [0_u8; 512];
        let mut put = |offset: usize, width: usize, text: &str| -> Result<()> {
            let slot = &mut block[offset..offset + width];
            slot.get_mut(..text.len())
                .with_context(|| format!("{text:?} does not fit a tar header"))?
                .copy_from_slice(text.as_bytes());
            Ok(())
        };
        put(0, 100, name)?;
        put(100, 8, &format!("{mode:07o}"))?;
        put(108, 8, "0000000")?;
        put(116, 8, "0000000")?;
        put(124, 12, &format!("{size:011o}"))?;
        put(136, 12, "00000000000")?;
        put(148, 8, "        ")?;
        put(157, 100, target)?;
        put(257, 8, "ustar\u{0}00")?;
        block[156] = kind;
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\u{0} ").as_bytes());
        self.bytes.extend_from_slice(&block);
        Ok(())
    }
}

/// One name of an image, with what runs in it.
pub struct Tag<'a> {
    /// Fully qualified name with tag, for instance `docker.io/latchkey/tool:1`.
    pub name: &'a str,
    /// Entry point, an absolute path first.
    pub entry_point: &'a [&'a str],
}

/// Writes a docker-archive at `path`: one layer, one image for each of `tags`.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, layer: Tar, tags: &[Tag<'_>]) -> Result<()> {
    let layer = layer.finish();
    let layer_digest = hexadecimal(digest(&SHA256, &layer).as_ref());
    let mut archive = Tar::default();
    archive.file("layer.tar", 0o644, &layer)?;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let mut manifest = Vec::<Value>::new();
    for tag in tags {
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Entrypoint": tag.entry_point, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
            "history": [{"created_by": "latchkey-cluster"}],
        });
        let config = serde_json::to_vec(&config)?;
        let name = format!("{}.json", hexadecimal(digest(&SHA256, &config).as_ref()));
        archive.file(&name, 0o644, &config)?;
        manifest.push(json!({"Config": name, "RepoTags": [tag.name], "Layers": ["layer.tar"]}));
    }
    archive.file("manifest.json", 0o644, &serde_json::to_vec(&manifest)?)?;
    fs::write(path, archive.finish()).with_context(|| format!("failed to write {}", path.display()))
}

/// A layer with the usual folders, busybox and a link for each of its applets; more files may be added to it.
///
/// # Errors
/// When busybox is missing or cannot list its applets.
pub fn busybox() -> Result<Tar> {
    let program = crate::prerequisites::find("busybox")
        .context("missing program: busybox (Debian package busybox-static)")?;
    let listed = std::process::Command::new(&program)
        .arg("--list")
        .output()
        .context("failed to run busybox --list")?;
    let applets = String::from_utf8(listed.stdout).context("busybox --list is not text")?;
    let mut layer = Tar::default();
    for folder in ["bin", "dev", "etc", "mnt", "proc", "run", "sys", "var"] {
        layer.folder(folder, 0o755)?;
    }
    layer.folder("tmp", 0o1777)?;
    layer.file("bin/busybox", 0o755, &fs::read(&program)?)?;
    for applet in applets
        .split_whitespace()
        .filter(|applet| *applet != "busybox")
    {
        layer.link(&format!("bin/{applet}"), "busybox")?;
    }
    Ok(layer)
}

/// Writes the images that every node has: the pause container and [`TEST_IMAGE`].
pub(crate) fn write_test_images(path: &Path) -> Result<()> {
    let tags = [
        Tag {
            name: PAUSE_IMAGE,
            entry_point: &["/bin/busybox", "sleep", "2147483647"],
        },
        Tag {
            name: TEST_IMAGE,
            entry_point: &["/bin/busybox", "sh"],
        },
    ];
    write(path, busybox()?, &tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tar itself is the judge: it checks the header sums.
    #[test]
    fn tar_lists_what_was_written() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a.tar");
        let mut tar = Tar::default();
        tar.folder("bin", 0o755)?;
        tar.file("bin/tool", 0o755, &[7; 513])?;
        tar.link("bin/alias", "tool")?;
        fs::write(&path, tar.finish())?;
        let listed = std::process::Command::new("tar")
            .arg("-tvf")
            .arg(&path)
            .output()?;
        assert!(
            listed.status.success(),
            "{}",
            String::from_utf8_lossy(&listed.stderr)
        );
        let text = String::from_utf8(listed.stdout)?;
        for part in ["drwxr-xr-x", "-rwxr-xr-x", " 513 ", "bin/alias -> tool"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        Ok(())
    }

    #[test]
    fn a_name_over_100_bytes_is_refused() {
        assert!(Tar::default().folder(&"x".repeat(101), 0o755).is_err());
    }
}
