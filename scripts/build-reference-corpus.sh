#!/bin/sh
# Builds the reference corpus, build/reference.parquet, of the packages in corpora/reference.txt.
# Takes hours; what is done is not done again when it is started anew. Run by the Makefile.
set -u

# Headers and tools that the packages' configure steps ask for. What the archive does not have is
# done without: files that need it are counted in the report.
if ! dpkg-query -W $(cat corpora/build-dependencies.txt) >/dev/null 2>&1; then
  as_root=
  [ "$(id -u)" = 0 ] || as_root=sudo
  export DEBIAN_FRONTEND=noninteractive
  $as_root apt-get update -q
  $as_root apt-get install -q -y --no-install-recommends $(cat corpora/build-dependencies.txt) ||
    for package in $(cat corpora/build-dependencies.txt); do
      $as_root apt-get install -q -y --no-install-recommends "$package" ||
        echo "$package is not to be had: going on without it" >&2
    done
fi

# What results are reported by must not be trained on. A package that cannot be had is said, and its
# suite is the smaller for it.
for suite in blas openblas linux opencv numeric kin; do
  .venv/bin/codezero suite build $suite -o build/held-out/$suite
  [ $? -le 1 ] || exit 2
done

.venv/bin/codezero corpus build --debian @corpora/reference.txt --sample "${SAMPLE:-200}" \
  --exclude build/held-out/* -o build/reference.parquet --json > build/reference-report.json
code=$?
[ $code -le 1 ] || exit $code  # 1: some packages could not be had
.venv/bin/codezero corpus info build/reference.parquet
