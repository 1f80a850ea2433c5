# A booted ViperOS and a way in, by OpenSSH: sourced by the scripts that need one.
#
# It wants $disk_mib, and the keys of `keys`; `boot` is given what is to lie on the disk.

. "$repo/ci/interop/exec-common.sh"

echo "building"
build_distro 2>"$work/build.log" || { cat "$work/build.log" >&2 && exit 1; }

boot() { # boot OPTION...: on the kept disk; the machine runs until there is a file T:done
    guest_port=$(free_port)
    exec_guest --disk "$work/disk.img" --disk-size "${disk_mib}M" --mem 512M \
        --hostfwd "tcp:$guest_port-22" --timeout "${TIMEOUT:-5400}" "$@" \
        'Delete T:done >NIL: 2>NIL: ; until Dir T:done >NIL: 2>NIL: ; do Wait 1; done' \
        >"$work/guest.out" 2>"$work/guest.err" &
    guest=$!
    started="$started $guest"
    wait_for_guest
}

# QEMU takes connections before the guest does: somebody there says so.
wait_for_guest() {
    for _ in $(seq "${BOOT_TRIES:-100}"); do
        kill -0 "$guest" 2>/dev/null || { cat "$work/guest.err" >&2 && exit 1; }
        python3 - "$guest_port" <<'PY' 2>/dev/null && return
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)
s.settimeout(5)
sys.exit(not s.recv(8).startswith(b"SSH-2.0-"))
PY
        sleep 1
    done
    echo "the guest does not answer" >&2
    exit 1
}

shut_down() { # shut_down NAME
    run_user $target 'Echo done >T:done' || true
    for _ in $(seq 60); do
        kill -0 "$guest" 2>/dev/null || break
        sleep 1
    done
    result=0
    if kill "$guest" 2>/dev/null; then result=1; fi
    wait "$guest" || result=$?
    check "$1" test "$result" -eq 0
}

common="-F none -o BatchMode=yes -o IdentitiesOnly=yes -o UserKnownHostsFile=$work/known_hosts
    -o StrictHostKeyChecking=accept-new -o GlobalKnownHostsFile=none -o ConnectTimeout=60"
target=viper@127.0.0.1
run() { # run KEY OPTION...: ssh with a key; words in $extra win over the common ones
    key=$1
    shift
    # shellcheck disable=SC2086 # the options are words
    ssh ${extra:-} $common -i "$work/$key" -p "$guest_port" "$@"
}
run_user() { run user "$@"; }
start_ssh() { # the same in the background, where $! is ssh itself
    # shellcheck disable=SC2086
    exec ssh $common -i "$work/user" -p "$guest_port" "$@" </dev/null
}
same_output() { # same_output TEXT COMMAND...
    wanted=$1
    shift
    [ "$("$@")" = "$wanted" ]
}
copy() { # copy OPTION... SOURCE TARGET
    # shellcheck disable=SC2086
    scp -q $common -i "$work/user" -P "$guest_port" "$@"
}
fetch() { copy "$target:$1" "$2"; } # fetch FILE-OF-THE-GUEST FILE
seconds() { # seconds NAME COMMAND...: the check, and how long it took
    began=$(date +%s)
    check "$@"
    echo "       $(($(date +%s) - began)) s"
}
