#!/bin/sh
# Fetches what tests/interop.rs needs into target/interop: PyJWT in a virtual environment, and jose for Node.
# Java needs nothing but a JDK of 11 or later.
set -eu
cd "$(dirname "$0")/../.."
mkdir -p target/interop
python3 -m venv target/interop/venv
target/interop/venv/bin/pip install --quiet --disable-pip-version-check 'pyjwt[crypto]==2.15.1' 'cryptography==50.0.2'
npm install --prefix target/interop --no-save --ignore-scripts --no-audit --no-fund --loglevel=error jose@6.2.17
