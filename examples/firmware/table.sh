#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The size of the linked image by compiler, as a Markdown table: bytes of .text,
# and of all that is in flash. Every image also runs, if QEMU is installed.

set -eu

out=${OUT:-build/table}
unset OUT MAKEFLAGS MFLAGS MAKELEVEL
goal=all
if command -v qemu-system-arm && command -v qemu-system-riscv32; then
  goal=check
fi > /dev/null

row() { # name, compiler, and what else make is told
  name=$1
  compiler=$2
  shift 2
  folder=$out/$(echo "$name" | tr -d '`,' | tr ' ' _)
  printf '| %s |' "$name"
  for board in lm3s virt; do
    make -s "BOARD=$board" "CC=$compiler" "OUT=$folder/$board" "$@" "$goal" >&2
    llvm-size-22 -A "$folder/$board/node" | awk '
      $1 == ".text" { text = $2 }
      $1 ~ /^\.(vectors|text|rodata|ARM\.exidx|data)$/ { flash += $2 }
      END { printf " %d | %d |", text, flash }'
  done
  printf '\n'
}

rm -rf "$out"
echo '| | lm3s `.text` | flash | virt `.text` | flash |'
echo '| --- | ---: | ---: | ---: | ---: |'
row '`clang -Oz`' clang-22
row '`codezero-cc -Oz`' codezero-cc
row '`codezero-cc -Oz`, effort 6' 'env CODEZERO_EFFORT=6 codezero-cc'
row '`clang -Oz -flto`' clang-22 LTO=1
row '`clang -Oz -flto`, `codezero link`' clang-22 LTO=1 'LINKER=codezero link'
row 'the same of bitcode that is not optimised' clang-22 LTO=1 'LINKER=codezero link' \
  'CFLAGS=-Oz -Xclang -disable-llvm-passes'
