#!/usr/bin/env bash
# Makes the Groth16 parameters for window and winning PoSt of 2 KiB sectors and prints their folder.
#
# The keys are random and their secret was in this machine's memory: they prove nothing to anybody else. So they have a
# folder of their own and never go into that of real parameters (/var/tmp/filecoin-proof-parameters).
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

VERSION=14.1.0 # of the crate fil-proofs-param; it belongs to the proofs crates 19.1 of filecoin-ffi v1.36.1
tool="$POSTHASTE_CACHE/fil-proofs-param-$VERSION-$(uname -m)"
home="$POSTHASTE_CACHE/parameters-2KiB-$VERSION"

build() {
  [ -f "$home/complete" ] && return
  if [ ! -x "$tool/bin/paramcache" ]; then
    use_installed_rust
    # A folder outside the repository: a rust-toolchain.toml or cargo configuration near it must not matter.
    cd "$POSTHASTE_CACHE"
    step "paramcache $VERSION" '^ +Compiling' 270 \
      env CARGO_TARGET_DIR="$POSTHASTE_CACHE/cargo-target-fil-proofs-param-$VERSION" \
      cargo install fil-proofs-param --version "$VERSION" --locked --no-default-features --bin paramcache --root "$tool"
    rm -rf "$POSTHASTE_CACHE/cargo-target-fil-proofs-param-$VERSION"
  fi
  rm -rf "$home"; mkdir -p "$home"
  step "parameters for 2 KiB sectors" 'generating|parameter' 8 \
    env FIL_PROOFS_PARAMETER_CACHE="$home" RUST_LOG=info "$tool/bin/paramcache" --only-post --sector-sizes 2048
  touch "$home/complete"
}

[ -f "$home/complete" ] || locked "parameters-2KiB-$VERSION" build
printf '%s\n' "$home"
