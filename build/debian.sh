#!/usr/bin/env bash
# Installs the Debian packages that are missing, where it may.
#
#   build/debian.sh        what a build needs; what it may not install it names, and stops
#   build/debian.sh test   what some tests need: Prometheus, Alertmanager, PostgreSQL, Chromium; what it may not install it names, and
#                          goes on, since those tests are skipped then. None of their services is started, or enabled for the next
#                          boot. POSTHASTE_INSTALL=no installs nothing.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# missing_of PACKAGE… prints those that are not installed.
missing_of() {
  local package
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || echo "$package"
  done
}

# become_root says in as_root how to run something as root, or fails.
as_root=()
become_root() {
  [ "$(id -u)" -eq 0 ] && return
  command -v sudo >/dev/null && sudo -n true 2>/dev/null && as_root=(sudo -n)
}

# install PACKAGE…
install() {
  step "apt-get update" '^(Get|Hit)' 5 "${as_root[@]}" apt-get update
  step "apt-get install $*" '^(Get|Unpacking|Setting)' 20 \
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

for_build() {
  local want=(gcc libc6-dev make pkg-config libhwloc-dev) missing
  case "${FFI_USE_OPENCL:-0}${FFI_USE_GPU:-0}" in 00) ;; *) want+=(ocl-icd-opencl-dev) ;; esac
  # On another system the packages have other names; the compiler and hwloc are what is looked for there.
  if ! command -v dpkg-query >/dev/null; then
    command -v cc >/dev/null || die "a C compiler is missing; install gcc"
    command -v pkg-config >/dev/null || die "pkg-config is missing; install it"
    pkg-config --exists hwloc || die "the hwloc library with its headers is missing; install it (libhwloc-dev on Debian, hwloc-devel on Fedora)"
    return
  fi
  mapfile -t missing < <(missing_of "${want[@]}")
  [ "${#missing[@]}" -eq 0 ] && return
  become_root || die "these Debian packages are missing: ${missing[*]}; run: sudo apt-get install ${missing[*]}"
  locked apt install "${missing[@]}"
}

# The packages of the tests, and the services that come with them.
test_packages=(prometheus prometheus-alertmanager postgresql chromium)
services_of() {
  case $1 in
    prometheus) echo prometheus.service ;;
    prometheus-alertmanager) echo prometheus-alertmanager.service ;;
    postgresql) echo postgresql.service ;;
  esac
}

# The way of Debian to say that no service may be started now (policy-rc.d(8)). Containers have such a file; ours goes away again, also
# one that a run left behind which was killed.
policy=/usr/sbin/policy-rc.d
ours="of build/debian.sh of posthaste, for as long as it installs packages"
forbid_services() {
  [ -e "$policy" ] && ! grep -qF "$ours" "$policy" && return
  trap allow_services EXIT
  printf '#!/bin/sh\n# %s\nexit 101\n' "$ours" | "${as_root[@]}" tee "$policy" >/dev/null &&
    "${as_root[@]}" chmod 755 "$policy"
}
allow_services() { "${as_root[@]}" rm -f "$policy"; }

# install_quietly PACKAGE… installs them with no service started or enabled. Those of packages that were there stay as they are.
install_quietly() {
  local package services=()
  forbid_services || die "$policy cannot be written, and services would be started"
  install "$@"
  command -v systemctl >/dev/null || return 0
  for package in "$@"; do mapfile -t -O "${#services[@]}" services < <(services_of "$package"); done
  [ "${#services[@]}" -eq 0 ] || "${as_root[@]}" systemctl disable "${services[@]}" >/dev/null 2>&1 || say "could not disable ${services[*]}: they start at the next boot"
}

for_tests() {
  local missing why
  if ! command -v dpkg-query >/dev/null; then
    say "not a Debian system: tests that need prometheus, promtool, prometheus-alertmanager, PostgreSQL or chromium are skipped where those are missing"
    return
  fi
  mapfile -t missing < <(missing_of "${test_packages[@]}")
  [ "${#missing[@]}" -eq 0 ] && return
  if [ "${POSTHASTE_INSTALL:-yes}" = no ]; then why="POSTHASTE_INSTALL=no"
  elif ! become_root; then why="only root may install them"
  elif ! (locked apt install_quietly "${missing[@]}"); then why="apt-get failed"
  else return 0; fi
  say "these Debian packages are missing ($why): ${missing[*]}; tests that need them are skipped. To have them: sudo apt-get install ${missing[*]}"
}

case "${1:-build}" in
  build) for_build ;;
  test) for_tests ;;
  *) die "build/debian.sh $1: there is only build and test" ;;
esac
