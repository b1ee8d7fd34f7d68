#!/usr/bin/env bash
# Puts tools/requirements.txt into target/tools/venv: buf for the protos, and the
# official Standard Webhooks library, an oracle of the signature tests.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

stamp=$venv/requirements.installed
if cmp -s tools/requirements.txt "$stamp" && "$venv/bin/python" -c '' 2>/dev/null; then
  exit 0
fi
apt_install python3 python3
python3 -c 'import ensurepip' 2>/dev/null || {
  advice="Python cannot make virtual environments; run: sudo apt-get install -y python3-venv"
  as_root apt-get -q update >/dev/null || die "$advice"
  as_root apt-get -q install -y --no-install-recommends python3-venv >/dev/null || die "$advice"
}
note "installing $(grep -v '^#' tools/requirements.txt | xargs)"
python3 -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r tools/requirements.txt
cp tools/requirements.txt "$stamp"
