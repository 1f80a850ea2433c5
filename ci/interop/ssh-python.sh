#!/usr/bin/env bash
# asyncssh and paramiko against our server and client, and what ssh-audit says of our server.
. "$(dirname "$0")/ssh-common.sh"

need ssh-keygen openssh-client
need_python asyncssh paramiko ssh-audit
build
keys
here="$repo/ci/interop"
# One of these checks takes two seconds on an idle machine, and was seen to take eighty beside twelve
# others: what fails here has to be a fault, not a busy machine.
LIMIT=600

start_server --host-key "$work/host_ecdsa"
check "asyncssh client" "$python" "$here/ssh_asyncssh.py" client "$port" "$work"
check "paramiko client" "$python" "$here/ssh_paramiko.py" "$port" "$work"
stop

start_server --host-key "$work/host_ecdsa" --rekey-bytes 262144
check "asyncssh client, new keys often" "$python" "$here/ssh_asyncssh.py" client "$port" "$work"
check "paramiko client, new keys often" "$python" "$here/ssh_paramiko.py" "$port" "$work"
stop

# With an Ed25519 host key only: ssh-audit calls the NIST curves a failure.
start_server
audit() {
    "$(dirname "$python")/ssh-audit" -n --skip-rate-test -p "$port" 127.0.0.1 \
        >"$work/audit" 2>&1 || true
    cat "$work/audit"
    grep -q 'kex-strict-s-v00@openssh.com' "$work/audit" && ! grep -q '\[fail\]' "$work/audit"
}
check "ssh-audit finds no failure, and strict key exchange" audit
stop

port=$(free_port)
start "$python" "$here/ssh_asyncssh.py" server "$port" "$work"
ours() {
    "$examples/ssh_client" --port "$port" --user viper --known-hosts "$work/known_hosts" \
        --accept-new "$@"
}
ours_user() { ours --key "$work/user" "$@"; }
check_status "into asyncssh: exit status" 7 ours_user 127.0.0.1 'exit 7'
check "into asyncssh: password" ours --password secret 127.0.0.1 'exit 0'
check "into asyncssh: questions" ours --answer secret 127.0.0.1 'exit 0'
check_status "into asyncssh: wrong password" 255 ours --password wrong 127.0.0.1 'exit 0'
for kex in $("$python" "$here/ssh_asyncssh.py" kex); do
    check "into asyncssh: key exchange $kex" ours_user --kex "$kex" 127.0.0.1 'exit 0'
done
for cipher in chacha20-poly1305@openssh.com aes128-gcm@openssh.com aes256-gcm@openssh.com; do
    check "into asyncssh: $cipher" ours_user --cipher "$cipher" 127.0.0.1 'exit 0'
done
for cipher in aes128-ctr aes192-ctr aes256-ctr; do
    for mac in hmac-sha2-256 hmac-sha2-512 hmac-sha2-256-etm@openssh.com \
        hmac-sha2-512-etm@openssh.com; do
        check "into asyncssh: $cipher, $mac" ours_user --cipher "$cipher" --mac "$mac" \
            127.0.0.1 'exit 0'
    done
done
for type in ssh-ed25519 ecdsa-sha2-nistp256 rsa-sha2-256 rsa-sha2-512; do
    host_key() {
        "$examples/ssh_client" --port "$port" --user viper --known-hosts "$work/hosts_$type" \
            --accept-new --key "$work/user" --host-key "$type" 127.0.0.1 'exit 0'
    }
    check "into asyncssh: host key $type" host_key
done
head -c 8000000 /dev/urandom >"$work/big"
copy() {
    ours_user "$@" --put "$work/big:/there" 127.0.0.1 &&
        ours_user "$@" --get "/there:$work/back" 127.0.0.1 &&
        cmp "$work/big" "$work/there" && cmp "$work/big" "$work/back"
}
check "into asyncssh: SFTP both ways" copy
check "into asyncssh: SFTP, new keys often" copy --rekey-bytes 262144
stop
finish
