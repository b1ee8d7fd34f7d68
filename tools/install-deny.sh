#!/usr/bin/env bash
# Prints the path of a cargo-deny of the pinned version and builds it first where
# it is missing: about one minute on two cores, kept in CARGO_HOME beside the
# registry cache, out of the way of a cargo-deny that the user has.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=0.20.2
on_path=$(command -v cargo-deny || true)
if [ -n "$on_path" ] && [ "$("$on_path" --version)" = "cargo-deny $version" ]; then
  echo "$on_path"
  exit 0
fi
root=${CARGO_HOME:-$HOME/.cargo}/tools/cargo-deny-$version
if [ ! -x "$root/bin/cargo-deny" ]; then
  note "building cargo-deny $version" >&2
  # Unoptimised: it runs for seconds, and optimising it takes minutes. A target
  # directory of its own: the caller's must not be filled with a tool.
  env -u CARGO_TARGET_DIR -u RUSTFLAGS \
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_INCREMENTAL=false \
    cargo install --quiet --locked --debug --root "$root" "cargo-deny@$version" >&2
fi
echo "$root/bin/cargo-deny"
