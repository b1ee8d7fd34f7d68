# shellcheck shell=bash
# Shared by the scripts beside it (sourced, never run): where things are, and how
# they speak. Every script runs from the repository's root and reads no terminal.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Python tools live in a virtual environment of the build tree; tests find the
# interpreter here too.
venv=target/tools/venv

heading() { printf '\n== %s ==\n' "$*"; }
note() { printf '%s: %s\n' "$(basename "$0")" "$*"; }
die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# Runs a command as root: directly, or through a sudo that asks for no password.
# Answers 125 when neither is possible.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo -n "$@"
  else
    return 125
  fi
}

# apt_install PROGRAM PACKAGE: makes PROGRAM available from Debian's PACKAGE, or
# says the command that would.
apt_install() {
  local program=$1 package=$2
  command -v "$program" >/dev/null && return 0
  local advice="$program is missing and could not be installed; run: sudo apt-get update && sudo apt-get install -y $package"
  command -v apt-get >/dev/null || die "$program is missing; install it with this system's package manager ($package on Debian)"
  note "installing $package"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update >/dev/null || die "$advice"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$package" >/dev/null || die "$advice"
  command -v "$program" >/dev/null || die "$package is installed, but $program is not on PATH"
}
