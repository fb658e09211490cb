#!/usr/bin/env bash
# Builds libfilcrypto from the Rust sources inside the filecoin-ffi Go module and links the result to DEST, where the
# replace directive of a go.mod looks for it:   build/libfilcrypto.sh DEST
# With --variant instead of DEST it prints which build the environment asks for and does nothing.
#
# The choice of the GPU build is upstream's own: FFI_USE_GPU=0|1 (0 here by default: the CPU), FFI_USE_OPENCL=1,
# FFI_USE_CUDA=1, FFI_USE_CUDA_SUPRASEAL=1; FFI_USE_MULTICORE_SDR=0 and FFI_USE_BLST_PORTABLE=1 as there.
# FFI_DISABLE_FVM is 1 by default; only a Lotus node needs the FVM (FFI_DISABLE_FVM=0).
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

VERSION=v1.36.1
dest=${1:?usage: build/libfilcrypto.sh DEST | --variant}
case $dest in /*|--variant) ;; *) dest=$PWD/$dest ;; esac # the build goes elsewhere

gpu=""
if [ "${FFI_USE_CUDA_SUPRASEAL:-0}" = 1 ]; then gpu=cuda-supraseal
elif [ "${FFI_USE_CUDA:-0}" = 1 ]; then gpu=cuda
elif [ "${FFI_USE_OPENCL:-0}" = 1 ]; then gpu=opencl
elif [ "${FFI_USE_GPU:-0}" = 1 ]; then
  # As upstream: CUDA where the compiler for it is installed, OpenCL otherwise.
  if command -v nvcc >/dev/null; then gpu=cuda; else gpu=opencl; fi
fi
# Upstream's FFI_USE_GPU=0 has the last word over the other switches, unless SupraSeal is asked for.
[ "${FFI_USE_GPU:-}" = 0 ] && [ "$gpu" != cuda-supraseal ] && gpu=""
[ "$dest" = --variant ] || case $gpu in cuda*) command -v nvcc >/dev/null || die "the $gpu build needs nvcc on PATH; install the CUDA toolkit, or use FFI_USE_OPENCL=1 or FFI_USE_GPU=0";; esac

features=()
[ "${FFI_USE_MULTICORE_SDR:-1}" = 0 ] || features+=(multicore-sdr)
if [ "${FFI_DISABLE_FVM:-1}" = 0 ]; then
  features+=(fvm); [ -z "$gpu" ] || features+=("$gpu")
else
  [ -z "$gpu" ] || features+=("$gpu-no-fvm")
fi
[ "${FFI_USE_BLST_PORTABLE:-0}" = 1 ] && features+=(blst-portable)
list=$(IFS=,; printf '%s' "${features[*]}")

variant="$VERSION-$(IFS=+; printf '%s' "${features[*]:-none}")-$(uname -m)"
if [ "$dest" = --variant ]; then printf '%s\n' "$variant"; exit 0; fi
home="$POSTHASTE_CACHE/filecoin-ffi-$variant"
# One cargo target folder for all features: the second variant builds only what differs (6 min instead of 10 with FVM).
target="$POSTHASTE_CACHE/cargo-target-filecoin-ffi-$VERSION"

build() {
  [ -f "$home/complete" ] && return
  use_installed_rust
  local module
  module=$(cd / && GOFLAGS=-mod=mod go mod download -json "github.com/filecoin-project/filecoin-ffi@$VERSION" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  [ -d "$module" ] || die "the Go module filecoin-ffi $VERSION could not be downloaded; check GOPROXY and the network"
  rm -rf "$home"; mkdir -p "$home"
  cp -r "$module/." "$home/"; chmod -R u+w "$home"

  export CARGO_TARGET_DIR=$target
  cd "$home/rust"
  step "libfilcrypto $VERSION ($list)" '^ +Compiling' 330 \
    env RUSTFLAGS="--print native-static-libs" cargo build --release --locked --lib --no-default-features --features "$list"
  local library_log=$STEP_LOG
  # The C header comes out of a test target of the crate; it shares the release objects above.
  step "filcrypto.h" '^ +Compiling' 25 \
    env HEADER_DIR=. RUSTFLAGS="--print native-static-libs" cargo test --release --locked --no-default-features --features "$list,c-headers" build_headers
  find . -name filcrypto.h -exec cp {} "$home/filcrypto.h" \;
  cp "$target/release/libfilcrypto.a" "$home/"
  # What cargo prints is what the static library needs at link time; it goes into the pkg-config file that cgo reads.
  local libs
  libs=$(sed -n 's/^note: native-static-libs: //p' "$library_log" | tail -n 1)
  [ -n "$libs" ] || die "cargo did not print the native libraries of libfilcrypto; remove $target and run this again"
  sed -e "s|@VERSION@|${VERSION#v}|" -e "s|@PRIVATE_LIBS@|$libs|" filcrypto.pc.template >"$home/filcrypto.pc"
  for file in filcrypto.h libfilcrypto.a; do
    [ -s "$home/$file" ] || die "libfilcrypto was built but $home/$file is missing; remove $home and $target and run this again"
  done
  touch "$home/complete"
}

[ -f "$home/complete" ] || locked "filecoin-ffi-$VERSION" build
mkdir -p "$(dirname "$dest")"
ln -sfn "$home" "$dest"
