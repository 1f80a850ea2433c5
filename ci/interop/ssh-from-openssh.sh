#!/usr/bin/env bash
# OpenSSH's ssh, scp and sftp into our server: every algorithm, log-in, files, forwarding, new keys.
. "$(dirname "$0")/ssh-common.sh"

need ssh openssh-client
need python3 python3
build
keys
start_server --host-key "$work/host_ecdsa"
size_mib=${SIZE_MIB:-64}

# ssh without anything from this machine's configuration.
common="-F none -o BatchMode=yes -o IdentitiesOnly=yes -o UserKnownHostsFile=$work/known_hosts
    -o StrictHostKeyChecking=accept-new -o GlobalKnownHostsFile=none"
run() { # run KEY OPTION...: ssh with a key; words in $extra win over the common ones
    key=$1
    shift
    # shellcheck disable=SC2086 # the options are words
    ssh ${extra:-} $common -i "$work/$key" -p "$port" "$@"
}
run_user() { run user "$@"; }

same_output() { # same_output TEXT COMMAND...
    wanted=$1
    shift
    [ "$("$@")" = "$wanted" ]
}

check_status "exit status" 7 run_user viper@127.0.0.1 'exit 7'
check "output" same_output hello run_user viper@127.0.0.1 'echo hello; echo error >&2'
standard_error() { [ "$(run_user viper@127.0.0.1 'echo error >&2' 2>&1 >/dev/null)" = error ]; }
check "standard error" standard_error
check_status "signal" 255 run_user viper@127.0.0.1 'kill -9 $$'
end_of_input() { seq 1000 | run_user viper@127.0.0.1 'wc -l' | grep -qx ' *1000'; }
check "end of input" end_of_input
greeting() { GREETING=hi run_user -o SendEnv=GREETING viper@127.0.0.1 'echo $GREETING'; }
check "environment" same_output hi greeting
shell() { echo 'echo from-shell' | run_user viper@127.0.0.1 | grep -q from-shell; }
check "shell without a terminal" shell

for key in user user_ecdsa user_rsa; do
    check "log in by $key" run "$key" viper@127.0.0.1 true
done
check_status "unknown key is refused" 255 run stranger viper@127.0.0.1 true
check_status "unknown user is refused" 255 run user nobody@127.0.0.1 true
changed_key() {
    echo "[127.0.0.1]:$port $(cut -d' ' -f1,2 "$work/stranger.pub")" >"$work/other_hosts"
    extra="-o UserKnownHostsFile=$work/other_hosts -o StrictHostKeyChecking=yes"
    ! run_user viper@127.0.0.1 true 2>"$work/changed" &&
        grep -q 'HOST IDENTIFICATION HAS CHANGED' "$work/changed"
}
check "changed host key is refused" changed_key

for kex in $(ssh -Q kex | grep -E '^(mlkem768x25519-sha256|curve25519-sha256.*)$'); do
    check "key exchange $kex" run_user -o "KexAlgorithms=$kex" viper@127.0.0.1 true
done
for cipher in chacha20-poly1305@openssh.com aes128-gcm@openssh.com aes256-gcm@openssh.com; do
    check "cipher $cipher" run_user -c "$cipher" viper@127.0.0.1 'seq 20000'
done
for cipher in aes128-ctr aes192-ctr aes256-ctr; do
    for mac in hmac-sha2-256 hmac-sha2-512 hmac-sha2-256-etm@openssh.com \
        hmac-sha2-512-etm@openssh.com; do
        check "cipher $cipher, $mac" run_user -c "$cipher" -m "$mac" viper@127.0.0.1 'seq 20000'
    done
done
for type in ssh-ed25519 ecdsa-sha2-nistp256; do
    extra="-o HostKeyAlgorithms=$type -o UserKnownHostsFile=$work/hosts_$type"
    check "host key $type" run_user viper@127.0.0.1 true
    extra=""
done
strict() { run_user -v viper@127.0.0.1 true 2>&1 | grep -q 'resetting send seqnr'; }
check "strict key exchange" strict

LIMIT=300
head -c $((size_mib * 1024 * 1024)) /dev/urandom >"$work/big"
copy() { # copy OPTION...: scp there and back
    rm -f "$work/there" "$work/back"
    # shellcheck disable=SC2086
    scp -q $common -i "$work/user" -P "$port" "$@" "$work/big" viper@127.0.0.1:/there &&
        scp -q $common -i "$work/user" -P "$port" "$@" viper@127.0.0.1:/there "$work/back" &&
        cmp "$work/big" "$work/there" && cmp "$work/big" "$work/back"
}
check "scp both ways, $size_mib MiB" copy
check "scp, new keys each MiB" copy -o RekeyLimit=1M
batch() {
    cat >"$work/batch" <<B
mkdir /dir
put $work/host_ed25519.pub /dir/one
rename /dir/one /dir/two
ln -s two /dir/link
chmod 600 /dir/two
ls -la /dir
get /dir/link $work/got
rm /dir/two
rm /dir/link
rmdir /dir
B
    # shellcheck disable=SC2086
    sftp -q $common -i "$work/user" -P "$port" -b "$work/batch" viper@127.0.0.1 &&
        cmp "$work/host_ed25519.pub" "$work/got" && [ ! -e "$work/dir" ]
}
check "sftp -b" batch
through() { run_user viper@127.0.0.1 cat <"$work/big" | cmp - "$work/big"; }
check "$size_mib MiB through cat" through

LIMIT=60
forward() { # forward OPTION: fetch a file through a forwarded port
    python3 -m http.server --bind 127.0.0.1 --directory "$work" "$web" >/dev/null 2>&1 &
    web_pid=$!
    wait_for_port "$web"
    run_user -N -o ExitOnForwardFailure=yes "$@" viper@127.0.0.1 &
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
entry=$(free_port)
for option in -L -R; do
    check "ssh $option" forward "$option" "127.0.0.1:$entry:127.0.0.1:$web"
    entry=$(free_port)
done
stop

start_server --rekey-bytes 1048576 --rekey-seconds 2 --keepalive 1
LIMIT=300
check "our server asks for new keys each MiB" copy
check "our server asks for new keys by time" run_user viper@127.0.0.1 'sleep 5; echo done'
stop

start_server --questions
LIMIT=20
cat >"$work/askpass" <<'A'
#!/usr/bin/env bash
echo "${ANSWER:-secret}"
A
chmod +x "$work/askpass"
asked() { # asked ANSWER METHOD
    # shellcheck disable=SC2086
    ANSWER=$1 SSH_ASKPASS="$work/askpass" SSH_ASKPASS_REQUIRE=force DISPLAY=none \
        ssh -o BatchMode=no -o PubkeyAuthentication=no \
        -o "PreferredAuthentications=$2" $common -p "$port" viper@127.0.0.1 true
}
check "password" asked secret password
check "keyboard-interactive" asked secret keyboard-interactive
check_status "wrong password is refused" 255 asked wrong password
check_status "wrong answer is refused" 255 asked wrong keyboard-interactive

terminal() {
    python3 - "$port" "$work" <<'PY'
import os, pty, re, select, struct, sys, fcntl, termios, time
port, work = sys.argv[1:]
pid, fd = pty.fork()
if pid == 0:
    os.execvp("ssh", ["ssh", "-F", "none", "-tt", "-i", f"{work}/user", "-o", "IdentitiesOnly=yes",
        "-o", f"UserKnownHostsFile={work}/known_hosts_pty", "-o", "StrictHostKeyChecking=accept-new",
        "-p", port, "viper@127.0.0.1"])
seen = b""
def wait(pattern):
    global seen
    end = time.time() + 10
    while not re.search(pattern, seen):
        if time.time() > end or not select.select([fd], [], [], 10)[0]:
            sys.exit(f"no {pattern} in {seen}")
        seen += os.read(fd, 4096)
    seen = b""
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
wait(rb"\$ ")
os.write(fd, b"terminal\r")
wait(rb"100x30")
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
time.sleep(0.3)
os.write(fd, b"terminal\r")
wait(rb"changed 120x40")
os.write(fd, b"exit 9\r")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 9)
PY
}
check "terminal and window-change" terminal

LIMIT=600
many() {
    before=$(awk '/VmRSS/ { print $2 }' "/proc/$server/status")
    for _ in $(seq "${LOGINS:-100}"); do
        run_user viper@127.0.0.1 true || return 1
    done
    after=$(awk '/VmRSS/ { print $2 }' "/proc/$server/status")
    echo "resident: $before KiB before, $after KiB after"
    [ $((after - before)) -lt 4096 ]
}
run_user viper@127.0.0.1 true
check "many log-ins in a row, memory flat" many
stop
finish
