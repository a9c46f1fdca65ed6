#!/bin/sh
# Fetches what tests/mail needs into target/tools/mail: aiosmtpd, a real mail server, in a virtual environment.
set -eu
cd "$(dirname "$0")/../.."
mkdir -p target/tools
python3 -m venv target/tools/mail
target/tools/mail/bin/pip install --quiet --disable-pip-version-check 'aiosmtpd==1.4.6'
