#!/usr/bin/env bash
# cargo-deny: bans, licences and sources always; advisories where their database
# can be fetched. The last line says which ran.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

program=$(tools/install-deny.sh)
# Every crate of ours is a root of the graph, not only the tests' package at the top.
deny() { "$program" --workspace "$@"; }

deny check --hide-inclusion-graph bans licenses sources

# A fetch that fails means "no network", which is no verdict; what the check says
# about a fetched database is one.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if timeout 120 "$program" fetch db >"$log" 2>&1; then
  deny check --disable-fetch advisories
  note "ran bans, licenses, sources, advisories"
else
  head -n 3 "$log"
  note "ran bans, licenses, sources; NOT advisories: their database could not be fetched"
fi
