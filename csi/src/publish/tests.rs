use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use latchkey_proto::csi::v1::volume_capability::{
    AccessMode, AccessType, BlockVolume, MountVolume,
};
use latchkey_proto::csi::v1::{NodePublishVolumeRequest, VolumeCapability};
use tonic::Code;

use super::{check, check_policy, check_settings};
use crate::backend::VolumeSettings;
use crate::config::Config;
use crate::error::NodeError;
use crate::status::Trust;
use crate::target::Roots;

struct Bench {
    _directory: tempfile::TempDir,
    config: Config,
    roots: Roots,
    pods: PathBuf,
}

fn bench() -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config::new("node-1", "0");
    config.kubelet_root = directory.path().to_owned();
    let pods = directory.path().join("pods");
    std::fs::create_dir(&pods).unwrap();
    let roots = Roots::open(&pods, None).unwrap();
    Bench {
        _directory: directory,
        config,
        roots,
        pods,
    }
}

fn request(bench: &Bench) -> NodePublishVolumeRequest {
    let context = [
        ("csi.storage.k8s.io/pod.name", "web-0"),
        ("csi.storage.k8s.io/pod.namespace", "shop"),
        ("csi.storage.k8s.io/pod.uid", "uid-1"),
        ("csi.storage.k8s.io/serviceAccount.name", "web"),
        ("csi.storage.k8s.io/ephemeral", "true"),
        (
            "csi.storage.k8s.io/serviceAccount.tokens",
            "{\"a\":{\"token\":\"canary\"}}",
        ),
        ("csi.storage.k8s.io/future", "x"),
        ("externalSecret", "db"),
    ];
    NodePublishVolumeRequest {
        volume_id: "csi-1".to_owned(),
        target_path: format!(
            "{}/uid-1/volumes/kubernetes.io~csi/v/mount",
            bench.pods.display()
        ),
        volume_capability: Some(capability(MountVolume::default(), 1)),
        readonly: true,
        volume_context: context
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..NodePublishVolumeRequest::default()
    }
}

fn capability(mount: MountVolume, mode: i32) -> VolumeCapability {
    VolumeCapability {
        access_type: Some(AccessType::Mount(mount)),
        access_mode: Some(AccessMode { mode }),
    }
}

fn mount(change: impl FnOnce(&mut MountVolume)) -> Option<VolumeCapability> {
    let mut mount = MountVolume::default();
    change(&mut mount);
    Some(capability(mount, 1))
}

#[test]
fn a_request_of_kubelet_is_taken_apart() {
    let bench = bench();
    let checked = check(
        request(&bench),
        &bench.config,
        &bench.roots,
        Trust::default(),
    )
    .unwrap();
    assert_eq!(checked.request.namespace, "shop");
    assert_eq!(checked.request.pod_name, "web-0");
    assert_eq!(checked.request.pod_uid, "uid-1");
    assert_eq!(checked.request.service_account, "web");
    assert_eq!(
        checked.request.attributes,
        BTreeMap::from([("externalSecret".to_owned(), "db".to_owned())])
    );
    assert_eq!((checked.gid, checked.context), (None, None));
    assert!(!format!("{:?}", checked.request).contains("canary"));
}

type Change = fn(&mut NodePublishVolumeRequest);

/// csi.md 1.3, one line per check.
#[test]
fn each_check_answers_with_its_code_and_says_why() {
    let bench = bench();
    let table: &[(Change, Code, &str)] = &[
        (|r| r.volume_id.clear(), Code::InvalidArgument, "volume_id"),
        (
            |r| r.target_path.clear(),
            Code::InvalidArgument,
            "target_path",
        ),
        (
            |r| r.volume_capability = None,
            Code::InvalidArgument,
            "volume_capability",
        ),
        (
            |r| r.volume_id = "x".repeat(129),
            Code::InvalidArgument,
            "128 bytes",
        ),
        (
            |r| r.volume_id = "a\nb".to_owned(),
            Code::InvalidArgument,
            "control",
        ),
        (
            |r| r.target_path = "relative".to_owned(),
            Code::InvalidArgument,
            "absolute",
        ),
        (
            |r| r.target_path.push_str("/../mount"),
            Code::InvalidArgument,
            "normalized",
        ),
        (
            |r| r.target_path = "/etc/shadow".to_owned(),
            Code::InvalidArgument,
            "kubelet-root",
        ),
        (
            |r| {
                r.volume_capability = Some(VolumeCapability {
                    access_type: Some(AccessType::Block(BlockVolume {})),
                    access_mode: Some(AccessMode { mode: 1 }),
                });
            },
            Code::InvalidArgument,
            "raw block",
        ),
        (
            |r| {
                r.volume_capability = Some(VolumeCapability {
                    access_type: None,
                    access_mode: Some(AccessMode { mode: 1 }),
                })
            },
            Code::InvalidArgument,
            "access_type",
        ),
        (
            |r| r.volume_capability = Some(capability(MountVolume::default(), 0)),
            Code::InvalidArgument,
            "access_mode",
        ),
        (
            |r| r.volume_capability = Some(capability(MountVolume::default(), 99)),
            Code::InvalidArgument,
            "access_mode",
        ),
        (
            |r| r.volume_capability = mount(|m| m.fs_type = "ext4".to_owned()),
            Code::InvalidArgument,
            "fsType",
        ),
        (
            |r| r.volume_capability = mount(|m| m.mount_flags = vec!["uid=0".to_owned()]),
            Code::InvalidArgument,
            "mount flags",
        ),
        (
            |r| r.volume_capability = mount(|m| m.mount_flags = vec!["context=a b".to_owned()]),
            Code::InvalidArgument,
            "mount flags",
        ),
        (
            |r| r.volume_capability = mount(|m| m.volume_mount_group = "4294967295".to_owned()),
            Code::InvalidArgument,
            "group",
        ),
        (
            |r| r.volume_capability = mount(|m| m.volume_mount_group = "-1".to_owned()),
            Code::InvalidArgument,
            "group",
        ),
        (
            |r| r.volume_capability = mount(|m| m.volume_mount_group = "+1".to_owned()),
            Code::InvalidArgument,
            "group",
        ),
        (
            |r| r.volume_capability = mount(|m| m.volume_mount_group = "staff".to_owned()),
            Code::InvalidArgument,
            "group",
        ),
        (
            |r| r.volume_capability = mount(|m| m.volume_mount_group = "99999999999".to_owned()),
            Code::InvalidArgument,
            "group",
        ),
        (
            |r| drop(r.volume_context.remove("csi.storage.k8s.io/ephemeral")),
            Code::InvalidArgument,
            "inline",
        ),
        (
            |r| {
                drop(r.volume_context.insert(
                    "csi.storage.k8s.io/ephemeral".to_owned(),
                    "false".to_owned(),
                ))
            },
            Code::InvalidArgument,
            "inline",
        ),
        (
            |r| r.readonly = false,
            Code::InvalidArgument,
            "readOnly: true",
        ),
        (
            |r| drop(r.volume_context.remove("csi.storage.k8s.io/pod.name")),
            Code::InvalidArgument,
            "pod.name",
        ),
        (
            |r| {
                drop(
                    r.volume_context
                        .remove("csi.storage.k8s.io/serviceAccount.name"),
                )
            },
            Code::InvalidArgument,
            "serviceAccount",
        ),
        (
            |r| {
                drop(
                    r.volume_context
                        .insert("csi.storage.k8s.io/pod.uid".to_owned(), "uid-2".to_owned()),
                )
            },
            Code::InvalidArgument,
            "uid",
        ),
        (
            |r| drop(r.secrets.insert("password".to_owned(), "canary".to_owned())),
            Code::InvalidArgument,
            "nodePublishSecretRef",
        ),
        (
            |r| {
                drop(
                    r.volume_context
                        .insert("big".to_owned(), "x".repeat(256 * 1024)),
                )
            },
            Code::InvalidArgument,
            "256 KiB",
        ),
    ];
    for (index, (change, code, text)) in table.iter().enumerate() {
        let mut request = request(&bench);
        change(&mut request);
        let error = check(request, &bench.config, &bench.roots, Trust::default()).unwrap_err();
        assert_eq!(error.code(), *code, "line {index}");
        assert!(error.to_string().contains(text), "line {index}: {error}");
        assert!(!error.to_string().contains("canary"), "line {index}");
    }
}

/// csi-sanity sends requests in which everything else is missing, too.
#[test]
fn the_first_failing_check_answers() {
    let bench = bench();
    let text = |request: NodePublishVolumeRequest| {
        check(request, &bench.config, &bench.roots, Trust::default())
            .unwrap_err()
            .to_string()
    };
    let empty = NodePublishVolumeRequest::default();
    assert!(text(empty.clone()).contains("volume_id"));
    let with_id = NodePublishVolumeRequest {
        volume_id: "id".to_owned(),
        ..empty
    };
    assert!(text(with_id.clone()).contains("target_path"));
    assert!(
        text(NodePublishVolumeRequest {
            target_path: "some/path".to_owned(),
            ..with_id
        })
        .contains("volume_capability")
    );
}

/// R7: the pod's keys are believed only while kubelet writes them.
#[test]
fn without_pod_info_nothing_is_believed() {
    let bench = bench();
    let untrusted = Trust {
        pod_info_on_mount: false,
        ..Trust::default()
    };
    assert_eq!(
        check(request(&bench), &bench.config, &bench.roots, untrusted),
        Err(NodeError::NoPodInfo)
    );
}

#[test]
fn tokens_may_come_in_secrets_and_change_nothing() {
    let bench = bench();
    let first = check(
        request(&bench),
        &bench.config,
        &bench.roots,
        Trust::default(),
    )
    .unwrap();
    let mut second = request(&bench);
    second
        .volume_context
        .remove("csi.storage.k8s.io/serviceAccount.tokens");
    second.secrets.insert(
        "csi.storage.k8s.io/serviceAccount.tokens".to_owned(),
        "{}".to_owned(),
    );
    assert_eq!(
        check(second, &bench.config, &bench.roots, Trust::default()).unwrap(),
        first
    );
}

#[test]
fn group_context_and_attributes_decide_the_digest() {
    let bench = bench();
    let digest = |change: Change| {
        let mut request = request(&bench);
        change(&mut request);
        check(request, &bench.config, &bench.roots, Trust::default())
            .unwrap()
            .digest
    };
    let digests = [
        digest(|_| {}),
        digest(|r| r.volume_capability = mount(|m| m.volume_mount_group = "0".to_owned())),
        digest(|r| r.volume_capability = mount(|m| m.volume_mount_group = "4294967294".to_owned())),
        digest(|r| {
            r.volume_capability = mount(|m| m.mount_flags = vec!["context=\"u:r:t:s0\"".to_owned()])
        }),
        digest(|r| {
            drop(
                r.volume_context
                    .insert("externalSecret".to_owned(), "other".to_owned()),
            )
        }),
        digest(|r| r.volume_id = "csi-2".to_owned()),
    ];
    for (index, left) in digests.iter().enumerate() {
        for right in &digests[index + 1..] {
            assert_ne!(left, right);
        }
    }
    let mut request = request(&bench);
    request.volume_capability =
        mount(|m| m.mount_flags = vec!["context=\"u:r:t:s0:c1,c2\"".to_owned()]);
    let checked = check(request, &bench.config, &bench.roots, Trust::default()).unwrap();
    assert_eq!(checked.context.as_deref(), Some("u:r:t:s0:c1,c2"));
}

#[test]
fn namespaces_outside_the_policy_are_refused() {
    let mut config = Config::new("node-1", "0");
    assert_eq!(check_policy(&config, "any"), Ok(()));
    config.allowed_namespaces = Some(BTreeSet::from(["shop".to_owned()]));
    assert_eq!(check_policy(&config, "shop"), Ok(()));
    assert_eq!(
        check_policy(&config, "other").unwrap_err().code(),
        Code::PermissionDenied
    );
}

/// csi.md 8: what the attributes ask for must be possible on this node.
#[test]
fn settings_out_of_bounds_are_refused() {
    let config = Config::new("node-1", "0");
    type Change = fn(&mut VolumeSettings);
    let table: [(Change, bool); 9] = [
        (|_| {}, true),
        (|settings| settings.uid = Some(u32::MAX - 1), true),
        (|settings| settings.uid = Some(u32::MAX), false),
        (|settings| settings.gid = Some(0), true),
        (|settings| settings.gid = Some(u32::MAX), false),
        (|settings| settings.default_mode = Some(0o777), true),
        (|settings| settings.default_mode = Some(0o1000), false),
        (|settings| settings.size_limit = Some(1 << 20), true),
        (|settings| settings.size_limit = Some((1 << 20) + 1), false),
    ];
    for (index, (change, legal)) in table.into_iter().enumerate() {
        let mut settings = VolumeSettings::default();
        change(&mut settings);
        let result = check_settings(&config, &settings);
        assert_eq!(result.is_ok(), legal, "line {index}");
        if let Err(error) = result {
            assert_eq!(error.code(), Code::InvalidArgument);
        }
    }
}

/// Options of a mount are parsed without a panic, and only one label is ever taken (csi.md 5.4).
#[test]
fn mount_flags_are_one_label_or_refused() {
    let table: [(&[&str], Option<Option<&str>>); 10] = [
        (&[], Some(None)),
        (&["context=u:r:t:s0"], Some(Some("u:r:t:s0"))),
        (
            &["context=\"u:r:t:s0:c1,c2\""],
            Some(Some("u:r:t:s0:c1,c2")),
        ),
        (&["context="], None),
        (&["context=\"\""], None),
        (&["context=a,size=1"], None),
        (&["context=a b"], None),
        (&["fscontext=a"], None),
        (&["ro"], None),
        (&["context=a:b", "context=c:d"], None),
    ];
    for (flags, expected) in table {
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        let found = super::check_mount_flags(&flags.collect::<Vec<_>>());
        let found = found.ok();
        let expected = expected.map(|label| label.map(str::to_owned));
        assert_eq!(found, expected);
    }
}

proptest::proptest! {
    /// Whatever the flags, a label that is taken holds no other option.
    #[test]
    fn no_flag_smuggles_an_option(flag in "(context=)?[\"a-z=:, \\x00-\\x20]{0,20}") {
        if let Ok(Some(label)) = super::check_mount_flags(&[flag]) {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b":_,.-".contains(&byte);
            proptest::prop_assert!(label.bytes().all(legal));
        }
    }

    /// Any text is a group id within the bounds or refused.
    #[test]
    fn a_group_is_a_number_or_refused(text in "\\PC{0,12}|[0-9]{1,12}") {
        if let Ok(Some(gid)) = super::check_group(&text) {
            proptest::prop_assert_ne!(gid, u32::MAX);
            proptest::prop_assert_eq!(text.parse::<u64>().unwrap(), u64::from(gid));
        }
    }
}
