//! What a start finds: state files, mounts, both, or neither (csi.md 7.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::mount::UnmountFlags;

use crate::backend::{Trigger, Update};
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
