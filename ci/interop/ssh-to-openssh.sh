#!/usr/bin/env bash
# Our client into OpenSSH's sshd: every algorithm, log-in, files, forwarding, new keys.
. "$(dirname "$0")/ssh-common.sh"

need ssh-keygen openssh-client
need sshd openssh-server
need python3 python3
build
keys
start_sshd "RekeyLimit 1M"
size_mib=${SIZE_MIB:-64}

ours() { # ours OPTION...: our client as root
    "$examples/ssh_client" --port "$port" --user root --known-hosts "$work/known_hosts" \
        --accept-new "$@"
}
ours_user() { ours --key "$work/user" "$@"; }

same_output() { # same_output TEXT COMMAND...
    wanted=$1
    shift
    [ "$("$@" 2>/dev/null)" = "$wanted" ]
}

check_status "exit status" 7 ours_user 127.0.0.1 'exit 7'
check "output" same_output hello ours_user 127.0.0.1 'echo hello; echo error >&2'
standard_error() { ours_user 127.0.0.1 'echo only-here >&2' 2>&1 >/dev/null | grep -qx only-here; }
check "standard error" standard_error
check_status "signal" 254 ours_user 127.0.0.1 'kill -9 $$'
end_of_input() { seq 1000 | ours_user 127.0.0.1 'wc -l' | grep -qx ' *1000'; }
check "end of input" end_of_input
check "environment" same_output hi ours_user --env GREETING=hi 127.0.0.1 'echo $GREETING'
check "terminal" same_output "$(printf '24 80\r')" ours_user --pty 127.0.0.1 'stty size'

check "log in by an encrypted key" ours --key "$work/user_encrypted" --passphrase 'pass phrase' \
    127.0.0.1 true
check "log in by user_ecdsa" ours --key "$work/user_ecdsa" 127.0.0.1 true
check_status "unknown key is refused" 255 ours --key "$work/stranger" 127.0.0.1 true
check "the second key is tried" ours --key "$work/stranger" --key "$work/user" 127.0.0.1 true

refused() { # refused TEXT COMMAND...: ends with 255 and says TEXT
    text=$1
    shift
    "$@" 2>"$work/refused" && return 1
    grep -q "$text" "$work/refused"
}
changed_key() {
    echo "[127.0.0.1]:$port $(cut -d' ' -f1,2 "$work/stranger.pub")" >"$work/other_hosts"
    refused 'differs from the known one' "$examples/ssh_client" --port "$port" --user root \
        --known-hosts "$work/other_hosts" --accept-new --key "$work/user" 127.0.0.1 true
}
check "changed host key is refused" changed_key
revoked_key() {
    echo "@revoked * $(cut -d' ' -f1,2 "$work/host_ed25519.pub")" >"$work/revoked"
    refused 'is revoked' "$examples/ssh_client" --port "$port" --user root \
        --known-hosts "$work/revoked" --accept-new --key "$work/user" 127.0.0.1 true
}
check "revoked host key is refused" revoked_key
openssh_reads_ours() { ssh-keygen -q -F "[127.0.0.1]:$port" -f "$work/known_hosts" | grep -q ed25519; }
check "ssh-keygen finds the host in our hashed file" openssh_reads_ours
ssh-keygen -q -H -f "$work/known_hosts" >/dev/null 2>&1 || true
known() {
    "$examples/ssh_client" --port "$port" --user root --known-hosts "$work/known_hosts" \
        --key "$work/user" 127.0.0.1 true
}
check "known host without accepting new ones" known

for kex in $(ssh -Q kex | grep -E '^(mlkem768x25519-sha256|curve25519-sha256.*)$'); do
    check "key exchange $kex" ours_user --kex "$kex" 127.0.0.1 true
done
for type in ssh-ed25519 ecdsa-sha2-nistp256 rsa-sha2-256 rsa-sha2-512; do
    host_key() {
        "$examples/ssh_client" --port "$port" --user root --known-hosts "$work/hosts_$type" \
            --accept-new --key "$work/user" --host-key "$type" 127.0.0.1 true
    }
    check "host key $type" host_key
done
for cipher in chacha20-poly1305@openssh.com aes128-gcm@openssh.com aes256-gcm@openssh.com; do
    check "cipher $cipher" ours_user --cipher "$cipher" 127.0.0.1 'seq 20000'
done
for cipher in aes128-ctr aes192-ctr aes256-ctr; do
    for mac in hmac-sha2-256 hmac-sha2-512 hmac-sha2-256-etm@openssh.com \
        hmac-sha2-512-etm@openssh.com; do
        check "cipher $cipher, $mac" ours_user --cipher "$cipher" --mac "$mac" 127.0.0.1 'seq 20000'
    done
done
strict() { ours_user 127.0.0.1 true 2>&1 | grep -q 'strict: true'; }
check "strict key exchange" strict

LIMIT=300
head -c $((size_mib * 1024 * 1024)) /dev/urandom >"$work/big"
copy() { # copy OPTION...: by SFTP there and back
    rm -f "$work/there" "$work/back"
    ours_user "$@" --put "$work/big:$work/there" 127.0.0.1 &&
        ours_user "$@" --get "$work/there:$work/back" 127.0.0.1 &&
        cmp "$work/big" "$work/there" && cmp "$work/big" "$work/back"
}
check "SFTP both ways, $size_mib MiB, new keys each MiB by the server" copy
check "SFTP, new keys each MiB by us" copy --rekey-bytes 1048576
list() { ours_user --ls "$work" 127.0.0.1 | grep -q ' big$'; }
check "SFTP directory" list
check_status "SFTP reports a missing file" 1 ours_user --get "/missing:$work/missing" 127.0.0.1
through() { ours_user 127.0.0.1 cat <"$work/big" | cmp - "$work/big"; }
check "$size_mib MiB through cat" through

LIMIT=60
forward() { # forward OPTION: fetch a file through a forwarded port
    python3 -m http.server --bind 127.0.0.1 --directory "$work" "$web" >/dev/null 2>&1 &
    web_pid=$!
    wait_for_port "$web"
    ours_user "$1" "$2" 127.0.0.1 'sleep 60' </dev/null &
    ssh_pid=$!
    wait_for_port "$entry"
    result=0
    python3 - "$entry" "$work/big" <<'PY' || result=1
import sys, urllib.request
got = urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/big", timeout=50).read()
sys.exit(got != open(sys.argv[2], "rb").read())
PY
    kill "$ssh_pid" "$web_pid"
    wait "$ssh_pid" "$web_pid" 2>/dev/null || true
    return $result
}
web=$(free_port)
for option in --local --remote; do
    entry=$(free_port)
    check "forwarding $option" forward "$option" "$entry:127.0.0.1:$web"
done

LIMIT=600
many() { for _ in $(seq "${LOGINS:-100}"); do ours_user 127.0.0.1 true || return 1; done; }
check "many log-ins in a row" many
stop
finish
