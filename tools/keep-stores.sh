#!/usr/bin/env bash
# Keeps stores of this version for later ones to read: at each release, into
# tests/data/stores-VERSION. See tests/old_stores/.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tools/install-redis.sh
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
folder=$PWD/tests/data/stores-$version
cargo build --workspace --bins
mkdir -p "$folder"
SIDEHOOK_KEEP_IN=$folder cargo test -p sidehook-tests --test old_stores -- --ignored --exact make
du -bc "$folder"/* | tail -n 1
note "$folder is renewed; run the tests of old_stores"
