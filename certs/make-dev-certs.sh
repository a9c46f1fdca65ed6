#!/bin/sh
# Makes, with openssl alone, the keys and certificates that `upkeep-server init` makes: for development, and to see the
# profile. Nothing is overwritten.
#
#   certs/make-dev-certs.sh DIR [TRUST_DOMAIN [ROLE/ID [NAME ...]]]
#
# DIR/keys   ca.crt ca.key tls.crt tls.key signing.key pepper code.key
# DIR/admin  admin.crt admin.key ca.crt     (for the ROLE/ID given: partner/acme, support/ann, admin/admin)
set -eu
umask 077

dir=${1:?usage: make-dev-certs.sh DIR [TRUST_DOMAIN [ROLE/ID [NAME ...]]]}
domain=${2:-upkeep.localhost}
who=${3:-admin/admin}
[ $# -gt 3 ] && shift 3 || set -- localhost 127.0.0.1 ::1

case $who in
partner/?* | support/?* | admin/?*) ;;
*) echo "make-dev-certs.sh: '$who' must be partner/<id>, support/<id> or admin/<id>" >&2 && exit 2 ;;
esac
for made in "$dir/keys" "$dir/admin"; do
    if [ -e "$made" ]; then
        echo "make-dev-certs.sh: $made exists and keys are never overwritten; choose another directory" >&2
        exit 1
    fi
done

names=
for name in "$@"; do
    case $name in
    *:* | *[0-9].[0-9]*.[0-9]*.[0-9]*) kind=IP ;;
    *) kind=DNS ;;
    esac
    names=$names${names:+,}$kind:$name
done

mkdir -p "$dir"
work=$(mktemp -d "$dir/.new-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/keys" "$work/admin"

key() { # FILE: a P-256 key, PKCS#8
    openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

leaf() { # NAME-OF-FILES SUBJECT DAYS SUBJECT-ALT-NAMES EXTENDED-KEY-USAGE
    key "$1.key"
    openssl req -new -key "$1.key" -subj "/CN=$2" -out "$1.csr"
    cat >"$1.ext" <<EXT
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = $5
subjectAltName = $4
authorityKeyIdentifier = keyid
EXT
    openssl x509 -req -in "$1.csr" -CA "$work/keys/ca.crt" -CAkey "$work/keys/ca.key" \
        -days "$3" -sha256 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
    rm "$1.csr" "$1.ext"
}

key "$work/keys/ca.key"
openssl req -x509 -new -key "$work/keys/ca.key" -sha256 -days 3653 -subj "/CN=Upkeep CA of $domain" \
    -addext 'basicConstraints = critical, CA:TRUE, pathlen:0' -addext 'keyUsage = critical, keyCertSign, cRLSign' \
    -out "$work/keys/ca.crt"
leaf "$work/keys/tls" "$1" 820 "$names" serverAuth
leaf "$work/admin/admin" "$(echo "$who" | tr / -)" 365 "URI:spiffe://$domain/$who" clientAuth
cp "$work/keys/ca.crt" "$work/admin/ca.crt"

key "$work/keys/signing.key"
openssl rand -out "$work/keys/pepper" 32
openssl rand -out "$work/keys/code.key" 32
chmod 600 "$work"/keys/* "$work"/admin/*
chmod 644 "$work"/keys/*.crt "$work"/admin/*.crt

mv "$work/keys" "$dir/keys"
mv "$work/admin" "$dir/admin"
echo "made $dir/keys and $dir/admin ($who in $domain, server names: $*)"
