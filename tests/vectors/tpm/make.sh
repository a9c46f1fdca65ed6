#!/bin/sh
# Makes this vector set anew: three software TPMs of two CAs, evidence by tpm2-tools, certificates by openssl, mutants by make.py.
#
#   tests/vectors/tpm/make.sh
#
# Needs swtpm, swtpm-tools, tpm2-tools (5.4 or later), openssl 3 and python3 without any package. Keys of the CAs and of the software
# "TPMs" live in a temporary directory and are deleted with it. Every command that the TPMs were given stands in commands.txt.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
pids=
finish() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT INT TERM

# provision NAME CA: a TPM with an RSA-2048 and a P-384 endorsement certificate.
provision() {
    mkdir -p "$work/$1" "$work/$2"
    cat >"$work/$2/ca.conf" <<CONF
statedir = $work/$2
signingkey = $work/$2/signkey.pem
issuercert = $work/$2/issuercert.pem
certserial = $work/$2/certserial
CONF
    : >"$work/$2/options"
    cat >"$work/$2/setup.conf" <<CONF
create_certs_tool = $(command -v swtpm_localca)
create_certs_tool_config = $work/$2/ca.conf
create_certs_tool_options = $work/$2/options
active_pcr_banks = sha256
CONF
    swtpm_setup --tpm2 --ecc --create-ek-cert --tpmstate "$work/$1" --config "$work/$2/setup.conf" >"$work/$1.log" 2>&1
    swtpm socket --tpm2 --tpmstate dir="$work/$1" --server type=unixio,path="$work/$1.sock" \
        --ctrl type=unixio,path="$work/$1.sock.ctrl" --flags not-need-init,startup-clear --daemon --pid file="$work/$1.pid"
    pids="$pids $(cat "$work/$1.pid")"
}

provision tpm1 ca1
provision tpm2 ca1
provision tpm3 ca2
python3 "$here/make.py" "$work" "$here"
