//! The HashicorpVault provider server, for Vault and OpenBao.
