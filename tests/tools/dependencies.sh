#!/usr/bin/env bash
# Guards the dependency tree without any tool but cargo.
#
#   tests/tools/dependencies.sh check     fail on a banned crate, or on another set of duplicate versions than is known
#   tests/tools/dependencies.sh accept    make the present duplicates the known ones
#
# deny.toml states the same bans for cargo-deny; these two are kept equal by hand.
set -euo pipefail
cd "$(dirname "$0")/../.."

known=tests/tools/duplicates.txt
# One TLS stack (rustls over aws-lc-rs) and maintained YAML and PEM readers.
banned='^(ring|openssl|openssl-sys|native-tls|serde_yaml|rustls-pemfile) v'

duplicates() {
    cargo tree --workspace --locked --duplicates --depth 0 --edges normal,build --prefix none --format '{p}' |
        # cargo also counts one version built twice with different features; that is not meant here.
        awk 'NF {print $1, $2}' | sort -u | awk '{count[$1]++; all[NR] = $0; name[NR] = $1} END {for (i = 1; i <= NR; i++) if (count[name[i]] > 1) print all[i]}'
}

case "${1:-}" in
accept)
    duplicates >"$known"
    ;;
check)
    found=$(cargo tree --workspace --locked --edges all --prefix none --format '{p}' | awk '{print $1, $2}' | sort -u | grep -E "$banned" || true)
    if [ -n "$found" ]; then
        echo "banned crates in the tree (cargo tree --invert <crate> shows why):" >&2
        echo "$found" >&2
        exit 1
    fi
    if ! diff --unified=0 "$known" <(duplicates); then
        echo "the duplicate versions changed; if that is meant: tests/tools/dependencies.sh accept, and deny.toml" >&2
        exit 1
    fi
    ;;
*)
    echo "usage: $0 check|accept" >&2
    exit 2
    ;;
esac
