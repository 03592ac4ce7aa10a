#!/usr/bin/env bash
# Installs the Debian packages that building and testing need and that are missing; says what else is missing.
set -euo pipefail

# program or file, package
needed=(
    "/usr/lib/cni/bridge containernetworking-plugins"
    "busybox busybox-static"
    "iptables iptables"
    "buildah buildah"
    "ip iproute2"
    "nsenter util-linux"
    "/etc/ssl/certs/ca-certificates.crt ca-certificates"
    "cc gcc"
    "/usr/include/stdio.h libc6-dev"
    "/usr/include/seccomp.h libseccomp-dev"
    "pkg-config pkg-config"
    "pip3 python3-pip"
)

export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
packages=()
for entry in "${needed[@]}"; do
    read -r what package <<<"$entry"
    case "$what" in
    /*) [ -e "$what" ] ;;
    pip3) python3 -m pip --version >/dev/null 2>&1 ;;
    *) command -v "$what" >/dev/null ;;
    esac || packages+=("$package")
done

if [ ${#packages[@]} -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "setup: missing; as root on Debian: apt-get install --no-install-recommends ${packages[*]}" >&2
        exit 1
    fi
    echo "setup: installing ${packages[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
fi

missing=()
command -v cargo >/dev/null || missing+=("cargo (Rust $(sed -n 's/^channel = "\(.*\)"/\1/p' "$(dirname "$0")/../../rust-toolchain.toml"), by rustup)")
if ! command -v go >/dev/null; then
    missing+=("go (1.26 or newer)")
elif version=$(go env GOVERSION) && [ "$(printf '%s\n' go1.26 "${version%% *}" | sort -V | head -1)" != go1.26 ]; then
    missing+=("go 1.26 or newer (this is ${version#go})")
fi
if [ ${#missing[@]} -gt 0 ]; then
    printf 'setup: missing; install and put on PATH: %s\n' "${missing[@]}" >&2
    exit 1
fi
