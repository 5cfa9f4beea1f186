#!/usr/bin/env bash
# Sets Nexus up (the first time) and runs every check: ruff, the format, mypy, pytest. All run, even after a failure.
#   ./run_tests.sh                 what CI runs
#   ./run_tests.sh --slow          the slow tests as well
#   ./run_tests.sh -k memory -x    any other option goes to pytest
set -uo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd -P)
source "$root/scripts/setup_env.sh"
nexus_setup "$root" dev
cd "$root" || exit 1

options=()
[[ -t 1 ]] && options+=(--color=yes) # its output goes through a pipe, to be kept for the summary
for option in "$@"; do
    if [[ "$option" == --slow ]]; then options+=(-m "not gpu"); else options+=("$option"); fi
done

summary=()
failed=0
check() { # NAME COMMAND...
    local name=$1 start=$SECONDS verdict=ok
    shift
    nexus_say "$name"
    "$@" || { verdict=FAILED; failed=1; }
    summary+=("$(printf '%-8s %s (%s s)' "$verdict" "$name" $((SECONDS - start)))")
}

# Two workers where there are two cores, each with one thread. A file's tests stay together: they share fixtures.
if [[ $(getconf _NPROCESSORS_ONLN) -ge 2 && " ${options[*]-} " != *" -n"* && " ${options[*]-} " != *" --pdb "* ]]; then
    options=(-n 2 --dist loadfile "${options[@]+"${options[@]}"}")
fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
run_pytest() { "$NEXUS_PYTHON" -m pytest "${options[@]+"${options[@]}"}" 2>&1 | tee "$log"; }

check "ruff check" "$NEXUS_PYTHON" -m ruff check .
check "ruff format" "$NEXUS_PYTHON" -m ruff format --check .
check "mypy" "$NEXUS_PYTHON" -m mypy
check "pytest" run_pytest

printf '\n'
printf '%s\n' "${summary[@]}"
tail -n 1 "$log"
exit "$failed"
