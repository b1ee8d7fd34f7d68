#!/usr/bin/env bash
# Lints and format-checks the protos, and compares them with those of the last release,
# which tests/data/protos.binpb keeps: what another version wrote or sends must mean the
# same to this one. `tools/proto.sh --keep` renews what is kept, at each release.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

kept=tests/data/protos.binpb
tools/install-python-tools.sh
buf=$venv/bin/buf
"$buf" lint
"$buf" format --diff --exit-code
if [ "${1:-}" = --keep ]; then
  "$buf" build --exclude-source-info -o "$kept"
  note "$kept has the protos of this moment"
fi
# What clients and agents of another version say and hear, and then bytes at rest.
"$buf" breaking --against "$kept"
"$buf" breaking --against "$kept" --config '{
  "version": "v2",
  "modules": [{"path": "proto"}],
  "breaking": {"use": ["WIRE"], "ignore": ["proto/sidehook/v1", "proto/sidehook/agent"]}
}'
note "protos are tidy, and compatible with those of the last release"
