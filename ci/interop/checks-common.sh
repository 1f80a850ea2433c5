# Shared by all scripts: a place to work, programs, servers, checks, tidying up. Meant to be sourced.
#
# As root on Debian the scripts install what they need, unless INTEROP_INSTALL=0; otherwise they say
# what is missing. Python's packages go to an environment of the script's own, unless INTEROP_VENV
# names one. Everything listens on 127.0.0.1, and is gone when the script ends.

set -eu
# Functions and variables are exported, so that `timeout` can run them in a shell of its own.
set -a

repo=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
started=""
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    INTEROP_INSTALL=${INTEROP_INSTALL:-1}
fi
passed=0
failed=0

tidy_up() {
    for pid in $started; do
        kill "$pid" 2>/dev/null || true
    done
    for pid in $started; do
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap tidy_up EXIT
trap 'exit 1' INT TERM

need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null && return
    install_package "$2" && return
    echo "missing: $1 (apt-get install $2, or set INTEROP_INSTALL=1)" >&2
    exit 2
}

install_package() { # install_package PACKAGE, if that is allowed
    [ "${INTEROP_INSTALL:-0}" = 1 ] || return 1
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y --no-install-recommends "$1" >"$work/install.log" 2>&1 && return
    apt-get update >"$work/install.log" 2>&1 &&
        apt-get install -y --no-install-recommends "$1" >"$work/install.log" 2>&1
}

need_python() { # a virtual environment with these packages
    need python3 python3
    python3 -c 'import ensurepip' 2>/dev/null || install_package python3-venv ||
        { echo "missing: python3-venv" >&2 && exit 2; }
    python="${INTEROP_VENV:-}/bin/python3"
    if [ -z "${INTEROP_VENV:-}" ]; then
        python3 -m venv "$work/venv"
        python="$work/venv/bin/python3"
        "$python" -m pip install --quiet --disable-pip-version-check "$@"
    fi
}

build() { # the examples, unless INTEROP_EXAMPLES names a folder that has them
    examples=${INTEROP_EXAMPLES:-}
    [ -z "$examples" ] || return 0
    echo "building the examples"
    (cd "$repo" && cargo build --quiet --release -p "${package:-viper-ssh}" --examples)
    examples="${CARGO_TARGET_DIR:-$repo/target}/release/examples"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

wait_for_port() { # wait_for_port PORT [LOG]
    for _ in $(seq 100); do
        python3 - "$1" <<'PY' 2>/dev/null && return
import socket, sys
socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1).close()
PY
        sleep 0.1
    done
    echo "nothing listens on port $1" >&2
    tail -n 5 "${2:-/dev/null}" >&2
    exit 1
}

start() { # start COMMAND...: a server on $port; what it says goes to $log
    log=${log:-$work/server.log}
    "$@" >"$log" 2>&1 </dev/null &
    server=$!
    started="$started $server"
    wait_for_port "$port" "$log"
    log=""
}

stop() { # the server that was started last
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
}

limited() { # limited COMMAND...: the command, which may be a function, for at most $LIMIT seconds
    timeout -k 5 "${LIMIT:-60}" bash -c '"$@"' limited "$@"
}

check() { # check NAME COMMAND...: the command succeeds
    name=$1
    shift
    result=0
    limited "$@" >"$work/out" 2>"$work/err" || result=$?
    if [ "$result" -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok     $name"
    else
        failed=$((failed + 1))
        case $result in
            124 | 137) echo "FAILED $name (not done after ${LIMIT:-60} s)" ;;
            *) echo "FAILED $name" ;;
        esac
        tail -n 5 "$work/out" "$work/err" | sed 's/^/     /'
    fi
}

check_status() { # check_status NAME STATUS COMMAND...: the command ends with this status
    name=$1
    wanted=$2
    shift 2
    status=0
    limited "$@" >"$work/out" 2>"$work/err" || status=$?
    check "$name" test "$status" -eq "$wanted"
}

finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
