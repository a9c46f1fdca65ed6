# What a fresh Debian or Ubuntu lacks: installed by apt as root, else named in one line. Sourced by the scripts beside it.

# apt_or_say PACKAGE WHAT: installs a package as root, else says what is missing and stops.
apt_or_say() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing $1 ($2 is missing)" >&2
        [ -n "${apt_updated:-}" ] || apt-get update -qq >&2
        apt_updated=1
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >&2 && return 0
    fi
    echo "missing: $2. Install it with: sudo apt-get install $1" >&2
    exit 1
}

# need COMMAND PACKAGE
need() {
    command -v "$1" >/dev/null 2>&1 || apt_or_say "$2" "$1"
}

# The Rust toolchain, which nothing here downloads, and a C compiler for the cryptographic library.
need_rust() {
    if ! command -v cargo >/dev/null 2>&1; then
        echo "missing: cargo 1.95 or newer. Install Rust with rustup or from your distribution" >&2
        exit 1
    fi
    need cc gcc
    echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1 || apt_or_say libc6-dev "the C library's headers"
}

# Python with its venv module, which Debian splits off.
need_python() {
    need python3 python3
    python3 -c 'import venv, ensurepip' 2>/dev/null || apt_or_say python3-venv "Python's venv module"
}

# A software TPM with the tools that drive it, and a software PKCS#11 token: without them the tests of hardware say SKIPPED, but for CI,
# where they must be there.
need_hardware() {
    for wanted in swtpm:swtpm swtpm_setup:swtpm-tools tpm2_nvread:tpm2-tools softhsm2-util:softhsm2; do
        if [ -n "${CI:-}" ]; then
            need "${wanted%:*}" "${wanted#*:}"
        else
            # In a shell of its own, which alone is stopped.
            (need "${wanted%:*}" "${wanted#*:}") || echo "SKIPPED: the tests that need ${wanted%:*} will not run" >&2
        fi
    done
}

# File systems for cutting the power under the real server. Fails where they can't be used: root alone can, and many a container has no
# loop devices that work.
need_power() {
    [ "$(id -u)" = 0 ] && [ -e /dev/loop-control ] || return 1
    for wanted in mkfs.xfs:xfsprogs mkfs.ext4:e2fsprogs mount:mount findmnt:util-linux; do
        if [ -n "${CI:-}" ]; then
            need "${wanted%:*}" "${wanted#*:}"
        else
            (need "${wanted%:*}" "${wanted#*:}") || return 1
        fi
    done
    try_power
}

# Mounts one of each, in a shell of its own.
try_power() (
    dir=$(mktemp -d) || return 1
    trap 'rm -rf "$dir"' EXIT
    mkdir "$dir/at"
    for make in 'mkfs.xfs -q -m reflink=1' 'mkfs.ext4 -q -F'; do
        rm -f "$dir/image"
        truncate -s 512M "$dir/image"
        $make "$dir/image" && mount -o loop "$dir/image" "$dir/at" && umount "$dir/at" || return 1
    done
    [ -e /sys/fs/ext4 ]
)
