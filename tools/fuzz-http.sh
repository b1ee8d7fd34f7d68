#!/usr/bin/env bash
# Requests by the thousand, sound ones and broken ones, to the HTTP gateway of a
# `sidehook dev` of its own: made from its /openapi.json, and every answer is held to
# that. Fails on an answer that the document does not know (each 5xx but 503 is one),
# on a panic, and on memory that grows from one round to the next.
#
#   SIDEHOOK_FUZZ_EXAMPLES  cases per route, phase and round (50)
#   SIDEHOOK_FUZZ_SEED      where the cases come from; the default is always the same
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

examples=${SIDEHOOK_FUZZ_EXAMPLES:-50}
seed=${SIDEHOOK_FUZZ_SEED:-1}
# KiB by which the second round may leave the process larger than the first.
growth_max=$((48 * 1024))
bin=${CARGO_TARGET_DIR:-target}/debug/sidehook
[ -x "$bin" ] || die "$bin is missing: cargo build -p sidehook --bin sidehook"

tool=target/tools/fuzz
if ! cmp -s tools/requirements-fuzz.txt "$tool/requirements.installed"; then
  apt_install python3 python3
  python3 -c 'import ensurepip' 2>/dev/null \
    || die "Python cannot make virtual environments; run: sudo apt-get install -y python3-venv"
  note "installing $(grep -v '^#' tools/requirements-fuzz.txt | xargs)"
  python3 -m venv "$tool"
  "$tool/bin/pip" install -q --disable-pip-version-check -r tools/requirements-fuzz.txt
  cp tools/requirements-fuzz.txt "$tool/requirements.installed"
fi

folder=$(mktemp -d)
key=$(python3 -c 'import secrets; print(secrets.token_hex(32))')
any=127.0.0.1:0
SIDEHOOK_API_KEY=$key "$bin" dev --http $any --grpc $any --agents $any --gateway $any \
  --ready-file "$folder/ready" --log-level info >"$folder/log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null || true; wait $server 2>/dev/null || true; rm -rf "$folder"' EXIT
until [ -s "$folder/ready" ]; do
  kill -0 $server 2>/dev/null || { cat "$folder/log"; die "the server did not start"; }
  sleep 0.1
done
gateway=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["gateway"])' "$folder/ready")
resident() { awk '/^VmRSS/ { print $2 }' "/proc/$server/status"; }

# round SEED: one pass over all dialects, each with its own form of credential.
round() {
  local tag credential
  for tag in close collect hookshot; do
    case $tag in
      close) credential=(--auth "$key:") ;;
      # A user name that is empty cannot be given otherwise.
      collect) credential=(--header "Authorization: Basic $(printf ':%s' "$key" | base64 -w0)") ;;
      hookshot) credential=(--header "Authorization: Bearer $key") ;;
    esac
    heading "$tag, seed $1"
    # Data that fits the schema may still be wrong in a way that no schema says: a URL
    # with a password, a filter of an unknown type. So it need not be accepted.
    "$tool/bin/st" run "http://$gateway/openapi.json" --include-tag "$tag" \
      "${credential[@]}" --seed "$1" --max-examples "$examples" \
      --phases examples,coverage,fuzzing --continue-on-failure --no-color \
      --checks all --exclude-checks positive_data_acceptance \
      --warnings off --suppress-health-check all --request-timeout 30 \
      || die "$tag: an answer is not as /openapi.json says, see above"
  done
}

round "$seed"
before=$(resident)
round $((seed + 1))
after=$(resident)
kill -0 $server 2>/dev/null || { tail -n 40 "$folder/log"; die "the server ended"; }
if grep -n 'panicked' "$folder/log"; then die "the server panicked"; fi
note "memory: $before KiB after the first round, $after KiB after the second"
[ $((after - before)) -le $growth_max ] || die "the server grew by $((after - before)) KiB"
