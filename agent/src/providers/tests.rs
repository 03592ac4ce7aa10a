//! Calls over real sockets with real TLS. The provider is a few lines of `tonic` that does as it is told.

mod boundaries;
mod calls;
mod generators;
mod identities;
mod identity;
mod kept;
mod ladder;
mod logs;
mod maps;
mod pool;
mod server;
mod source;
mod tokens;
mod wire;
