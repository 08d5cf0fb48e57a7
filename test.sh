#!/usr/bin/env bash
# Sets up the environment and runs everything that must be green: the linters first, then the tests.
#
#   ./test.sh                       all but tests/lab and what is marked slow or browser
#   ./test.sh --all                 everything; installs the libraries that the tests of writers run
#   ./test.sh tests/unit -k ids     other arguments go to pytest
#   ./test.sh tests/sim --sim 10000 beside each other on all cores; on two of them with: -n 2
#
# Quiet where green. The last line printed is pytest's summary.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
. "$ROOT/scripts/environment.sh"

everything=no
arguments=()
for argument in "$@"; do
    if [ "$argument" = --all ]; then
        everything=yes
    else
        arguments+=("$argument")
    fi
done

cd "$ROOT"
if [ "$everything" = yes ]; then
    ensure_environment frameworks
else
    ensure_environment dev
fi
# Hundreds of processes are about to start, each of which would compile the modules anew where Python may not keep them.
"$VENV/bin/python" -m compileall -q src tests

# check COMMAND...: silent when it passes; otherwise its output, and the command to run it again.
check() {
    local output
    if ! output="$("$@" 2>&1)"; then
        say "$output"
        say ""
        die "$(basename "$1") failed. Again: ${*/#$ROOT\//}"
    fi
}

checked=(src tests scripts)
if [ -n "$(find bench -name '*.py' 2>/dev/null | head -n 1)" ]; then
    checked+=(bench)
fi
check "$VENV/bin/ruff" check --quiet .
check "$VENV/bin/ruff" format --quiet --check .
check "$VENV/bin/mypy" "${checked[@]}"
check "$VENV/bin/lint-imports"

selection=()
if [ "$everything" = no ]; then
    selection+=(-m "not slow and not browser")
    case " $* " in
        *tests/lab*) ;;
        *) selection+=(--ignore=tests/lab) ;;
    esac
fi
# Many tests wait for real processes, so a few run beside each other; those that share a cluster stay together, in their
# order. Whoever chooses some of them chooses that too.
# Seeds of the simulator are alike and many: they take all cores.
workers=()
case " ${arguments[*]-} " in
    "  ") workers+=(-n 3 --dist loadgroup) ;;
    *" -n "*) ;;
    *" --sim "*) workers+=(-n auto --dist worksteal) ;;
esac
exec "$VENV/bin/python" -m pytest -q ${workers[@]+"${workers[@]}"} ${selection[@]+"${selection[@]}"} ${arguments[@]+"${arguments[@]}"}
