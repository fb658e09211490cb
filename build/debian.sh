#!/usr/bin/env bash
# Installs the Debian packages that a build needs and that are missing, where it may; otherwise it names them and stops.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

want=(gcc libc6-dev make pkg-config libhwloc-dev)
case "${FFI_USE_OPENCL:-0}${FFI_USE_GPU:-0}" in 00) ;; *) want+=(ocl-icd-opencl-dev) ;; esac

# On another system the packages have other names; the compiler and hwloc are what is looked for there.
if ! command -v dpkg-query >/dev/null; then
  command -v cc >/dev/null || die "a C compiler is missing; install gcc"
  command -v pkg-config >/dev/null || die "pkg-config is missing; install it"
  pkg-config --exists hwloc || die "the hwloc library with its headers is missing; install it (libhwloc-dev on Debian, hwloc-devel on Fedora)"
  exit 0
fi

missing=()
for package in "${want[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ "${#missing[@]}" -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root=(sudo -n)
  else die "these Debian packages are missing: ${missing[*]}; run: sudo apt-get install ${missing[*]}"; fi
fi
install() {
  step "apt-get update" '^(Get|Hit)' 5 "${as_root[@]}" apt-get update
  step "apt-get install ${missing[*]}" '^(Get|Unpacking|Setting)' 20 \
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}
locked apt install
