#!/usr/bin/env bash
# Sets up the environment and runs Roost.
#
#   ./launch.sh             the cluster that roost.yaml beside this file describes; Ctrl-C stops all of it
#   ./launch.sh demo        the whole story in about a minute
#   ./launch.sh ls          any other command of roost, with its arguments
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
. "$ROOT/scripts/environment.sh"

ensure_environment run

if [ $# -eq 0 ]; then
    set -- start --config "$ROOT/roost.yaml"
fi
exec "$VENV/bin/roost" "$@"
