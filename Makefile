# Short names for what is done every day. What takes more than two lines is a
# script in tools/.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo run build test test-clients check fmt clippy doc deny proto structure faults bench soak fuzz-http valkey

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: ## One event's way through the whole system, on loopback, in seconds
	cargo run -p sidehook --bin sidehook -- demo

run: ## The same system, kept running to play with (ARGS='--redis URL' and the like)
	cargo run -p sidehook --bin sidehook -- dev $(ARGS)

build:
	cargo build --workspace --bins

test: ## Everything: unit, conformance, real Redis, several processes
	tools/install-redis.sh
	tools/install-python-tools.sh
	cargo build --workspace --bins
	cargo test --workspace

test-clients: ## The examples of clients in other languages (ARGS='python go' for some of them)
	cargo build -p sidehook --bin sidehook
	tools/test-clients.sh $(ARGS)

check: fmt clippy doc deny proto structure ## Formatting, lints, docs, dependencies, protos, structure

fmt:
	cargo fmt --all --check

clippy:
	cargo clippy --workspace --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items --quiet

deny:
	tools/deny.sh

proto:
	tools/proto.sh

structure: ## The project's own rules: layers, sizes, headers, words that do not belong
	cargo run -q -p sidehook-structure

faults: build ## A minute of kills, cuts and restarts under load
	tools/install-redis.sh
	SIDEHOOK_FAULTS_SECONDS=$${SIDEHOOK_FAULTS_SECONDS:-60} cargo test -p sidehook-tests --test faults --test kill_loop -- --nocapture

soak: ## The same for half an hour, with larger numbers, power cuts and random calls: before a release
	tools/soak.sh

fuzz-http: ## Thousands of requests to the HTTP gateway, made from its own /openapi.json
	cargo build -p sidehook --bin sidehook
	tools/fuzz-http.sh

valkey: ## The tests of the Redis store over Valkey
	tools/valkey.sh

bench: ## Throughput, latency and cost, as ratios to a bare HTTP client
	tools/install-redis.sh
	cargo build --release -p sidehook -p sidehook-agent -p sidehook-bench --bins
	target/release/sidehook-bench $(ARGS)
