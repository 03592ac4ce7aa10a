//! What the fuzz targets call: promises about whatever pods' authors and kubelet may send. Not part of the interface.

use std::path::Path;

use latchkey_proto::csi::v1::NodePublishVolumeRequest;

use crate::config::Config;
use crate::publish::{check, check_mount_flags};
use crate::status::Trust;
use crate::target::{Roots, Target};
use crate::tokens::{ServiceAccountTokens, TokenDelivery};

const PODS: &str = "/var/lib/kubelet/pods";

/// A path, as it is and as part of one that is fine otherwise: what is accepted has kubelet's shape to the letter.
pub fn target_path(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let volume = format!("{PODS}/0-a/volumes/kubernetes.io~csi/{text}/mount");
    for path in [text.to_string(), format!("{PODS}/{text}"), volume] {
        let Ok(target) = Target::parse(&path, PODS, None) else {
            continue;
        };
        let uid = target.pod_uid().expect("only pods have volumes here");
        let name = target.volume_name();
        let expected = format!("{PODS}/{uid}/volumes/kubernetes.io~csi/{name}/mount");
        assert_eq!(path, expected, "the path is put together otherwise");
        let is_plain = |part: &str| !part.contains('/') && !["", ".", ".."].contains(&part);
        assert!(is_plain(uid) && is_plain(name), "more than one component");
        assert!(!path.chars().any(char::is_control), "a control character");
    }
}

/// The text of tokens: what is kept has the form of a signed one, and is not printed.
pub fn tokens(input: &[u8]) {
    let text = String::from_utf8_lossy(input).into_owned();
    let read = |delivery| {
        ServiceAccountTokens::of_publish(delivery, Some(text.clone()), Some(text.clone()))
    };
    assert!(read(TokenDelivery::Off).is_empty(), "none was to be read");
    let tokens = read(TokenDelivery::Secrets);
    assert_eq!(tokens, read(TokenDelivery::VolumeContext));
    for audience in tokens.audiences() {
        let token = tokens.get(audience).expect("it was listed").token.clone();
        let parts: Vec<&[u8]> = token.expose().split(|byte| *byte == b'.').collect();
        assert!(token.len() <= 16 << 10 && parts.len() == 3, "no token");
        assert!(parts.iter().all(|part| !part.is_empty()), "an empty part");
    }
}

/// Mount flags, parted by zero bytes: a refusal is one line that can be shown.
pub fn mount_flags(input: &[u8]) {
    let flags: Vec<String> = input
        .split(|byte| *byte == 0)
        .map(|flag| String::from_utf8_lossy(flag).into_owned())
        .collect();
    match check_mount_flags(&flags) {
        Ok(None) => {}
        Ok(Some(label)) => assert!(
            !label.contains('"') && !label.chars().any(char::is_control),
            "the label could be more than one option"
        ),
        Err(error) => assert_is_a_line(&error.to_string()),
    }
}

/// A whole request, as it comes over the wire: what is accepted is about the pod that the target names, and holds no key that kubelet
/// writes.
pub fn publish(request: NodePublishVolumeRequest) {
    let config = Config::new("n1", "0");
    let roots = Roots::open(Path::new("/"), None).expect("there is a root directory");
    let trust = Trust {
        pod_info_on_mount: true,
        tokens: TokenDelivery::Secrets,
    };
    match check(request, &config, &roots, trust) {
        Ok(checked) => {
            let request = &checked.request;
            assert_eq!(checked.target.pod_uid(), Some(request.pod_uid.as_str()));
            let is_reserved = |key: &String| {
                key.starts_with("csi.storage.k8s.io/") || key.starts_with("kubernetes.io/")
            };
            assert!(!request.attributes.keys().any(is_reserved), "kubelet's key");
            assert!(!request.namespace.is_empty() && !request.service_account.is_empty());
        }
        Err(error) => assert_is_a_line(&error.to_string()),
    }
}

fn assert_is_a_line(text: &str) {
    assert!(!text.chars().any(char::is_control), "more than a line");
    assert!(text.len() < 4096, "a long text");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use latchkey_proto::csi::v1::volume_capability::{
        AccessMode, AccessType, MountVolume, access_mode,
    };
    use latchkey_proto::csi::v1::{NodePublishVolumeRequest, VolumeCapability};
    use proptest::prelude::*;

    use super::{mount_flags, publish, target_path, tokens};
    use crate::tokens::tests::json;

    fn request(flags: Vec<String>, context: BTreeMap<String, String>) -> NodePublishVolumeRequest {
        let mount = MountVolume {
            mount_flags: flags,
            ..MountVolume::default()
        };
        let capability = VolumeCapability {
            access_mode: Some(AccessMode {
                mode: access_mode::Mode::SingleNodeReaderOnly.into(),
            }),
            access_type: Some(AccessType::Mount(mount)),
        };
        NodePublishVolumeRequest {
            volume_id: "v".to_owned(),
            target_path: "/u/volumes/kubernetes.io~csi/v/mount".to_owned(),
            volume_capability: Some(capability),
            readonly: true,
            volume_context: context,
            ..NodePublishVolumeRequest::default()
        }
    }

    proptest! {
        #[test]
        fn bytes_break_no_promise(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            for target in [target_path, tokens, mount_flags] {
                target(&input);
            }
        }

        #[test]
        fn texts_that_are_nearly_right_break_no_promise(
            path in "[a./~ -]{0,40}",
            flags in "[a-z=:\",_ ]{0,40}",
            key in "(csi.storage.k8s.io/|kubernetes.io/)?[a-zA-Z.]{0,20}",
        ) {
            target_path(path.as_bytes());
            mount_flags(format!("context={flags}").as_bytes());
            mount_flags(flags.as_bytes());
            tokens(json(&key, "cGF5").as_bytes());
            let kubelet = |name: &str| format!("csi.storage.k8s.io/{name}");
            let context = [
                (kubelet("ephemeral"), "true"),
                (kubelet("pod.name"), "p"),
                (kubelet("pod.namespace"), "n"),
                (kubelet("pod.uid"), "u"),
                (kubelet("serviceAccount.name"), "s"),
                (key, "value"),
            ];
            let context: BTreeMap<String, String> =
                context.map(|(key, value)| (key, value.to_owned())).into();
            publish(request(vec![], context.clone()));
            publish(request(vec![flags], context));
        }
    }
}
