#!/bin/sh
# Programs to run before and after optimisation, into FOLDER/csmith and FOLDER/torture:
#   scripts/build-soundness-programs.sh FOLDER [CSMITH_PROGRAMS]
# Random programs of Debian's csmith, which print a checksum of their variables, and the tests
# gcc.c-torture/execute of GCC's testsuite that are programs by themselves. Kept are those that do
# the same at -O0, -O2 and -Oz by clang: the others have undefined behaviour, run too long, or want
# flags that only GCC has.
set -eu
folder=$1
count=${2:-300}
clang=${CLANG:-clang-22}
csmith_headers=/usr/include/csmith
gcc=gcc-12-source

[ "$(id -u)" = 0 ] || sudo=sudo
[ -d $csmith_headers ] && command -v csmith > /dev/null ||
  ${sudo:-} apt-get install -y -q csmith libcsmith-dev
mkdir -p "$folder/csmith" "$folder/torture"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# behaves FILE: whether it does the same at every level, and without the passes of -Oz, which some
# tests do not link without; within the time that its runs may take.
behaves() {
  rm -f "$scratch"/out.*
  for level in -O0 -O2 -Oz "-Oz -Xclang -disable-llvm-passes"; do
    # shellcheck disable=SC2086
    timeout 60 "$clang" -w -I$csmith_headers $level "$1" -lm -o "$scratch/program" \
      > /dev/null 2>&1 || return 1
    (ulimit -c 0; timeout 5 "$scratch/program") > "$scratch/out" 2> /dev/null || return 1
    [ -e "$scratch/out.first" ] || cp "$scratch/out" "$scratch/out.first"
    cmp -s "$scratch/out" "$scratch/out.first" || return 1
  done
}

seed=0
have=$(find "$folder/csmith" -name '*.c' | wc -l)
while [ "$have" -lt "$count" ]; do
  seed=$((seed + 1))
  target=$folder/csmith/csmith-$seed.c
  [ -e "$target" ] && continue
  csmith --seed $seed --max-funcs 6 --max-block-depth 4 > "$scratch/candidate.c"
  if behaves "$scratch/candidate.c"; then
    mv "$scratch/candidate.c" "$target"
    have=$((have + 1))
  fi
done

if [ -z "$(ls "$folder/torture")" ]; then
  (cd "$scratch" && apt-get download -q $gcc > /dev/null && dpkg-deb -x $gcc*.deb gcc)
  tar -xf "$scratch"/gcc/usr/src/gcc-12/gcc-*.tar.* -C "$scratch" --wildcards \
    '*/gcc/testsuite/gcc.c-torture/execute/*'
  find "$scratch" -path '*c-torture/execute/*.c' -not -path '*/builtins/*' | sort |
    while read -r test; do
      # By itself: without the headers beside it.
      copy=$folder/torture/$(basename "$test")
      cp "$test" "$copy"
      behaves "$copy" || rm "$copy"
    done
fi
echo "$(find "$folder/csmith" -name '*.c' | wc -l) of csmith," \
  "$(find "$folder/torture" -name '*.c' | wc -l) of gcc.c-torture/execute"
