# shellcheck shell=bash
# Makes the project's virtual environment, or brings it up to date; sourced by run_nexus_master.sh and run_tests.sh.
#
#   nexus_setup ROOT EXTRA     ROOT: the project folder; EXTRA: "factory", or "dev" for the checks as well
#
# Afterwards NEXUS_PYTHON is the environment's python. The environment is ROOT/.venv, or $NEXUS_VENV if that is set.
# A stamp inside it, written last, says what was installed: with the right stamp nothing is done; without one, an
# environment that these scripts made is thrown away and made anew (its set-up was killed), and one that the user
# made is installed into but never thrown away.

nexus_say() { printf 'nexus: %s\n' "$*"; }
nexus_fail() { printf 'nexus: %s\n' "$@" >&2; exit 1; }

# The first Python on the PATH that is new enough. Each is started: a name may be a shim for nothing.
nexus_find_python() {
    local name
    for name in python3.11 python3.12 python3.13 python3.14 python3 python; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$name"
            return
        fi
    done
    nexus_fail "Python 3.11 or newer is needed, and none was found. Install one, for instance:" \
        "  Debian, Ubuntu:  sudo apt install python3.11 python3.11-venv" \
        "  macOS:           brew install python@3.11" \
        "  conda:           conda create -n nexus python=3.11 && conda activate nexus"
}

# What the environment depends on, as one line: the versions asked for, and where things lie (environments can't move).
nexus_fingerprint() {
    { cat "$1/pyproject.toml" "$1/constraints.txt"; printf '%s\n' "$1" "$2"; } | cksum | tr ' ' '-'
}

nexus_is_ready() { # VENV EXTRA FINGERPRINT; an environment for "dev" serves "factory" too
    local stamp=''
    [[ -f "$1/.nexus-stamp" ]] && stamp=$(<"$1/.nexus-stamp")
    [[ "$stamp" == "$2 $3" || "$stamp" == "dev $3" ]] && "$1/bin/python" -c '' >/dev/null 2>&1
}

# One of ours that cannot be used: not finished, moved from elsewhere (its scripts name the old place), Python gone.
nexus_is_spoilt() { # VENV
    [[ -e "$1/.nexus-made" ]] || return 1
    [[ "$(<"$1/.nexus-made")" != "$1" || ! -f "$1/.nexus-stamp" ]] || ! "$1/bin/python" -c '' >/dev/null 2>&1
}

nexus_make_venv() { # VENV
    local python
    if nexus_is_spoilt "$1"; then
        nexus_say "the last set-up did not finish, or the environment was moved: making it anew"
        rm -rf "$1"
    fi
    if [[ -d "$1" && -n "$(ls -A "$1")" ]]; then
        "$1/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 ||
            nexus_fail "$1 is there, but is no virtual environment with Python 3.11 and pip." \
                "Move it away, or set NEXUS_VENV to the folder that shall hold the environment."
        return
    fi
    python=$(nexus_find_python) || exit 1
    nexus_say "making a virtual environment in $1 with $("$python" -V 2>&1)"
    mkdir -p "$1"
    printf '%s\n' "$1" >"$1/.nexus-made" # from here on this folder is ours to throw away
    "$python" -m venv "$1" >"$1/install.log" 2>&1 ||
        nexus_fail "$python cannot make virtual environments: $(tail -n 1 "$1/install.log")" \
            "On Debian and Ubuntu: sudo apt install python3-venv"
}

nexus_pip() { # VENV WHAT ARGUMENTS...
    local venv=$1 what=$2 start=$SECONDS
    shift 2
    nexus_say "installing $what ..."
    if ! PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip install --no-input "$@" \
        >>"$venv/install.log" 2>&1; then
        tail -n 25 "$venv/install.log" >&2
        nexus_fail "installing $what failed; the lines above are the end of $venv/install.log." \
            "Run the same command again once the cause is gone."
    fi
    nexus_say "  done in $((SECONDS - start)) s"
}

nexus_install() { # ROOT VENV EXTRA FINGERPRINT
    local torch
    rm -f "$2/.nexus-stamp"
    : >"$2/install.log"
    torch=$(grep -E '^torch==' "$1/constraints.txt" || true)
    if [[ -n "$torch" ]]; then # first and alone: it is by far the largest, and decides between CPU and CUDA
        nexus_pip "$2" "$torch (large, once)" -c "$1/constraints.txt" "$torch"
    fi
    nexus_pip "$2" "Nexus and what it needs" -c "$1/constraints.txt" -e "$1[$3]"
    printf '%s %s\n' "$3" "$4" >"$2/.nexus-stamp.new"
    mv "$2/.nexus-stamp.new" "$2/.nexus-stamp"
}

nexus_setup() { # ROOT EXTRA
    local venv=${NEXUS_VENV:-$1/.venv} print
    mkdir -p "$(dirname "$venv")"
    venv=$(cd "$(dirname "$venv")" && pwd -P)/$(basename "$venv")
    print=$(nexus_fingerprint "$1" "$venv")
    unset PYTHONHOME PYTHONPATH # they would reach into the environment
    if ! nexus_is_ready "$venv" "$2" "$print"; then
        (
            if command -v flock >/dev/null; then # one set-up at a time; the lock goes with the process that holds it
                exec 9>"$venv.lock"
                flock -n 9 || { nexus_say "another set-up is under way: waiting for it"; flock 9; }
            fi
            nexus_is_ready "$venv" "$2" "$print" || { nexus_make_venv "$venv" && nexus_install "$1" "$venv" "$2" "$print"; }
        ) || exit $?
        nexus_say "the environment is ready: $venv"
    fi
    NEXUS_PYTHON=$venv/bin/python
}
