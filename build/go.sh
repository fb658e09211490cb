#!/usr/bin/env bash
# Builds one Go program and shows how far it is:   build/go.sh NAME FOLDER PACKAGE ABOUT [go build arguments…]
# FOLDER is the module's, ABOUT the number of packages that a build from an empty cache compiles.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

name=$1 folder=$2 package=$3 about=$4; shift 4
out="$PWD/bin/$name"
mkdir -p bin
command -v go >/dev/null || die "go is not on PATH; install Go 1.26 (https://go.dev/dl), then run this again"
cd "$folder"
step "$name" '^[a-z].*/|^[a-z]+$' "$about" go build -v "$@" -o "$out" "$package"
