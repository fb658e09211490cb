# shellcheck shell=bash
# Shared by the build scripts: where things are cached, and how long work is shown.
# Sourced, never run.
set -euo pipefail

# One folder for everything that took minutes to make, outside the repository, so that the next clone starts in seconds.
POSTHASTE_CACHE="${POSTHASTE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/posthaste}"
export POSTHASTE_CACHE
mkdir -p "$POSTHASTE_CACHE/log"

say() { if [ -t 2 ]; then printf '\033[1m==>\033[0m %s\n' "$*" >&2; else printf '==> %s\n' "$*" >&2; fi; }
die() { printf 'posthaste build: %s\n' "$*" >&2; exit 1; }

# step NAME PATTERN TOTAL COMMAND… runs COMMAND with its output in a log file and shows, every second on a terminal
# and every 20 s elsewhere, how long it has been running and how many lines of the log match PATTERN, of about TOTAL.
# That says how far a cargo or go build is. On failure the end of the log is shown; STEP_LOG names the log afterwards.
step() {
  local name=$1 pattern=$2 total=$3; shift 3
  local log; log="$POSTHASTE_CACHE/log/$(printf '%s' "$name" | tr -cs 'A-Za-z0-9.' '-').log"
  # shellcheck disable=SC2034 # for the caller
  STEP_LOG=$log
  local began=$SECONDS every=20 shown=0 count
  [ -t 2 ] && every=1
  say "$name"
  "$@" >"$log" 2>&1 </dev/null &
  local pid=$!
  # An interrupted build must not go on in the background.
  trap 'kill "$pid" 2>/dev/null || true' INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.5
    if (( SECONDS - began >= shown + every )); then
      shown=$((SECONDS - began))
      count=$(grep -cE "$pattern" "$log" || true)
      if [ -t 2 ]; then printf '\r    %4d s  %s of about %s steps ' "$shown" "$count" "$total" >&2
      else printf '    %4d s  %s of about %s steps\n' "$shown" "$count" "$total" >&2; fi
    fi
  done
  local status=0
  wait "$pid" || status=$?
  trap - INT TERM
  if [ -t 2 ] && [ "$shown" -gt 0 ]; then printf '\r\033[K' >&2; fi
  if [ "$status" -ne 0 ]; then
    tail -n 25 "$log" >&2
    die "$name failed with status $status after $((SECONDS - began)) s; the whole log is $log"
  fi
  say "$name: done in $((SECONDS - began)) s"
}

# The module's rust-toolchain.toml pins a toolchain that the machine may not have; any stable from 1.94 on builds it
# (1.95 tried). Without rustup cargo ignores that file.
use_installed_rust() {
  command -v cargo >/dev/null || die "cargo is not on PATH; install Rust 1.94 or later (https://rustup.rs), then run this again"
  if command -v rustup >/dev/null && [ -z "${RUSTUP_TOOLCHAIN:-}" ]; then
    RUSTUP_TOOLCHAIN=$(cd / && rustup show active-toolchain 2>/dev/null | cut -d' ' -f1)
    export RUSTUP_TOOLCHAIN
  fi
}

# locked NAME COMMAND… lets one build of NAME run at a time: two clones on one machine share the cache.
locked() {
  local name=$1; shift
  exec 9>"$POSTHASTE_CACHE/$name.lock"
  flock -n 9 || { say "waiting for another build of $name to finish"; flock 9; }
  "$@" 9>&-
  exec 9>&-
}
