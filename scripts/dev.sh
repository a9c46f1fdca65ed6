#!/bin/sh
# Starts a server with fresh keys and sample licenses in a temporary directory. Arguments go to `upkeep-server dev`.
set -eu
cd "$(dirname "$0")/.."
. scripts/need.sh
need_rust
cargo build --locked --quiet --package upkeep-server --package upkeep-client
exec target/debug/upkeep-server dev "$@"
