#!/usr/bin/env bash
# The fault tests for long, with larger numbers. SOAK_SECONDS (default 1800) is
# the time that the endless ones go on, SOAK_CUTS (100) how often the power fails
# beneath each store, SOAK_SEQUENCES (2000) how many random sequences of calls each
# store is given; the log stays in target/soak.log.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export SIDEHOOK_FAULTS_SECONDS=${SOAK_SECONDS:-1800}
export SIDEHOOK_FAULTS_EVENTS=${SOAK_EVENTS:-50000}
export SIDEHOOK_POWER_ROUNDS=${SOAK_CUTS:-100}
export SIDEHOOK_SEQUENCES=${SOAK_SEQUENCES:-2000}
mkdir -p target
heading "faults for $SIDEHOOK_FAULTS_SECONDS s with $SIDEHOOK_FAULTS_EVENTS events each"
tools/install-redis.sh
cargo build --workspace --bins
run() { cargo test "$@" 2>&1 | tee -a target/soak.log; }
: > target/soak.log
run -p sidehook-tests --test faults -- --nocapture --test-threads=1
# The loops leave the machine idle most of the time: all stores at once.
run -p sidehook-tests --test kill_loop -- --nocapture --test-threads=3 --include-ignored
heading "masters die and slots move"
run -p sidehook-tests --test failover --test resharding -- --nocapture --test-threads=1
heading "the power fails $SIDEHOOK_POWER_ROUNDS times beneath each store"
run -p sidehook-tests --test power_loss -- --nocapture --test-threads=2
heading "$SIDEHOOK_SEQUENCES random sequences of calls on each store"
run -p sidehook-store --lib conformance
run -p sidehook-embedded --test conformance
run -p sidehook-redis --test conformance
run -p sidehook-redis --test cluster
