//! Rotations as applications see them, and what an interrupted one leaves.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::mount::MountFlags;

use crate::backend::{Trigger, Update};
use crate::testing::{files, in_mount_namespace, until};
use crate::volumes::bench::Bench;

/// Entries of the volume's root; the generation by the name `..generation`.
fn listing(bench: &Bench) -> Vec<String> {
    let mut names = std::fs::read_dir(bench.root.target("u"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| match name.starts_with("..2") {
            true => "..generation".to_owned(),
            false => name,
        })
        .collect::<Vec<_>>();
    names.sort();
    names
}

/// Rotates to `content` and waits until that is all that the volume shows.
async fn rotate(bench: &Bench, content: &[(&str, &str)]) {
    bench
        .script
        .update(Update::Content(files(content), Trigger::Interval));
    let mut expected = BTreeSet::from(["..data".to_owned(), "..generation".to_owned()]);
    expected.extend(
        content
            .iter()
            .map(|(path, _)| path.split('/').next().unwrap().to_owned()),
    );
    let expected = expected.into_iter().collect::<Vec<_>>();
    let shown = |(path, text): &(&str, &str)| {
        std::fs::read_to_string(bench.root.target("u").join(path)).is_ok_and(|found| found == *text)
    };
    until("the rotation", || {
        listing(bench) == expected && content.iter().all(shown)
    })
    .await;
}

/// Makes the volume writable, as a privileged container can, and hands it to `change`.
fn tamper(bench: &Bench, change: impl FnOnce(&Path)) {
    let target = bench.root.target("u");
    rustix::mount::mount_remount(&target, MountFlags::BIND, "").unwrap();
    change(&target);
    rustix::mount::mount_remount(&target, MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
}

/// R12: one set or the other, never a mixture, never nothing.
#[test]
fn rotation_under_8_readers_pair_consistency() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        bench.config.generation_grace = Duration::from_millis(100);
        bench.restart().await;
        bench
            .script
            .answer(Ok(files(&[("crt", "0"), ("key", "0")])));
        bench.publish("u").await.unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let reads = Arc::new(AtomicUsize::new(0));
        let readers = (0..8).map(|_| {
            let (target, done, reads) = (bench.root.target("u"), done.clone(), reads.clone());
            // Blocking threads of this runtime share the test's mount namespace.
            tokio::task::spawn_blocking(move || {
                let read = |path: &Path| match std::fs::read_to_string(path) {
                    // A reader that was held up for longer than the grace starts over.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                    text => Some(text.unwrap()),
                };
                while !done.load(Ordering::Relaxed) {
                    // As a careful application: resolve the generation once, then read both.
                    let generation =
                        target.join(std::fs::read_link(target.join("..data")).unwrap());
                    let pair = (read(&generation.join("crt")), read(&generation.join("key")));
                    let (Some(crt), Some(key)) = pair else {
                        continue;
                    };
                    assert_eq!(crt, key);
                    assert_ne!(read(&target.join("crt")).as_deref(), Some(""));
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let readers = readers.collect::<Vec<_>>();
        for round in 1..=25 {
            let value = round.to_string();
            let content = files(&[("crt", &value), ("key", &value)]);
            bench
                .script
                .update(Update::Content(content, Trigger::Interval));
            until("the rotation", || bench.read("u", "key") == value).await;
        }
        until("reads", || reads.load(Ordering::Relaxed) > 100).await;
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.await.unwrap();
        }
    });
}

#[test]
fn key_added() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.script.answer(Ok(files(&[("a", "1")])));
        bench.publish("u").await.unwrap();
        rotate(&bench, &[("a", "1"), ("b", "2")]).await;
        rotate(
            &bench,
            &[("a", "1"), ("b", "2"), ("c/d", "3"), ("c/e/f", "4")],
        )
        .await;
    });
}

#[test]
fn key_removed() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        rotate(&bench, &[("tls.crt", "cert-1")]).await;
        assert!(
            bench
                .root
                .target("u")
                .join("conf")
                .symlink_metadata()
                .is_err()
        );
        // An ExternalSecret without keys is a legal volume.
        rotate(&bench, &[]).await;
        rotate(&bench, &[("tls.crt", "")]).await;
    });
}

#[test]
fn key_renamed_dir_file() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.script.answer(Ok(files(&[("x", "file")])));
        bench.publish("u").await.unwrap();
        rotate(&bench, &[("x/y", "file in a directory")]).await;
        rotate(&bench, &[("x/y/z", "deeper")]).await;
        rotate(&bench, &[("x", "a file again")]).await;
        rotate(&bench, &[("y", "renamed")]).await;
    });
}

/// The new generation and its link are there, the switch is not: the old content is shown, and the next start tidies up.
#[test]
fn crash_between_symlink_and_rename() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        tamper(&bench, |volume| {
            let generation = "..2026_01_01_00_00_00.crashed";
            std::fs::create_dir(volume.join(generation)).unwrap();
            std::fs::write(volume.join(generation).join("tls.crt"), "cert-2").unwrap();
            std::os::unix::fs::symlink(generation, volume.join("..data_tmp.crashed")).unwrap();
        });
        bench.restart().await;
        assert_eq!(bench.read("u", "tls.crt"), "cert-1");
        let tidy = ["..data", "..generation", "conf", "tls.crt"];
        until("the sweep", || listing(&bench) == tidy).await;
        rotate(&bench, &[("tls.crt", "cert-3")]).await;
    });
}

/// csi-peers.md 3 (kubelet atomic writer): kubelet's own writer stays stuck for ever on such a leftover.
#[test]
fn leftover_data_tmp() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        tamper(&bench, |volume| {
            for name in ["..data_tmp", "..data_tmp.0a1b"] {
                std::os::unix::fs::symlink("..2020_01_01_00_00_00.1", volume.join(name)).unwrap();
            }
        });
        rotate(&bench, &[("tls.crt", "cert-2")]).await;
        rotate(&bench, &[("tls.crt", "cert-3")]).await;
    });
}

/// What happens in the watched place, each as `what name`.
fn drain(reader: &mut inotify::Reader<'_, &std::os::fd::OwnedFd>) -> Vec<(i32, String)> {
    let names = [
        (ReadFlags::CREATE, "CREATE"),
        (ReadFlags::MOVED_FROM, "MOVED_FROM"),
        (ReadFlags::MOVED_TO, "MOVED_TO"),
        (ReadFlags::DELETE, "DELETE"),
        (ReadFlags::ATTRIB, "ATTRIB"),
        (ReadFlags::DELETE_SELF, "DELETE_SELF"),
        (ReadFlags::MODIFY, "MODIFY"),
        (ReadFlags::IGNORED, "IGNORED"),
    ];
    let mut seen = Vec::new();
    while let Ok(event) = reader.next() {
        let what = names
            .iter()
            .find(|(flag, _)| event.events().contains(*flag))
            .map_or("?", |(_, what)| what);
        let name = event.file_name().map(|name| name.to_str().unwrap());
        let name = name.map_or("", |name| match name {
            name if name.starts_with("..2") => "generation",
            name if name.starts_with("..data_tmp") => "..data_tmp",
            name => name,
        });
        seen.push((event.wd(), format!("{what} {name}").trim_end().to_owned()));
    }
    seen
}

#[test]
fn inotify_sequence_as_in_6_2() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        bench.config.generation_grace = Duration::from_millis(500);
        bench.restart().await;
        bench.script.answer(Ok(files(&[("a", "1")])));
        bench.publish("u").await.unwrap();
        let volume = bench.root.target("u");
        let inotify = inotify::init(CreateFlags::NONBLOCK).unwrap();
        let entries =
            WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
        let itself = WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MODIFY;
        let directory = inotify::add_watch(&inotify, &volume, entries).unwrap();
        let file = inotify::add_watch(&inotify, volume.join("a"), itself).unwrap();
        let link = inotify::add_watch(
            &inotify,
            volume.join("..data"),
            itself | WatchFlags::DONT_FOLLOW,
        )
        .unwrap();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&inotify, &mut buffer);

        let content = files(&[("a", "2"), ("new", "3")]);
        bench
            .script
            .update(Update::Content(content, Trigger::Interval));
        let mut seen = Vec::new();
        until("the new key", || volume.join("new").exists()).await;
        seen.extend(drain(&mut reader));
        let of = |seen: &[(i32, String)], watch: i32| {
            let events = seen.iter().filter(|(wd, _)| *wd == watch);
            events.map(|(_, what)| what.clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            of(&seen, directory),
            [
                "CREATE generation",
                "CREATE ..data_tmp",
                "MOVED_FROM ..data_tmp",
                "MOVED_TO ..data",
                "CREATE new"
            ]
        );
        assert_eq!(of(&seen, file), [""; 0], "nothing at the switch");
        assert_eq!(of(&seen, link), ["ATTRIB", "DELETE_SELF", "IGNORED"]);

        // After the grace the old generation goes.
        until("the sweep", || {
            listing(&bench) == ["..data", "..generation", "a", "new"]
        })
        .await;
        let seen = drain(&mut reader);
        assert_eq!(of(&seen, directory), ["DELETE generation"]);
        assert_eq!(of(&seen, file), ["ATTRIB", "DELETE_SELF", "IGNORED"]);
    });
}
