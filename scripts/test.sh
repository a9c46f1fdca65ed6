#!/bin/sh
# Runs every test. It brings what the tests need into target/ (Python and Node packages, buf, grpcurl) and installs nothing
# system-wide unless it runs as root, where it uses apt for what is missing.
#
# With CI set, a check that would have been skipped for a missing tool fails instead. One exception: a CI machine may lack the loop
# devices of the tests that cut the power and fill the disk; then this says SKIPPED at its beginning and at its end.
set -eu
cd "$(dirname "$0")/.."
. scripts/need.sh
need_rust
need_python
need npm npm
need java default-jdk-headless
need_hardware
power=yes
need_power || power=

say() { printf '\n== %s\n' "$1"; }

say 'tools: PyJWT, jose, aiosmtpd, buf'
sh tests/interop/setup.sh
sh tests/mail/setup.sh
tools=$PWD/target/tools
mkdir -p "$tools"
npm install --prefix "$tools" --no-save --ignore-scripts --no-audit --no-fund --loglevel=error @bufbuild/buf@1.75.0

say 'tools: grpcurl'
# Go 1.21 to 1.23 would fetch another Go; GOTOOLCHAIN=local keeps it from that.
go_minor=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
if [ -x "$tools/bin/grpcurl" ]; then
    echo 'already there'
elif [ "${go_minor:-0}" -ge 24 ]; then
    GOTOOLCHAIN=local GOBIN="$tools/bin" go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3
else
    echo 'SKIPPED: grpcurl needs Go 1.24 or newer, which is not here: the tests with the real grpcurl will not run' >&2
fi
export PATH="$tools/bin:$tools/node_modules/.bin:$PATH"
if [ -n "${CI:-}" ]; then
    export UPKEEP_REQUIRE_INTEROP=1 UPKEEP_REQUIRE_GRPCURL=1 UPKEEP_REQUIRE_SWTPM=1 UPKEEP_REQUIRE_SOFTHSM=1
    [ -z "$power" ] || export UPKEEP_REQUIRE_POWER=1
fi
# Those tests say it, too, but cargo keeps what a passing test says to itself.
say_power() {
    [ -n "$power" ] || [ -n "${UPKEEP_REQUIRE_POWER:-}" ] ||
        echo 'SKIPPED: the tests that cut the power, fill the disk and turn it read-only (G2 real, G3) need root and loop devices' >&2
}
say_power

# A check for which cargo lacks a component.
lacks() {
    if [ -n "${CI:-}" ]; then
        echo "missing: $1. Install it with: rustup component add $1" >&2
        exit 1
    fi
    echo "SKIPPED: $1 is not installed" >&2
}

say 'dependencies: licenses, sources, bans, advisories'
sh scripts/deny.sh

say 'proto: buf lint and format'
buf lint
buf format --diff --exit-code

say 'rustfmt'
if cargo fmt --version >/dev/null 2>&1; then
    cargo fmt --all --check
else
    lacks rustfmt
fi

say 'build'
# cargo test alone builds no server binary (it belongs to another package than the tests that start it).
cargo build --locked --workspace --all-targets

if cargo clippy --version >/dev/null 2>&1; then
    say 'clippy'
    cargo clippy --locked --workspace --all-targets --quiet -- --deny warnings
else
    lacks clippy
fi

say 'tests'
cargo test --locked --workspace "$@"
say_power
