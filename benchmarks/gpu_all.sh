#!/bin/sh
# Both GPU scripts in one go, for a machine that is there for minutes only: tests first, then the benchmark.
#   sh benchmarks/gpu_all.sh FOLDER [PYTHON]
# Into FOLDER: test-gpu.log, test-gpu.xml, bench-gpu.log, gpu.md, and gpu.json with the raw numbers. docs/measured/gpu.md is
# written too. Each part has a limit of its own; the exit code is that of the tests, or else of the benchmark.
set -u
out=${1:?usage: sh benchmarks/gpu_all.sh FOLDER [PYTHON]}
python=${2:-python3}
mkdir -p "$out"
cd "$(dirname "$0")/.." || exit 2
PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
PYTHONUNBUFFERED=1
HF_HUB_OFFLINE=1
TOKENIZERS_PARALLELISM=false
export PYTHONPATH PYTHONUNBUFFERED HF_HUB_OFFLINE TOKENIZERS_PARALLELISM

limited() { # seconds, log file, command: as it goes on the terminal and in the log; its exit code
    seconds=$1 log=$2
    shift 2
    { timeout -s INT -k 10 "$seconds" "$@" 2>&1; echo $? >"$log.code"; } | tee "$log"
    code=$(cat "$log.code")
    rm -f "$log.code"
    return "$code"
}

limited "${TEST_SECONDS:-200}" "$out/test-gpu.log" \
    "$python" -m pytest -m gpu tests/gpu -v --tb=short --durations=10 -p no:cacheprovider --junitxml="$out/test-gpu.xml"
tests=$?
limited "${BENCH_SECONDS:-290}" "$out/bench-gpu.log" \
    "$python" -m benchmarks.gpu --seconds "$((${BENCH_SECONDS:-290} - 20))" --out docs/measured/gpu.md --json "$out/gpu.json"
bench=$?
[ -f docs/measured/gpu.md ] && cp docs/measured/gpu.md "$out/gpu.md"
echo "tests ended with $tests, the benchmark with $bench"
[ "$tests" -ne 0 ] && exit "$tests"
exit "$bench"
