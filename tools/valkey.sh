#!/usr/bin/env bash
# The tests of crates/redis over Valkey instead of Redis: its server takes the name
# `redis-server` in front of the PATH. Without a valkey-server on this machine, Debian's
# package is unpacked into target/tools, from the backports of the configured mirror.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

here=$PWD/target/tools/valkey
mkdir -p "$here/bin"
server=$(command -v valkey-server || true)
if [ -z "$server" ]; then
  server=$here/usr/bin/valkey-check-rdb
  if [ ! -x "$server" ]; then
    command -v apt-get >/dev/null || die "valkey-server is missing; install it with this system's package manager"
    # shellcheck source=/dev/null
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")-backports
    site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m 1 '/debian/\?$') ||
      die "no mirror of Debian is configured; install valkey-server by hand"
    mkdir -p "$here"/{lists/partial,cache/archives/partial}
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [signed-by=$key] $site $suite main" > "$here/sources.list"
    apt=(apt-get -q -o Dir::Etc::SourceList="$here/sources.list" -o Dir::Etc::SourceParts=-
      -o Dir::State::Lists="$here/lists" -o Dir::Cache="$here/cache" -o APT::Sandbox::User=)
    "${apt[@]}" update >/dev/null || die "the list of $suite cannot be read"
    (cd "$here" && "${apt[@]}" download valkey-tools >/dev/null) || die "$suite has no package valkey-tools"
    dpkg-deb --extract "$here"/valkey-tools_*.deb "$here"
  fi
fi
cp -f "$server" "$here/bin/redis-server"
export PATH=$here/bin:$PATH
note "$(redis-server --version | cut -d' ' -f1-3)"
cargo test -p sidehook-redis "$@"
