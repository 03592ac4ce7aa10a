//! The wire contracts and their generated types.
//!
//! | package | services | spoken between |
//! |---|---|---|
//! | [`provider::v1`] | `SecretStoreProvider` | agent and provider, over mutual TLS |
//! | [`generator::v1`] | `GeneratorProvider` | agent and provider, over mutual TLS |
//! | [`csi::v1`] | `Identity`, `Node` | kubelet and agent, over a Unix socket |
//! | [`fake::v1`] | `Control` | tests and the Fake provider, on a loopback address |
//! | [`pluginregistration`] | `Registration` | kubelet and agent, over a Unix socket |
//!
//! The two provider packages are byte for byte those of External Secrets' out-of-process providers, so field numbers never
//! change here, and the numbers that an earlier generation of them used for something else are reserved. `csi.v1` is the part
//! of CSI 1.12 that a plugin without controller serves.
//!
//! Maps are ordered, so that logs, hashes and files are deterministic. Messages that can carry secrets, tokens or volume
//! contexts print their sizes instead of their content.

#![expect(
    clippy::allow_attributes,
    reason = "generated code allows what it needs"
)]

mod code;
mod redact;

pub use code::code_name;

/// Secret stores behind a provider.
pub mod provider {
    /// Version 1 of the contract.
    pub mod v1 {
        tonic::include_proto!("provider.v1");
    }
}

/// Generators behind a provider.
pub mod generator {
    /// Version 1 of the contract.
    pub mod v1 {
        tonic::include_proto!("generator.v1");
    }
}

/// The Container Storage Interface.
pub mod csi {
    /// Version 1 of the contract.
    pub mod v1 {
        tonic::include_proto!("csi.v1");
    }
}

/// Control of the Fake provider.
pub mod fake {
    /// Version 1 of the contract.
    pub mod v1 {
        tonic::include_proto!("fake.v1");
    }
}

/// Registration of a plugin with kubelet.
pub mod pluginregistration {
    tonic::include_proto!("pluginregistration");
}

/// All contracts as an encoded `google.protobuf.FileDescriptorSet`, for reflection and for tests.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/contracts.bin"));
