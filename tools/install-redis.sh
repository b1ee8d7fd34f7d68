#!/usr/bin/env bash
# Makes `redis-server` (7 or newer) available: the Redis tests start their own.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

apt_install redis-server redis-server
major=$(redis-server --version | sed -n 's/.* v=\([0-9]*\)\..*/\1/p')
[ "${major:-0}" -ge 7 ] || die "redis-server 7 or newer is needed; found $(redis-server --version)"
note "$(redis-server --version | cut -d' ' -f1-3)"
