//! How new content must be: `refreshInterval`, `startPolicy`, `maxStaleness` (csi.md 6.5, 8).

use std::time::Duration;

use super::quoted;
use super::scalars::parse_duration;

/// How old content may be under [`StartPolicy::AllowCached`] where the attributes do not say.
const DEFAULT_MAX_STALENESS: Duration = Duration::from_secs(24 * 60 * 60);

/// How often content is fetched again. The shorter is the lesser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refresh {
    /// Once in this time.
    Every(Duration),
    /// Only when what describes it changes.
    Never,
}

/// What a pod may start with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartPolicy {
    /// Content that is current; without it the pod waits.
    #[default]
    RequireFresh,
    /// While the provider cannot be reached, also content that is kept for other volumes of the node.
    AllowCached {
        /// How long ago it may have been fetched.
        max_staleness: Duration,
    },
}

// === impl Refresh ===

impl Refresh {
    /// Reads `refreshInterval`; `0s` means never.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let interval = parse_duration(text)?;
        Ok(match interval.is_zero() {
            true => Self::Never,
            false => Self::Every(interval),
        })
    }
}

// === impl StartPolicy ===

impl StartPolicy {
    /// Reads `startPolicy` with the value of `maxStaleness`.
    pub(super) fn parse(text: &str, max_staleness: Option<Duration>) -> Result<Self, String> {
        match text {
            "RequireFresh" => Ok(Self::RequireFresh),
            "AllowCached" => Ok(Self::AllowCached {
                max_staleness: max_staleness.unwrap_or(DEFAULT_MAX_STALENESS),
            }),
            _ => Err(format!(
                "is neither RequireFresh nor AllowCached: {}",
                quoted(text)
            )),
        }
    }
}
