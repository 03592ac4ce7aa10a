#!/usr/bin/env bash
# What `make test` runs inside `cluster run`: every test of the workspace, and the charts' own check.
set -euo pipefail
cd "$(dirname "$0")/../.."

export PATH="$LATCHKEY_CLUSTER_DIR/bin:$PATH"
for chart in charts/*/; do
    helm lint --strict "$chart"
done
exec cargo test --workspace --no-fail-fast
