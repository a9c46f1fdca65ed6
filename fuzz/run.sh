#!/bin/sh
# Runs fuzz targets one after another: `sh fuzz/run.sh [SECONDS] [TARGET...]`; without names all that need no client.
# Stops at the first crash, hang over a second, or 512 MiB.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
[ $# -eq 0 ] || shift
export RUSTC_BOOTSTRAP=1
targets=${*:-$(ls fuzz/targets | sed 's/\.rs$//' | grep -v tpm_response)}
cargo fuzz build --features server
for target in $targets; do
    mkdir -p "fuzz/corpus/$target"
    seeds=
    case $target in
        attest | ek_chain | hardware_proof | nv_public | piv_attestation | public | signature) seeds=tests/vectors/tpm/files ;;
    esac
    echo "== $target"
    cargo fuzz run --features server "$target" "fuzz/corpus/$target" $seeds -- \
        "-max_total_time=$seconds" -timeout=1 -rss_limit_mb=512 -print_final_stats=1 2>&1 |
        tee "fuzz/corpus/$target.log" | grep -E '^stat::|SUMMARY|ERROR|DONE' || true
    # Not `! grep` alone: set -e lets a negated command pass.
    if ! grep -q '^Done ' "fuzz/corpus/$target.log" || grep -qE 'SUMMARY|ERROR' "fuzz/corpus/$target.log"; then
        echo "$target did not come to its end: see fuzz/corpus/$target.log" >&2
        exit 1
    fi
done
