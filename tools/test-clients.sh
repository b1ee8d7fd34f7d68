#!/usr/bin/env bash
# Runs the examples of tests/clients: each generates its client from proto/ with its
# language's ordinary tools, is built, and talks to a `sidehook dev` of its own beside a
# receiver. All of them print the same story, tests/clients/expected.txt, line by line a
# pattern. `tools/test-clients.sh go java` runs these alone, and then their tools must be
# there; without names, those whose tools are missing are named and left out.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

sidehook=$PWD/${CARGO_TARGET_DIR:-target}/debug/sidehook
case ${CARGO_TARGET_DIR:-} in /*) sidehook=$CARGO_TARGET_DIR/debug/sidehook ;; esac
[ -x "$sidehook" ] || die "$sidehook is missing; run: make test-clients"
work=$(mktemp -d)
started=()
stop_all() {
  [ ${#started[@]} -eq 0 ] || kill "${started[@]}" 2>/dev/null || true
  wait
  started=()
}
trap 'stop_all; rm -rf "$work"' EXIT

# at_least MAJOR VERSION: whether the first number in VERSION is no smaller.
at_least() {
  local major
  major=$(grep -oE '[0-9]+' <<<"$2" | head -n 1)
  [ "${major:-0}" -ge "$1" ]
}

# Of each language: whether its toolchain is here (have_), the command that installs it
# (install), and what builds its example and runs it, in the example's folder (run_).
declare -A install
have_python() { python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }
install[python]='sudo apt-get install -y python3 python3-venv'
run_python() {
  { [ -x build/bin/python ] || python3 -m venv build; } &&
    build/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt &&
    mkdir -p gen &&
    build/bin/python -m grpc_tools.protoc -I ../../../proto --python_out=gen --grpc_python_out=gen \
      ../../../proto/sidehook/v1/*.proto &&
    PYTHONPATH=gen build/bin/python example.py
}

have_node() { command -v npm >/dev/null && at_least 20 "$(node --version 2>/dev/null)"; }
install[node]='sudo apt-get install -y nodejs npm   (from Debian 13 on; Node 20 or later is needed)'
run_node() {
  { [ node_modules -nt package-lock.json ] || npm ci --silent; } &&
    PATH=$root/$venv/bin:$PATH npm run --silent build && npm start --silent
}

have_go() { command -v go >/dev/null; }
install[go]='sudo apt-get install -y golang-go   (from Debian 13 on; Go 1.21 or later is needed)'
run_go() { PATH=$root/$venv/bin:$PATH buf generate && go run .; }

have_java() { command -v mvn >/dev/null && at_least 17 "$(javac -version 2>/dev/null)"; }
install[java]='sudo apt-get install -y default-jdk-headless maven'
# Debian's Maven writes escapes into pipes too.
run_java() { mvn -B -q compile exec:java | sed $'s/\e\\[[0-9;]*m//g'; }

# wait_for FILE PID: until the process has written the file.
wait_for() {
  for _ in $(seq 600); do
    [ -s "$1" ] && return 0
    kill -0 "$2" 2>/dev/null || return 1
    sleep 0.1
  done
  return 1
}

# Starts a Sidehook and a receiver in the folder $1, and sets what the examples read.
start() {
  local key=key-of-the-examples
  python3 tests/clients/receiver.py "$1/port" "$1/received" &
  started+=($!)
  local receiver=$!
  local listen=() flag
  for flag in --http --grpc --agents --gateway; do listen+=("$flag" 127.0.0.1:0); done
  "$sidehook" dev "${listen[@]}" --api-key "$key" --ready-file "$1/ready" >"$1/dev.log" 2>&1 &
  started+=($!)
  wait_for "$1/ready" $! || { cat "$1/dev.log" >&2; die "sidehook dev does not start"; }
  wait_for "$1/port" "$receiver" || die "the receiver does not start"
  export SIDEHOOK_KEY=$key SIDEHOOK_ADDRESS RECEIVER_URL
  SIDEHOOK_ADDRESS=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["grpc"])' <"$1/ready")
  RECEIVER_URL=http://127.0.0.1:$(cat "$1/port")/hook
}

# tells_the_story FILE: whether each line of it is as expected.
tells_the_story() {
  local line pattern at=0
  mapfile -t got <"$1"
  mapfile -t expected <tests/clients/expected.txt
  for pattern in "${expected[@]}"; do
    line=${got[at]-nothing}
    at=$((at + 1))
    # shellcheck disable=SC2053 # A pattern is what it is.
    [[ $line == $pattern ]] || {
      note "line $at: expected $pattern, got: $line"
      return 1
    }
  done
  [ ${#got[@]} -eq ${#expected[@]} ] || { note "more lines than expected"; return 1; }
}

# try LANGUAGE: builds and runs its example; what it printed is shown.
try() {
  local language=$1 folder=$work/$1 failure=''
  mkdir "$folder"
  start "$folder"
  (cd "tests/clients/$language" && "run_$language") >"$folder/out" 2>"$folder/err" || failure='it failed'
  [ -n "$failure" ] || tells_the_story "$folder/out" || failure='it does not tell the story'
  local count=0
  if [ -f "$folder/received" ]; then count=$(wc -l <"$folder/received"); fi
  [ -n "$failure" ] || [ "$count" -eq 3 ] || failure="$count signed requests arrived, not 3"
  stop_all
  cat "$folder/out"
  [ -z "$failure" ] || { cat "$folder/err"; note "$language: $failure"; return 1; }
}

root=$PWD
all=(python node go java)
wanted=("$@")
[ $# -gt 0 ] || wanted=("${all[@]}")
passed=0 failed=0 skipped=0
apt_install python3 python3
for language in "${wanted[@]}"; do
  [[ " ${all[*]} " == *" $language "* ]] || die "no example in $language; there are: ${all[*]}"
  heading "$language"
  if ! "have_$language"; then
    note "$language is left out, its tools are missing; run: ${install[$language]}"
    skipped=$((skipped + 1))
    continue
  fi
  # buf, which is of no language.
  case $language in go | node) tools/install-python-tools.sh ;; esac
  since=$SECONDS
  if try "$language"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  note "$language took $((SECONDS - since)) s"
done
if [ $# -gt 0 ]; then failed=$((failed + skipped)) skipped=0; fi
printf '\n%s passed, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
