#!/usr/bin/env bash
# Writes dist/images/<name>.tar (docker-archive, tag docker.io/latchkey/<name>:dev) for each image named as an argument.
#
# The programs are linked statically with glibc (static-pie; its own files and dns resolvers are built in), so an image is one
# file from scratch. An image is written again only if its program or Dockerfile changed; cargo decides about the program.
# buildah is used where it is, else a Docker engine that answers. Neither needs any network.
set -euo pipefail
cd "$(dirname "$0")/.."

cache="${LATCHKEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/latchkey}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}"
out=dist/images
# Debian's bundle of public certificate authorities, for the images whose Dockerfile copies it.
authorities=/etc/ssl/certs/ca-certificates.crt
# Largest image that is let through, in bytes: the promise of the README for the agent.
limit=$((25 * 1000 * 1000))

[ $# -gt 0 ] || { echo "usage: $0 NAME..." >&2; exit 2; }

# An explicit target keeps procedural macros and build scripts dynamic, which they must be.
target=$(rustc -vV | sed -n 's/^host: //p')
packages=()
for name in "$@"; do
    case "$name" in
    latchkey) packages+=(--package latchkey) ;;
    provider-*) packages+=(--package "latchkey-$name") ;;
    *) echo "images: no such image: $name" >&2; exit 2 ;;
    esac
done
RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --target "$target" "${packages[@]}" --bins

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$out"

with_buildah() { # name, folder
    local buildah=(buildah --storage-driver vfs --root "$scratch/storage" --runroot "$scratch/run")
    "${buildah[@]}" build --quiet --isolation chroot --tag "docker.io/latchkey/$1:dev" "$2" >/dev/null
    "${buildah[@]}" push --quiet "docker.io/latchkey/$1:dev" "docker-archive:$2.tar:docker.io/latchkey/$1:dev"
}

with_docker() { # name, folder
    docker build --quiet --tag "docker.io/latchkey/$1:dev" "$2" >/dev/null
    docker save --output "$2.tar" "docker.io/latchkey/$1:dev"
}

if command -v buildah >/dev/null; then
    builder=with_buildah
elif docker info >/dev/null 2>&1; then
    builder=with_docker
else
    echo "images: missing program: buildah (make setup installs it), or a Docker engine that answers" >&2
    exit 1
fi

for name in "$@"; do
    program="$CARGO_TARGET_DIR/$target/release/$name"
    archive="$out/$name.tar"
    stamp="$out/.$name.inputs"
    inputs=$(cat "$program" "images/Dockerfile.$name" "$authorities" | sha256sum)
    if [ -f "$archive" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$inputs" ]; then
        continue
    fi
    if readelf --program-headers "$program" 2>/dev/null | grep -q INTERP; then
        echo "images: $program is not static" >&2
        exit 1
    fi
    mkdir "$scratch/$name"
    cp "$program" "$scratch/$name/$name"
    cp "images/Dockerfile.$name" "$scratch/$name/Dockerfile"
    cp "$authorities" "$scratch/$name/ca-certificates.crt"
    # One date for all, so that the same program gives the same layer.
    touch --date=@0 "$scratch/$name"/*
    "$builder" "$name" "$scratch/$name"
    size=$(stat --format %s "$scratch/$name.tar")
    if [ "$name" = latchkey ] && [ "$size" -gt "$limit" ]; then
        echo "images: $name is $size bytes, over the limit of $limit" >&2
        exit 1
    fi
    rm -f "$stamp"
    mv "$scratch/$name.tar" "$archive"
    echo "$inputs" >"$stamp"
    echo "images: $archive, $((size / 1000 / 1000)) MB"
done
