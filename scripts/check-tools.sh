#!/usr/bin/env bash
# Sees to the tools that a build needs: installs what rustup can, and says exactly what to install for the rest. `check-tools.sh engines` also sees
# to what Kafka and Cassandra for tests need; in CI, as root on a Debian, it installs that.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engines/lib.sh

missing() {
    printf 'Segue needs %s.\n  %s\n' "$1" "$2" >&2
    exit 1
}

# Some dependencies compile a little C or assembly, and Rust links through it.
command -v cc >/dev/null || missing "a C compiler and linker" "On Debian: apt-get install -y gcc libc6-dev"
# The Kafka client is built from its C source, with the system's OpenSSL for encryption and logins.
command -v make >/dev/null || missing "make" "On Debian: apt-get install -y make"
for header in /usr/include /usr/local/include "${OPENSSL_INCLUDE_DIR:-}" "${OPENSSL_DIR:-}/include"; do
    [ ! -f "$header/openssl/ssl.h" ] || openssl=$header
done
[ -n "${openssl:-}" ] || pkg-config --exists openssl 2>/dev/null ||
    missing "the headers of OpenSSL" "On Debian: apt-get install -y libssl-dev pkg-config"
command -v cargo >/dev/null || missing "a Rust toolchain" \
    "On Debian: apt-get install -y rustup && rustup default stable"

channel=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
if command -v rustup >/dev/null; then
    # Older rustups install the pinned toolchain by themselves, newer ones may be told not to; asking first is quick.
    if ! rustup run "$channel" rustc --version >/dev/null 2>&1; then
        echo "installing Rust $channel, which rust-toolchain.toml pins" >&2
        rustup toolchain install "$channel" --profile minimal --component rustfmt --component clippy
    fi
    for component in rustfmt clippy; do
        if ! rustup component list --toolchain "$channel" --installed 2>/dev/null | grep -q "^$component"; then
            rustup component add --toolchain "$channel" "$component"
        fi
    done
else
    have=$(cargo --version | sed 's/^cargo \([0-9.]*\).*/\1/')
    oldest=$(printf '%s\n%s\n' "$channel" "$have" | sort -V | head -n 1)
    [ "$oldest" = "$channel" ] || missing "Rust $channel or newer; this is $have" \
        "On Debian: apt-get install -y rustup && rustup toolchain install $channel"
fi

if [ "${1:-}" = engines ] && [ -n "$(engines_missing)" ]; then
    if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing what tests beside Kafka and Cassandra lack" >&2
        packages=$(engines_missing | sed 's/.*--no-install-recommends//' | tr '\n' ' ')
        # shellcheck disable=SC2086
        apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages
    fi
    [ -z "$(engines_missing)" ] || { engines_missing >&2 && exit 1; }
fi
