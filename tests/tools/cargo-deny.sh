#!/usr/bin/env bash
# Installs cargo-deny, pinned, into the cache and prints its path; --print only prints where it would be.
set -euo pipefail

version=0.20.2
root="${LATCHKEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/latchkey}/tools/cargo-deny-$version"
program="$root/bin/cargo-deny"

if [ "${1:-}" != --print ] && [ ! -x "$program" ]; then
    echo "cargo-deny: installing $version" >&2
    # A target folder of its own: its dependencies are not the workspace's.
    CARGO_TARGET_DIR="$root/target" cargo install --quiet --locked --root "$root" --version "$version" cargo-deny >&2
    rm -rf "$root/target"
fi
echo "$program"
