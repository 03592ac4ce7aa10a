//! What a start finds: state files, mounts, both, or neither (csi.md 7.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::mount::UnmountFlags;

use crate::backend::{FileSet, Shown, Trigger, Update};
use crate::board::VolumeHealth;
use crate::config::Config;
use crate::events::Event;
use crate::plugin::rig::Running;
use crate::testing::{files, in_mount_namespace, until};
use crate::volumes::Published;
use crate::volumes::bench::{Bench, our_mounts};

fn state_files(bench: &Bench) -> Vec<std::path::PathBuf> {
    let directory = bench.config.plugin_directory().join("volumes");
    std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

/// Put aside and treated as missing, whatever they say: the volume is adopted and served.
#[test]
fn state_file_corrupt_newer() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        let changes: [fn(&str) -> String; 4] = [
            |_| "{".to_owned(),
            |_| String::new(),
            |text| text.replace("\"schema\":1", "\"schema\":2"),
            |text| text.replace("kubernetes.io~csi", ".."),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            bench.publish("u").await.unwrap();
            let file = state_files(&bench).remove(0);
            let text = std::fs::read_to_string(&file).unwrap();
            assert_ne!(change(&text), text, "line {index}");
            std::fs::write(&file, change(&text)).unwrap();
            bench.restart().await;
            assert_eq!(state_files(&bench), [file.with_extension("bad")]);
            assert_eq!(bench.publish("u").await, Ok(Published::Again));
            assert_eq!(bench.read("u", "tls.crt"), "cert-1");
            bench.unpublish("u").await.unwrap();
            assert_eq!(our_mounts(), 0, "line {index}");
            std::fs::remove_file(file.with_extension("bad")).unwrap();
        }
        // A file of a newer agent of the same format has fields that this one does not know.
        bench.publish("u").await.unwrap();
        let file = state_files(&bench).remove(0);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replacen('{', "{\"added\":[1],", 1)).unwrap();
        bench.restart().await;
        assert_eq!(state_files(&bench), [file]);
        assert_eq!(bench.script.subscribed(), 10);
        bench.unpublish("u").await.unwrap();
        bench.assert_nothing_left("u");
    });
}

#[test]
fn mount_present_without_state() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        bench.publish("w").await.unwrap();
        for file in state_files(&bench) {
            std::fs::remove_file(file).unwrap();
        }
        bench.restart().await;
        assert_eq!(bench.publish("u").await, Ok(Published::Again));
        assert_eq!(bench.states(), 1);
        assert_eq!((bench.script.firsts(), our_mounts()), (2, 2));
        let content = files(&[("tls.crt", "cert-2")]);
        bench
            .script
            .update(Update::Content(content, Trigger::Interval));
        until("a rotation", || bench.read("u", "tls.crt") == "cert-2").await;
        assert_eq!(
            bench.read("w", "tls.crt"),
            "cert-1",
            "nobody knows what it is"
        );
        bench.unpublish("u").await.unwrap();
        bench.unpublish("w").await.unwrap();
        bench.assert_nothing_left("u");
    });
}

/// Of this boot it is lost and rebuilt, of an earlier one it goes.
#[test]
fn state_without_mount() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        let unmount = |bench: &Bench| {
            rustix::mount::unmount(bench.root.target("u"), UnmountFlags::DETACH).unwrap();
        };
        let lost = |bench: &Bench| {
            let events = bench.events.lock();
            events
                .iter()
                .any(|event| matches!(event, Event::VolumeLost { .. }))
        };
        bench.publish("u").await.unwrap();
        // While running.
        unmount(&bench);
        assert_eq!(bench.publish("u").await, Ok(Published::First));
        assert_eq!(bench.read("u", "tls.crt"), "cert-1");
        assert!(lost(&bench));
        // While nobody looked.
        unmount(&bench);
        bench.restart().await;
        assert!(lost(&bench));
        assert_eq!(bench.health("u"), Some(VolumeHealth::Lost));
        assert_eq!(bench.publish("u").await, Ok(Published::First));
        // Lost, and then kubelet wants it no longer.
        unmount(&bench);
        bench.restart().await;
        bench.unpublish("u").await.unwrap();
        bench.assert_nothing_left("u");
        // An earlier boot.
        bench.publish("u").await.unwrap();
        unmount(&bench);
        let file = state_files(&bench).remove(0);
        let text = std::fs::read_to_string(&file).unwrap();
        let earlier = text.replace(&crate::state::boot_id(), "earlier");
        std::fs::write(&file, earlier).unwrap();
        bench.restart().await;
        assert!(!lost(&bench));
        assert_eq!((bench.health("u"), bench.states()), (None, 0));
        assert_eq!(bench.publish("u").await, Ok(Published::First));
        bench.unpublish("u").await.unwrap();
        bench.assert_nothing_left("u");
    });
}

/// `pairs` known as `revision`, an hour old.
fn known(pairs: &[(&str, &str)], revision: &str) -> FileSet {
    FileSet {
        revision: Some(revision.into()),
        age: Duration::from_secs(3600),
        ..files(pairs)
    }
}

/// What is handed over for the one volume, and its files.
async fn read_back(bench: &Bench) -> Option<(Shown, Option<String>)> {
    let shown = bench.script.take_resumed().pop()?;
    let files = shown.read().await.map(|files| {
        let text = |file: &crate::backend::File| {
            let content = String::from_utf8(file.content.expose().to_vec()).unwrap();
            format!("{}={content}", file.path)
        };
        files.iter().map(text).collect::<Vec<_>>().join(",")
    });
    Some((shown, files))
}

fn edit_state(bench: &Bench, edit: impl FnOnce(&mut serde_json::Value)) {
    let file = state_files(bench).remove(0);
    let mut state = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    edit(&mut state);
    std::fs::write(&file, serde_json::to_vec(&state).unwrap()).unwrap();
}

/// csi.md 6.5, 9.1: the backend is given back what it knew the content by and when it was current, and reads the files where they are
/// shown; nothing of them is in the state.
#[test]
fn content_of_an_adopted_volume_is_read_back_when_the_backend_asks() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        let content = [("conf/key", "canary"), ("empty", ""), ("tls.crt", "cert-1")];
        bench.script.answer(Ok(known(&content, "r1")));
        bench.publish("u").await.unwrap();
        let state = std::fs::read_to_string(&state_files(&bench)[0]).unwrap();
        assert!(state.contains("\"revision\":\"r1\""), "{state}");
        assert!(!state.contains("canary"), "{state}");
        for _ in 0..2 {
            bench.restart().await;
            let (shown, files) = read_back(&bench).await.unwrap();
            assert_eq!(shown.revision, "r1");
            let age = shown.last_success.elapsed().as_secs();
            assert!((3600..3700).contains(&age), "{age}");
            assert_eq!(
                files.as_deref(),
                Some("conf/key=canary,empty=,tls.crt=cert-1")
            );
            assert!(!format!("{shown:?}").contains("canary"));
        }
        let status = bench.board.get(&bench.target("u")).unwrap();
        assert!(status.last_success.unwrap().elapsed() >= Duration::from_secs(3600));

        // More than a volume may hold now.
        bench.config.max_volume_bytes = 11;
        bench.restart().await;
        assert_eq!(read_back(&bench).await.unwrap().1, None);
        bench.config.max_volume_bytes = 12;
        bench.restart().await;
        let (earlier, files) = read_back(&bench).await.unwrap();
        assert!(files.is_some());

        // Equal content that is known by something else is a matter of the state alone.
        let update = |set| bench.script.update(Update::Content(set, Trigger::Change));
        update(known(&content, "r2"));
        let saved = |text: &str| {
            let state = std::fs::read_to_string(&state_files(&bench)[0]).unwrap();
            state.contains(text)
        };
        until("the note", || saved("\"revision\":\"r2\"")).await;
        assert!(earlier.read().await.is_some());
        update(known(&[("tls.crt", "cert-2")], "r3"));
        until("the note", || saved("\"revision\":\"r3\"")).await;
        assert!(earlier.read().await.is_none(), "it shows something else");
        bench.restart().await;
        let (shown, files) = read_back(&bench).await.unwrap();
        assert_eq!(
            (shown.revision.as_str(), files.as_deref()),
            ("r3", Some("tls.crt=cert-2"))
        );
        bench.unpublish("u").await.unwrap();
        assert!(shown.read().await.is_none(), "it is gone");
        bench.assert_nothing_left("u");
    });
}

/// What the state does not speak of for sure is not handed over; the volume is adopted all the same.
#[test]
fn content_that_the_state_does_not_know_is_not_read_back() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        bench.script.answer(Ok(known(&[("key", "1")], "r1")));
        bench.publish("u").await.unwrap();
        let edits: [fn(&mut serde_json::Value); 3] = [
            // Of the version before this.
            |state| drop(state.as_object_mut().unwrap().remove("revision")),
            // Killed between the switch and the note.
            |state| state["generation"] = "..2026_11_22_04_30_00.0123456789".into(),
            // A clock that was set back.
            |state| {
                let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
                state["lastSuccess"] = later.to_string().into();
            },
        ];
        let before = std::fs::read(&state_files(&bench)[0]).unwrap();
        for (index, edit) in edits.into_iter().enumerate() {
            edit_state(&bench, edit);
            bench.restart().await;
            assert!(read_back(&bench).await.is_none(), "{index}");
            assert_eq!(bench.publish("u").await, Ok(Published::Again));
            std::fs::write(&state_files(&bench)[0], &before).unwrap();
        }
        bench.restart().await;
        assert!(read_back(&bench).await.is_some());
        // The next content is noted, whether it is written or not.
        edit_state(&bench, edits[0]);
        bench.restart().await;
        let update = Update::Content(known(&[("key", "1")], "r1"), Trigger::Interval);
        bench.script.update(update);
        until("the note", || {
            let state = std::fs::read_to_string(&state_files(&bench)[0]).unwrap();
            state.contains("\"revision\":\"r1\"")
        })
        .await;
        bench.unpublish("u").await.unwrap();
        bench.assert_nothing_left("u");
    });
}

/// R14 and csi.md 7.6: a container holds a file open and reads all the time while the agent is replaced, again and again, and
/// rotates in between; no read fails and no pair is torn.
#[test]
fn a_rolling_restart_changes_nothing_that_a_container_sees() {
    in_mount_namespace(|root| async move {
        let mut config = Config::new("node-1", "0");
        config.kubelet_root = root.path().to_owned();
        // Longer than any pause of a reader on a busy machine.
        config.generation_grace = Duration::from_secs(20);
        let mut running = Running::start_with(root, config.clone()).await;
        let pair = |value: usize| {
            let value = value.to_string();
            files(&[("crt", &value), ("key", &value)])
        };
        running.script.answer(Ok(pair(0)));
        running.publish(running.request("u")).await.unwrap();
        let volume = running.root.target("u");
        let open = std::fs::File::open(volume.join("crt")).unwrap();
        let (done, reads) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let reader = std::thread::spawn({
            let (volume, done, reads) = (volume.clone(), done.clone(), reads.clone());
            move || {
                while !done.load(Ordering::Relaxed) {
                    let generation =
                        volume.join(std::fs::read_link(volume.join("..data")).unwrap());
                    let read = |name: &str| std::fs::read_to_string(generation.join(name)).unwrap();
                    assert_eq!(read("crt"), read("key"));
                    assert!(
                        !std::fs::read_to_string(volume.join("key"))
                            .unwrap()
                            .is_empty()
                    );
                    reads.fetch_add(1, Ordering::Relaxed);
                    std::thread::yield_now();
                }
            }
        });
        for round in 1..=4 {
            let root = running.stop().await;
            running = Running::start_with(root, config.clone()).await;
            // The first content after a start is written at once; later ones wait for the grace.
            running
                .script
                .update(Update::Content(pair(round), Trigger::Interval));
            let shown = || std::fs::read_to_string(volume.join("key")).unwrap();
            if round == 1 {
                until("the rotation", || shown() == "1").await;
            }
            assert_eq!(running.script.firsts(), 0);
        }
        let enough = reads.load(Ordering::Relaxed) + 50;
        until("reads", || reads.load(Ordering::Relaxed) > enough).await;
        done.store(true, Ordering::Relaxed);
        reader.join().expect("no read failed");
        assert_eq!(std::io::read_to_string(open).unwrap(), "0");
        running.end("u").await.unwrap();
        running.stop().await;
    });
}
