#!/usr/bin/env bash
# The fault tests for long, with larger numbers. SOAK_SECONDS (default 1800) is
# the time that the endless ones go on; the log stays in target/soak.log.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export SIDEHOOK_FAULTS_SECONDS=${SOAK_SECONDS:-1800}
export SIDEHOOK_FAULTS_EVENTS=${SOAK_EVENTS:-50000}
mkdir -p target
heading "faults for $SIDEHOOK_FAULTS_SECONDS s with $SIDEHOOK_FAULTS_EVENTS events each"
tools/install-redis.sh
cargo build --workspace --bins
run() { cargo test -p sidehook-tests "$@" 2>&1 | tee -a target/soak.log; }
: > target/soak.log
run --test faults -- --nocapture --test-threads=1
# The loops leave the machine idle most of the time: both stores at once.
run --test kill_loop -- --nocapture --test-threads=2
