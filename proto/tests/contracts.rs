//! The wire form of the provider contracts, pinned (provider-protocol.md 1.1 to 1.6), and what `Debug` may show.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};

use latchkey_proto::{FILE_DESCRIPTOR_SET, csi, generator, pluginregistration, provider};
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};

fn file(package: &str) -> FileDescriptorProto {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET)
        .unwrap()
        .file
        .into_iter()
        .find(|file| file.package() == package)
        .unwrap()
}

/// `number name type` of each field, as in the tables of the specification.
fn fields(message: &DescriptorProto) -> Vec<String> {
    let map_entry = |type_name: &str| {
        message
            .nested_type
            .iter()
            .find(|nested| {
                nested
                    .options
                    .as_ref()
                    .is_some_and(|options| options.map_entry())
                    && type_name.ends_with(&format!(".{}", nested.name()))
            })
            .map(|nested| {
                format!(
                    "map<{},{}>",
                    scalar(nested.field[0].r#type()),
                    scalar(nested.field[1].r#type())
                )
            })
    };
    let mut fields: Vec<_> = message
        .field
        .iter()
        .map(|field| {
            let base = match field.r#type() {
                Type::Message | Type::Enum => map_entry(field.type_name())
                    .unwrap_or_else(|| field.type_name().rsplit('.').next().unwrap().to_owned()),
                other => scalar(other).to_owned(),
            };
            let repeated = field.label() == Label::Repeated && !base.starts_with("map<");
            let repeated = if repeated { "repeated " } else { "" };
            (
                field.number(),
                format!("{} {} {repeated}{base}", field.number(), field.name()),
            )
        })
        .collect();
    fields.sort();
    fields.into_iter().map(|(_, text)| text).collect()
}

fn scalar(of: Type) -> &'static str {
    match of {
        Type::String => "string",
        Type::Bytes => "bytes",
        Type::Bool => "bool",
        Type::Int64 => "int64",
        other => panic!("unexpected type {other:?}"),
    }
}

fn table(file: &FileDescriptorProto) -> BTreeMap<String, Vec<String>> {
    file.message_type
        .iter()
        .map(|message| (message.name().to_owned(), fields(message)))
        .collect()
}

fn expect(rows: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    rows.iter()
        .map(|(name, fields)| {
            (
                (*name).to_owned(),
                fields.iter().map(|field| (*field).to_owned()).collect(),
            )
        })
        .collect()
}

#[test]
fn provider_messages_have_the_numbers_of_section_1_3() {
    // PC-29: no message has a field with a burned number.
    const REMOTE: &str = "remote_ref ExternalSecretDataRemoteRef";
    const PROVIDER: &str = "provider_ref ProviderReference";
    let get = [
        &*format!("1 {REMOTE}"),
        &*format!("2 {PROVIDER}"),
        "3 source_namespace string",
    ];
    let push_ref = [
        "1 provider_ref ProviderReference",
        "2 remote_ref PushSecretRemoteRef",
        "3 source_namespace string",
    ];
    let secrets = ["1 secrets map<string,bytes>"];
    assert_eq!(
        table(&file("provider.v1")),
        expect(&[
            (
                "ProviderReference",
                &[
                    "1 api_version string",
                    "2 kind string",
                    "3 name string",
                    "4 namespace string",
                    "5 store_ref_kind string",
                ]
            ),
            ("GetSecretRequest", &get),
            ("GetSecretResponse", &["1 value bytes"]),
            ("GetSecretMapRequest", &get),
            ("GetSecretMapResponse", &secrets),
            (
                "ExternalSecretDataRemoteRef",
                &[
                    "1 key string",
                    "2 version string",
                    "3 property string",
                    "4 decoding_strategy string",
                    "5 metadata_policy string",
                ]
            ),
            (
                "ValidateRequest",
                &[
                    "1 provider_ref ProviderReference",
                    "2 source_namespace string"
                ]
            ),
            (
                "ValidateResponse",
                &[
                    "1 valid bool",
                    "2 error string",
                    "3 warnings repeated string"
                ]
            ),
            (
                "Error",
                &[
                    "1 code string",
                    "2 message string",
                    "3 retryable bool",
                    "4 details map<string,string>",
                ]
            ),
            (
                "PushSecretRequest",
                &[
                    "1 provider_ref ProviderReference",
                    "2 secret_data map<string,bytes>",
                    "3 push_secret_data PushSecretData",
                    "4 source_namespace string",
                    "5 secret_type string",
                    "6 secret_labels map<string,string>",
                    "7 secret_annotations map<string,string>",
                ]
            ),
            ("PushSecretResponse", &[]),
            (
                "PushSecretData",
                &[
                    "1 metadata bytes",
                    "2 secret_key string",
                    "3 remote_key string",
                    "4 property string",
                ]
            ),
            ("DeleteSecretRequest", &push_ref),
            ("DeleteSecretResponse", &[]),
            (
                "PushSecretRemoteRef",
                &["1 remote_key string", "2 property string"]
            ),
            ("SecretExistsRequest", &push_ref),
            ("SecretExistsResponse", &["1 exists bool"]),
            (
                "GetAllSecretsRequest",
                &[
                    "1 provider_ref ProviderReference",
                    "2 find ExternalSecretFind",
                    "3 source_namespace string",
                ]
            ),
            ("GetAllSecretsResponse", &secrets),
            (
                "ExternalSecretFind",
                &[
                    "1 path string",
                    "2 name FindName",
                    "3 tags map<string,string>",
                    "4 conversion_strategy string",
                    "5 decoding_strategy string",
                ]
            ),
            ("FindName", &["1 regexp string"]),
            (
                "CapabilitiesRequest",
                &[
                    "1 provider_ref ProviderReference",
                    "2 source_namespace string"
                ]
            ),
            (
                "CapabilitiesResponse",
                &["1 capabilities SecretStoreCapabilities"]
            ),
        ])
    );
}

#[test]
fn generator_messages_have_the_numbers_of_section_1_4() {
    assert_eq!(
        table(&file("generator.v1")),
        expect(&[
            (
                "GeneratorRef",
                &[
                    "1 api_version string",
                    "2 kind string",
                    "3 name string",
                    "4 namespace string"
                ]
            ),
            (
                "GenerateRequest",
                &["1 generator_ref GeneratorRef", "2 source_namespace string"]
            ),
            (
                "GenerateResponse",
                &["1 secrets map<string,bytes>", "2 state bytes"]
            ),
            (
                "CleanupRequest",
                &[
                    "1 generator_ref GeneratorRef",
                    "2 state bytes",
                    "3 source_namespace string"
                ]
            ),
            ("CleanupResponse", &[]),
        ])
    );
}

#[test]
fn services_have_the_paths_of_sections_1_1_and_1_2() {
    let methods = |package: &str| -> BTreeSet<String> {
        let file = file(package);
        file.service
            .iter()
            .flat_map(|service| {
                service.method.iter().map(|method| {
                    assert!(!method.client_streaming() && !method.server_streaming());
                    assert_eq!(
                        method.input_type(),
                        format!(".{package}.{}Request", method.name())
                    );
                    assert_eq!(
                        method.output_type(),
                        format!(".{package}.{}Response", method.name())
                    );
                    format!("/{package}.{}/{}", service.name(), method.name())
                })
            })
            .collect()
    };
    let paths = |prefix: &str, names: &[&str]| -> BTreeSet<String> {
        names
            .iter()
            .map(|name| format!("{prefix}/{name}"))
            .collect()
    };
    assert_eq!(
        methods("provider.v1"),
        paths(
            "/provider.v1.SecretStoreProvider",
            &[
                "GetSecret",
                "GetSecretMap",
                "PushSecret",
                "DeleteSecret",
                "SecretExists",
                "GetAllSecrets",
                "Validate",
                "Capabilities",
            ]
        )
    );
    assert_eq!(
        methods("generator.v1"),
        paths("/generator.v1.GeneratorProvider", &["Generate", "Cleanup"])
    );
    assert_eq!(
        provider::v1::secret_store_provider_server::SERVICE_NAME,
        "provider.v1.SecretStoreProvider"
    );
    assert_eq!(
        generator::v1::generator_provider_server::SERVICE_NAME,
        "generator.v1.GeneratorProvider"
    );
    assert_eq!(csi::v1::identity_server::SERVICE_NAME, "csi.v1.Identity");
    assert_eq!(csi::v1::node_server::SERVICE_NAME, "csi.v1.Node");
    assert_eq!(
        pluginregistration::registration_server::SERVICE_NAME,
        "pluginregistration.Registration"
    );
}

#[test]
fn capabilities_have_the_numbers_of_section_1_3() {
    use provider::v1::SecretStoreCapabilities as Capabilities;
    let cases = [
        (0, Capabilities::ReadOnly, "READ_ONLY"),
        (1, Capabilities::WriteOnly, "WRITE_ONLY"),
        (2, Capabilities::ReadWrite, "READ_WRITE"),
    ];
    for (number, value, name) in cases {
        assert_eq!(value as i32, number);
        assert_eq!(value.as_str_name(), name);
    }
    // Unknown numbers survive decoding (1.7).
    let response = provider::v1::CapabilitiesResponse { capabilities: 7 };
    let again = provider::v1::CapabilitiesResponse::decode(&*response.encode_to_vec()).unwrap();
    assert_eq!(again.capabilities, 7);
}

#[test]
fn burned_numbers_are_reserved() {
    // Section 1.6, PC-29.
    let cases = [
        ("GetSecretRequest", 4),
        ("GetSecretMapRequest", 4),
        ("ValidateRequest", 3),
        ("PushSecretRequest", 8),
        ("DeleteSecretRequest", 4),
        ("SecretExistsRequest", 4),
        ("GetAllSecretsRequest", 4),
    ];
    let file = file("provider.v1");
    for (name, number) in cases {
        let message = file
            .message_type
            .iter()
            .find(|message| message.name() == name)
            .unwrap();
        let reserved = message
            .reserved_range
            .iter()
            .any(|range| (range.start()..range.end()).contains(&number));
        assert!(reserved, "{name} {number}");
    }
}

#[test]
fn get_secret_request_encodes_to_known_bytes() {
    // PC-29.
    let request = provider::v1::GetSecretRequest {
        remote_ref: Some(provider::v1::ExternalSecretDataRemoteRef {
            key: "k".into(),
            version: "v".into(),
            property: "p".into(),
            decoding_strategy: "d".into(),
            metadata_policy: "m".into(),
        }),
        provider_ref: Some(provider::v1::ProviderReference {
            api_version: "a/b".into(),
            kind: "K".into(),
            name: "n".into(),
            namespace: "s".into(),
            store_ref_kind: "S".into(),
        }),
        source_namespace: "x".into(),
    };
    let expected = [
        b"\x0a\x0f\x0a\x01k\x12\x01v\x1a\x01p\x22\x01d\x2a\x01m".as_slice(),
        b"\x12\x11\x0a\x03a/b\x12\x01K\x1a\x01n\x22\x01s\x2a\x01S",
        b"\x1a\x01x",
    ]
    .concat();
    assert_eq!(request.encode_to_vec(), expected);
}

#[test]
fn csi_publish_and_registration_have_their_real_numbers() {
    // CSI 1.12; csi.md 3.1.
    let csi = file("csi.v1");
    let find = |name: &str| {
        fields(
            csi.message_type
                .iter()
                .find(|message| message.name() == name)
                .unwrap(),
        )
    };
    assert_eq!(
        find("NodePublishVolumeRequest"),
        [
            "1 volume_id string",
            "2 publish_context map<string,string>",
            "3 staging_target_path string",
            "4 target_path string",
            "5 volume_capability VolumeCapability",
            "6 readonly bool",
            "7 secrets map<string,string>",
            "8 volume_context map<string,string>",
        ]
    );
    assert_eq!(
        find("NodeUnpublishVolumeRequest"),
        ["1 volume_id string", "2 target_path string"]
    );
    assert_eq!(
        find("NodeGetInfoResponse"),
        [
            "1 node_id string",
            "2 max_volumes_per_node int64",
            "3 accessible_topology Topology",
        ]
    );
    assert_eq!(
        find("VolumeUsage"),
        [
            "1 available int64",
            "2 total int64",
            "3 used int64",
            "4 unit Unit"
        ]
    );
    assert_eq!(
        table(&file("pluginregistration")),
        expect(&[
            ("InfoRequest", &[]),
            (
                "PluginInfo",
                &[
                    "1 type string",
                    "2 name string",
                    "3 endpoint string",
                    "4 supported_versions repeated string",
                ]
            ),
            (
                "RegistrationStatus",
                &["1 plugin_registered bool", "2 error string"]
            ),
            ("RegistrationStatusResponse", &[]),
        ])
    );
}

#[test]
fn debug_never_shows_contents() {
    const CANARY: &str = "canary-9f3a";
    let bytes = || CANARY.as_bytes().to_vec();
    let map = || BTreeMap::from([(CANARY.to_owned(), bytes())]);
    let texts = || BTreeMap::from([(CANARY.to_owned(), CANARY.to_owned())]);
    let capability = csi::v1::VolumeCapability {
        access_type: Some(csi::v1::volume_capability::AccessType::Mount(
            csi::v1::volume_capability::MountVolume {
                mount_flags: vec![CANARY.into()],
                ..Default::default()
            },
        )),
        access_mode: None,
    };
    let printed = [
        format!("{:?}", provider::v1::GetSecretResponse { value: bytes() }),
        format!(
            "{:?}",
            provider::v1::GetSecretMapResponse { secrets: map() }
        ),
        format!(
            "{:?}",
            provider::v1::GetAllSecretsResponse { secrets: map() }
        ),
        format!(
            "{:?}",
            provider::v1::PushSecretRequest {
                secret_data: map(),
                push_secret_data: Some(provider::v1::PushSecretData {
                    metadata: bytes(),
                    ..Default::default()
                }),
                secret_labels: texts(),
                secret_annotations: texts(),
                ..Default::default()
            }
        ),
        format!(
            "{:?}",
            provider::v1::Error {
                message: CANARY.into(),
                details: texts(),
                ..Default::default()
            }
        ),
        format!(
            "{:?}",
            generator::v1::GenerateResponse {
                secrets: map(),
                state: bytes()
            }
        ),
        format!(
            "{:?}",
            generator::v1::CleanupRequest {
                state: bytes(),
                ..Default::default()
            }
        ),
        format!(
            "{:?}",
            csi::v1::NodeStageVolumeRequest {
                publish_context: texts(),
                volume_capability: Some(capability.clone()),
                secrets: texts(),
                volume_context: texts(),
                ..Default::default()
            }
        ),
        format!(
            "{:?}",
            csi::v1::NodePublishVolumeRequest {
                volume_id: "vol-1".into(),
                publish_context: texts(),
                volume_capability: Some(capability),
                secrets: texts(),
                volume_context: texts(),
                ..Default::default()
            }
        ),
        format!(
            "{:?}",
            csi::v1::NodeExpandVolumeRequest {
                secrets: texts(),
                ..Default::default()
            }
        ),
    ];
    let numbers = format!("{:?}", CANARY.as_bytes());
    for text in &printed {
        assert!(!text.contains(CANARY), "{text}");
        assert!(!text.contains(numbers.trim_matches(['[', ']'])), "{text}");
    }
    assert!(printed[0].contains("<11 bytes>"), "{}", printed[0]);
    assert!(printed[8].contains("vol-1"), "{}", printed[8]);
}
