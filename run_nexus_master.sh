#!/usr/bin/env bash
# Sets Nexus up (the first time) and runs the whole pipeline: teachers in, student out.
# Safe to run again after any stop: finished stages are skipped, the rest resumes. Options: --help.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd -P)
source "$root/scripts/setup_env.sh"
nexus_setup "$root" factory
exec "$NEXUS_PYTHON" "$root/scripts/nexus_pipeline.py" "$@" # exec: signals sent to this process reach Python
