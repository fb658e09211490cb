#!/usr/bin/env bash
# Builds Temporal's own command-line programs into bin/: tctl and temporal, in the versions that the tests drive and the
# guide describes. The binaries are kept in the cache by version and linked from there.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# tctl is retired upstream; this is the last version, and it works against server 1.32. v1.6 and later of the CLI have a
# replace directive, which go install refuses.
TCTL=v1.18.0
TEMPORAL=v1.5.1
bin="$PWD/bin"
home="$POSTHASTE_CACHE/tools"

# Their modules are not ours: our tags and flags are none of their concern, and pure Go runs on any machine.
export GOFLAGS='' CGO_ENABLED=0

# "go install" of tctl is refused for its version list, so it is built in a copy of the module.
build_tctl() {
  [ -x "$home/tctl-$TCTL" ] && return
  local answer module work
  # It says in its answer what went wrong, too.
  answer=$(cd / && GOFLAGS=-mod=mod go mod download -json "github.com/temporalio/tctl@$TCTL" 2>&1) || true
  module=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$answer")
  [ -d "$module" ] || die "the Go module tctl $TCTL could not be downloaded; check GOPROXY and the network: $(sed -n 's/^\t"Error": "\(.*\)"$/\1/p' <<<"$answer")"
  work="$home/work-tctl-$TCTL"
  rm -rf "$work"; cp -r "$module" "$work"; chmod -R u+w "$work"
  (cd "$work" && step "tctl $TCTL" '^[a-z].*/|^[a-z]+$' 650 go build -v -o "$work/tctl.built" ./cmd/tctl)
  mv "$work/tctl.built" "$home/tctl-$TCTL"
  rm -rf "$work"
}

build_temporal() {
  [ -x "$home/temporal-$TEMPORAL" ] && return
  local work="$home/work-temporal-$TEMPORAL"
  rm -rf "$work"; mkdir -p "$work"
  (cd / && GOBIN="$work" step "temporal $TEMPORAL" '^[a-z].*/|^[a-z]+$' 1300 go install -v "github.com/temporalio/cli/cmd/temporal@$TEMPORAL")
  mv "$work/temporal" "$home/temporal-$TEMPORAL"
  rmdir "$work"
}

command -v go >/dev/null || die "go is not on PATH; install Go 1.26 (https://go.dev/dl), then run this again"
mkdir -p "$home" "$bin"
[ -x "$home/tctl-$TCTL" ] || locked tctl build_tctl
[ -x "$home/temporal-$TEMPORAL" ] || locked temporal build_temporal
ln -sfn "$home/tctl-$TCTL" "$bin/tctl"
ln -sfn "$home/temporal-$TEMPORAL" "$bin/temporal"
