//! Compiles the contracts without a protoc binary.

use std::path::{Path, PathBuf};

use prost::Message as _;

/// The contracts, relative to this crate.
const CONTRACTS: [&str; 5] = [
    "contracts/provider.v1.proto",
    "contracts/generator.v1.proto",
    "contracts/csi.v1.proto",
    "contracts/pluginregistration.proto",
    "contracts/fake.v1.proto",
];

/// Messages that can carry secrets, tokens or volume contexts; `src/redact.rs` writes their `Debug` by hand.
const SENSITIVE: [&str; 14] = [
    ".provider.v1.GetSecretResponse",
    ".provider.v1.GetSecretMapResponse",
    ".provider.v1.GetAllSecretsResponse",
    ".provider.v1.PushSecretRequest",
    ".provider.v1.PushSecretData",
    ".provider.v1.Error",
    ".generator.v1.GenerateResponse",
    ".generator.v1.CleanupRequest",
    ".csi.v1.NodeStageVolumeRequest",
    ".csi.v1.NodePublishVolumeRequest",
    ".csi.v1.NodeExpandVolumeRequest",
    ".csi.v1.VolumeCapability.MountVolume",
    ".fake.v1.PutRequest",
    ".fake.v1.GetResponse",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for contract in CONTRACTS {
        println!("cargo:rerun-if-changed={contract}");
    }
    let descriptors = protox::compile(CONTRACTS, ["contracts"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set by cargo")?);
    write_descriptors(&descriptors, &out.join("contracts.bin"))?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .btree_map(".")
        .skip_debug(SENSITIVE)
        .compile_fds(descriptors)?;
    Ok(())
}

/// Keeps the descriptors for tests and tools, without comments and positions.
fn write_descriptors(
    descriptors: &prost_types::FileDescriptorSet,
    path: &Path,
) -> Result<(), std::io::Error> {
    let mut bare = descriptors.clone();
    for file in &mut bare.file {
        file.source_code_info = None;
    }
    std::fs::write(path, bare.encode_to_vec())
}
