#!/bin/sh
# Installs what the build, the front ends and the tests need on Debian 12, if it is not there yet.
# Run by the Makefile; needs root, or sudo.
set -eu

packages="
  llvm-22-dev clang-22 clang-format-22 lld-22 flang-22
  cmake g++ make libzstd-dev zlib1g-dev
  python3-venv python3-dev
  libobjc-12-dev procps binutils dpkg-dev debhelper
"
# Any rustc will do: many have a newer one than Debian's.
command -v rustc >/dev/null || packages="$packages rustc"

missing=
for package in $packages; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "Installing:$missing"
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
$as_root apt-get update -q
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -q -y --no-install-recommends $missing
