#!/bin/sh
# Builds the reference corpus, build/reference.parquet, of the packages in corpora/reference.txt.
# Takes hours; what is done is not done again when it is started anew. Run by the Makefile.
set -u

# Headers and tools that the packages' configure steps ask for. What the archive does not have is
# done without: files that need it are counted in the report.
if ! dpkg-query -W $(cat corpora/build-dependencies.txt) >/dev/null 2>&1; then
  as_root="env DEBIAN_FRONTEND=noninteractive"
  [ "$(id -u)" = 0 ] || as_root="sudo $as_root"
  $as_root apt-get update -q
  $as_root apt-get install -q -y --no-install-recommends $(cat corpora/build-dependencies.txt) ||
    for package in $(cat corpora/build-dependencies.txt); do
      $as_root apt-get install -q -y --no-install-recommends "$package" ||
        echo "$package is not to be had: going on without it" >&2
    done
fi

# What results are reported by must not be trained on, nor what cBench and MiBench contain. What is in
# them counts, not what would make a good program to train on: hence the wide limits.
mkdir -p build/held-out
held_out=
for suite in blas openblas linux opencv numeric kin; do
  .venv/bin/codezero suite build $suite -o build/held-out/$suite --min-instructions 1 \
    --max-instructions 1000000 --oz-seconds 10 --json > build/held-out/$suite.json
  code=$?
  [ $code -lt 130 ] || exit $code # Ctrl-C
  [ $code = 0 ] || [ -n "${WITH_GAPS:-}" ] || {
    echo "$suite cannot be made whole (see above); WITH_GAPS=1 goes on with what there is" >&2
    exit 2
  }
  [ $code -gt 1 ] || held_out="$held_out build/held-out/$suite"
done

report=build/reference-report.json
.venv/bin/codezero corpus build --debian @corpora/reference.txt --sample "${SAMPLE:-100}" \
  --exclude $held_out -o build/reference.parquet --json > $report.new
code=$?
[ $code -le 1 ] || exit $code # 1: some packages could not be had
mv $report.new $report
.venv/bin/codezero corpus info build/reference.parquet
