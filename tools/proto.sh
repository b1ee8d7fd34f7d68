#!/usr/bin/env bash
# Lints and format-checks the protos, and compares them with those of the last
# release (its tag v*) so that no wire-incompatible change slips in.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tools/install-python-tools.sh
buf=$venv/bin/buf
"$buf" lint
"$buf" format --diff --exit-code
release=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null || true)
if [ -n "$release" ]; then
  "$buf" breaking --against ".git#tag=$release"
  note "protos are tidy and compatible with $release"
else
  note "protos are tidy; no release yet to be compatible with"
fi
