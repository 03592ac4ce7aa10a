//! The protocol of sd_notify(3): a datagram for each change of state, where systemd asks for it.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to the service manager; nothing happens where there is none.
pub(super) struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

// === impl Notifier ===

impl Notifier {
    /// From `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub(super) fn from_environment() -> Self {
        let address = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let bytes = name.as_bytes();
            match bytes.strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name).ok(),
                None => SocketAddr::from_pathname(&name).ok(),
            }
        });
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        Self {
            socket: address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address))),
            watchdog: number("WATCHDOG_USEC")
                .filter(|microseconds| is_ours && *microseconds > 0)
                .map(Duration::from_micros),
        }
    }

    /// How often to send `WATCHDOG=1`: twice in the time that systemd waits.
    pub(super) fn watchdog_interval(&self) -> Option<Duration> {
        self.socket.as_ref()?;
        self.watchdog.map(|limit| limit / 2)
    }

    /// Sends lines such as `READY=1`. Errors are ignored: nobody could do better.
    pub(super) fn send(&self, state: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.set_nonblocking(true);
            let _ = socket.send_to_addr(state.as_bytes(), address);
        }
    }
}
