#!/usr/bin/env bash
# Puts PyYAML, which the runner of the reconcile corpus needs, into the tool cache.
#
#   tests/tools/pyyaml.sh            install it if it is not there yet; print the folder for PYTHONPATH
#   tests/tools/pyyaml.sh --print    print that folder without installing anything
#
# A folder of its own for each version of Python; nothing is installed into the system. pip checks the pinned digests.
set -euo pipefail

version=6.0.3
digests=(
    0150219816b6a1fa26fb4699fb7daa9caf09eb1999f3b70fb6e786805e80375a # Python 3.9 to 3.14 on x86-64
    9c7708761fccb9397fe64bbc0395abcae8c4bf7b0eac081e12b809bf47700d0b
    b8bb0864c5a28024fac8a632c443c87c5aa6f215c0b126c449ae1a150412f31d
    ba1cc08a7ccde2d2ec775841541641e4548226580ab850948cbfda66a1befcdc
    0f29edc409a6392443abf94b9cf89ce99889a1dd5376d94316ae5145dfedd5d6
    c458b6d084f9b935061bc36216e8a69a7e293a2f1e68bf956dcd9e6cbcd143f5
    d76623373421df22fb4cf8817020cbb7ef15c725b9d5e45f17e189bfc384190f # the source, for every other
)

python="${PYTHON:-python3}"
tag="$("$python" -c 'import sys; print(sys.implementation.cache_tag)')"
folder="${LATCHKEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/latchkey}/tools/pyyaml-$version-$tag"

if [ "${1:-}" = --print ] || [ -e "$folder/yaml/__init__.py" ]; then
    echo "$folder"
    exit 0
fi

mkdir -p "$(dirname "$folder")"
scratch="$(mktemp -d "$(dirname "$folder")/.pyyaml.XXXXXX")"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

printf 'PyYAML==%s' "$version" >"$scratch/requirements.txt"
printf ' --hash=sha256:%s' "${digests[@]}" >>"$scratch/requirements.txt"
"$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --no-compile --retries 5 --timeout 60 --require-hashes \
    --requirement "$scratch/requirements.txt" --target "$scratch/site" >&2
# By one rename, so that an interrupted run leaves nothing that looks complete; another run may have been faster.
mv -T "$scratch/site" "$folder" 2>/dev/null || [ -e "$folder/yaml/__init__.py" ]
echo "$folder"
