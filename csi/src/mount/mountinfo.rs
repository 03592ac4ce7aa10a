//! Reading `/proc/thread-self/mountinfo` (proc(5)).

use std::io;

/// One mount of this thread's mount namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountInfo {
    /// Id of the mount, as `statx` reports it.
    pub(crate) id: u64,
    /// Where it is attached, unescaped.
    pub(crate) point: String,
    /// Whether it is in a peer group: mounts below it reach other namespaces.
    pub(crate) shared: bool,
    /// Type of its filesystem.
    pub(crate) kind: String,
    /// What it says it was mounted from.
    pub(crate) source: String,
}

/// All mounts, in the order of the kernel: of mounts stacked at one point the last one is on top.
pub(crate) fn read() -> io::Result<Vec<MountInfo>> {
    Ok(std::fs::read_to_string("/proc/thread-self/mountinfo")?
        .lines()
        .filter_map(parse)
        .collect())
}

fn parse(line: &str) -> Option<MountInfo> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ');
    let id = front.next()?.parse().ok()?;
    let point = unescape(front.nth(3)?);
    let shared = front.skip(1).any(|field| field.starts_with("shared:"));
    let mut back = back.split(' ');
    Some(MountInfo {
        id,
        point,
        shared,
        kind: back.next()?.to_owned(),
        source: unescape(back.next()?),
    })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'\\'
            && let Some(digits) = tail.get(..3)
            && let Some(value) = std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 8).ok())
        {
            bytes.push(value);
            rest = &tail[3..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{MountInfo, parse, read};

    #[test]
    fn lines_of_the_kernel_are_understood() {
        let line =
            r"36 35 98:0 / /mnt/a\040b ro,noatime shared:1 master:2 - tmpfs latchkey rw,size=64k";
        let expected = MountInfo {
            id: 36,
            point: "/mnt/a b".to_owned(),
            shared: true,
            kind: "tmpfs".to_owned(),
            source: "latchkey".to_owned(),
        };
        assert_eq!(parse(line), Some(expected));
        let private = parse("36 35 98:0 / /mnt ro - tmpfs none rw").unwrap();
        assert!(!private.shared);
        assert_eq!(parse("garbage"), None);
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(read().unwrap().iter().any(|mount| mount.point == "/"));
    }
}
