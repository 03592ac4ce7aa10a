#!/usr/bin/env bash
# Every test of the workspace and the charts' own check. First all that computes, on a quiet machine, because some of it looks at
# clocks; then the tests of the controllers and those of nodes, side by side on clusters of their own, because both wait most of
# their time. `make test` has built everything before. usage: test.sh CLUSTER, where CLUSTER is the rig's program
set -euo pipefail

# What runs inside the clusters.
case "${1:-}" in
nodes)
    # With the features of the whole workspace, as it was built: for the package alone most of it would be built again.
    exec cargo test --workspace --test node_path --no-fail-fast
    ;;
controllers)
    exec cargo test --package latchkey-e2e --no-fail-fast
    ;;
others)
    export PATH="$LATCHKEY_CLUSTER_DIR/bin:$PATH"
    for chart in charts/*/; do
        helm lint --strict "$chart"
    done
    exec cargo test --workspace --exclude latchkey-e2e --exclude latchkey-nodes --no-fail-fast
    ;;
"")
    echo "usage: $0 CLUSTER" >&2
    exit 2
    ;;
esac

cluster=$(realpath "$1")
self=$(realpath "$0")
cd "$(dirname "$self")/../.."

log=$(mktemp)
nodes=
finish() {
    [ -z "$nodes" ] || { kill "$nodes" 2>/dev/null && wait "$nodes"; } || true
    rm -f "$log"
}
trap finish EXIT
trap 'exit 130' INT TERM

outcome=0
"$cluster" run -- "$self" others || outcome=$?
"$cluster" run -- "$self" nodes >"$log" 2>&1 &
nodes=$!
"$cluster" run -- "$self" controllers || outcome=$?
echo "test: waiting for the tests of nodes"
wait "$nodes" || outcome=$?
nodes=
cat "$log"
exit "$outcome"
