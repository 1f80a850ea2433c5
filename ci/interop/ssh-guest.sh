#!/usr/bin/env bash
# The SSH server and client in the guest: OpenSSH, asyncssh, paramiko and ssh-audit into a booted
# ViperOS, and its ssh, sftp and scp into OpenSSH's sshd on this machine.
#
# Needs what `distro` needs. SIZE_MIB is the size of the copied file, LOGINS how many log-ins.
. "$(dirname "$0")/ssh-common.sh"

need ssh openssh-client
need sshd openssh-server
need python3 python3
need_python asyncssh paramiko ssh-audit
keys
here="$repo/ci/interop"
size_mib=${SIZE_MIB:-64}
disk_mib=$((size_mib * 2 + 64))

distro() { (cd "$repo" && cargo run -q -p distro -- "$@"); }

echo "building"
(cd "$repo" && cargo build -q -p distro)
guest_port=$(free_port)
forwarded=$(free_port)
# The user's key comes with the disk; the machine runs until it is asked to end.
distro exec --hostfwd "tcp:$guest_port-22" --mem 512M --timeout "${TIMEOUT:-3600}" \
    --put "$work/user:/s/ssh/id_ed25519" --put "$work/authorized_keys:/s/ssh/authorized_keys" \
    --put "$work/user:/t/key" \
    'until Dir T:done >NIL: 2>NIL: ; do Wait 1; done' >"$work/guest.out" 2>"$work/guest.err" &
guest=$!
started="$started $guest"

# QEMU takes connections before the guest does: somebody there says so.
wait_for_guest() {
    for _ in $(seq 600); do
        kill -0 "$guest" 2>/dev/null || { cat "$work/guest.err" >&2; exit 1; }
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
wait_for_guest
LIMIT=${LIMIT:-120}

common="-F none -o BatchMode=yes -o IdentitiesOnly=yes -o UserKnownHostsFile=$work/known_hosts
    -o StrictHostKeyChecking=accept-new -o GlobalKnownHostsFile=none"
target=viper@127.0.0.1
run() { # run KEY OPTION...: ssh with a key; words in $extra win over the common ones
    key=$1
    shift
    # shellcheck disable=SC2086 # the options are words
    ssh ${extra:-} $common -i "$work/$key" -p "$guest_port" "$@"
}
run_user() { run user "$@"; }
same_output() { # same_output TEXT COMMAND...
    wanted=$1
    shift
    [ "$("$@")" = "$wanted" ]
}

check "a command" same_output hello run_user $target 'Echo hello'
check_status "return code 0" 0 run_user $target 'Dir C:'
check_status "return code of a failure" 20 run_user $target 'exit 20'
check_status "return code of a script" 5 run_user $target 'exit 5'
apart() {
    run_user $target 'Type T:no-such-file' >"$work/o" 2>"$work/e" && return 1
    [ ! -s "$work/o" ] && [ -s "$work/e" ]
}
check "output and errors apart" apart
shell() { printf 'Echo from-shell\n' | run_user $target | grep -qx from-shell; }
check "shell without a terminal" shell
greeting() { GREETING=hi run_user -o SendEnv=GREETING $target 'Echo $GREETING'; }
check "environment" same_output hi greeting
check_status "unknown key is refused" 255 run stranger $target 'Echo in'
check_status "unknown user is refused" 255 run user nobody@127.0.0.1 'Echo in'
for key in user_ecdsa user_rsa; do
    check "log in by $key" run "$key" $target 'Echo in'
done

cat >"$work/askpass" <<'A'
#!/usr/bin/env bash
echo "$ANSWER"
A
chmod +x "$work/askpass"
asked() { # asked ANSWER
    # shellcheck disable=SC2086
    ANSWER=$1 SSH_ASKPASS="$work/askpass" SSH_ASKPASS_REQUIRE=force DISPLAY=none \
        ssh -o BatchMode=no -o PubkeyAuthentication=no -o NumberOfPasswordPrompts=1 \
        $common -p "$guest_port" $target 'Echo in'
}
check "password" asked viper
check_status "wrong password is refused" 255 asked wrong

changed_key() {
    echo "[127.0.0.1]:$guest_port $(cut -d' ' -f1,2 "$work/stranger.pub")" >"$work/other_hosts"
    extra="-o UserKnownHostsFile=$work/other_hosts -o StrictHostKeyChecking=yes"
    ! run_user $target 'Echo in' 2>"$work/changed" &&
        grep -q 'HOST IDENTIFICATION HAS CHANGED' "$work/changed"
}
check "changed host key is noticed" changed_key

terminal() {
    python3 - "$guest_port" "$work" <<'PY'
import fcntl, os, pty, re, select, struct, sys, termios, time
port, work = sys.argv[1:]
pid, fd = pty.fork()
if pid == 0:
    os.execvp("ssh", ["ssh", "-F", "none", "-tt", "-i", f"{work}/user", "-o", "IdentitiesOnly=yes",
        "-o", f"UserKnownHostsFile={work}/known_hosts_pty", "-o", "StrictHostKeyChecking=accept-new",
        "-p", port, "viper@127.0.0.1"])
seen = b""
def wait(pattern):
    global seen
    end = time.time() + 30
    while not (found := re.search(pattern, seen)):
        if time.time() > end or not select.select([fd], [], [], 30)[0]:
            sys.exit(f"no {pattern} in {seen}")
        seen += os.read(fd, 4096)
    seen = seen[found.end():]
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
wait(rb"SYS:>")
os.write(fd, b"Echx\x7fo one two\r")          # editing
wait(rb"one two\r\n")
os.write(fd, b"\x1b[A\r")                      # the history
wait(rb"one two\r\n")
wait(rb"SYS:>")
os.write(fd, b"Wait 600\r")
time.sleep(1)
os.write(fd, b"\x03")                          # control-C
wait(rb"SYS:>")
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
os.write(fd, b"exit 5\r")
while True:
    try:
        if not os.read(fd, 4096):
            break
    except OSError:
        break
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 5)
PY
}
check "terminal" terminal

for kex in $(ssh -Q kex | grep -E '^(mlkem768x25519-sha256|curve25519-sha256.*)$'); do
    check "key exchange $kex" run_user -o "KexAlgorithms=$kex" $target 'Echo in'
done
for cipher in chacha20-poly1305@openssh.com aes128-gcm@openssh.com aes256-gcm@openssh.com; do
    check "cipher $cipher" run_user -c "$cipher" $target 'Dir C:'
done
for cipher in aes128-ctr aes192-ctr aes256-ctr; do
    check "cipher $cipher" run_user -c "$cipher" -m hmac-sha2-256 $target 'Dir C:'
done
for mac in hmac-sha2-512 hmac-sha2-256-etm@openssh.com hmac-sha2-512-etm@openssh.com; do
    check "MAC $mac" run_user -c aes128-ctr -m "$mac" $target 'Dir C:'
done
strict() { run_user -v $target 'Echo in' 2>&1 | grep -q 'resetting send seqnr'; }
check "strict key exchange" strict

free_kib() { # free memory as Avail tells it
    run_user $target Avail | tr -d '\r,' | awk '$1 == "Free" { print int($2 / 1024) }'
}
many() {
    for _ in 1 2 3; do run_user $target 'Echo warm' >/dev/null || return 1; done
    before=$(free_kib)
    for _ in $(seq "${LOGINS:-100}"); do
        run_user $target 'Echo in' >/dev/null || return 1
    done
    after=$(free_kib)
    echo "free: $before KiB before, $after KiB after" | tee "$work/memory"
    [ $((before - after)) -lt 512 ]
}
LIMIT=1200
check "${LOGINS:-100} log-ins in a row, memory flat" many
cat "$work/memory" 2>/dev/null || true

head -c $((size_mib * 1024 * 1024)) /dev/urandom >"$work/big"
there_and_back() { # there_and_back OPTION...: by scp
    rm -f "$work/back"
    # shellcheck disable=SC2086
    scp -q $common -i "$work/user" -P "$guest_port" "$@" "$work/big" "$target:/t/big" &&
        scp -q $common -i "$work/user" -P "$guest_port" "$@" "$target:/t/big" "$work/back" &&
        cmp "$work/big" "$work/back"
}
seconds() { # seconds NAME COMMAND...: the check, and how long it took
    began=$(date +%s)
    check "$@"
    echo "     $(($(date +%s) - began)) s"
}
LIMIT=1800
seconds "scp both ways, $size_mib MiB" there_and_back
head -c 8388608 /dev/urandom >"$work/big"
check "scp, new keys each MiB" there_and_back -o RekeyLimit=1M
batch() {
    cat >"$work/batch" <<B
mkdir /t/dir
put $work/host_ed25519.pub /t/dir/one
rename /t/dir/one /t/dir/two
ln -s two /t/dir/link
chmod 600 /t/dir/two
ls -la /t/dir
get /t/dir/link $work/got
put $work/big /t/dir/big
get /t/dir/big $work/big.back
rm /t/dir/big
rm /t/dir/two
rm /t/dir/link
rmdir /t/dir
B
    # shellcheck disable=SC2086
    sftp -q $common -i "$work/user" -P "$guest_port" -b "$work/batch" $target &&
        cmp "$work/host_ed25519.pub" "$work/got" && cmp "$work/big" "$work/big.back"
}
check "sftp -b" batch

LIMIT=180
web=$(free_port)
python3 -m http.server --bind 127.0.0.1 --directory "$work" "$web" >/dev/null 2>&1 &
started="$started $!"
wait_for_port "$web"
fetch() { # fetch PORT FILE: over HTTP
    python3 - "$1" "$2" <<'PY'
import sys, urllib.request
got = urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/user.pub", timeout=50).read()
sys.exit(got != open(sys.argv[2], "rb").read())
PY
}
local_forward() { # this machine -> guest -> this machine's web server, as the guest sees it
    run_user -N -o ExitOnForwardFailure=yes -L "127.0.0.1:$forwarded:10.0.2.2:$web" $target &
    ssh_pid=$!
    wait_for_port "$forwarded"
    result=0
    fetch "$forwarded" "$work/user.pub" || result=1
    kill "$ssh_pid"
    wait "$ssh_pid" 2>/dev/null || true
    return $result
}
check "ssh -L" local_forward
remote_forward() { # the guest's port 8099 -> this machine's web server, asked by the guest itself
    run_user -o ExitOnForwardFailure=yes -R "8099:127.0.0.1:$web" $target \
        'nc 127.0.0.1 8099 <T:request' >"$work/answer" || true
    grep -q "$(cut -d' ' -f2 "$work/user.pub")" "$work/answer"
}
printf 'GET /user.pub HTTP/1.0\r\n\r\n' >"$work/request"
# shellcheck disable=SC2086
scp -q $common -i "$work/user" -P "$guest_port" "$work/request" "$target:/t/request" || true
check "ssh -R" remote_forward

port=$guest_port
LIMIT=300
check "asyncssh" "$python" "$here/ssh_guest.py" asyncssh "$guest_port" "$work"
check "paramiko" "$python" "$here/ssh_guest.py" paramiko "$guest_port" "$work"
audit() {
    "$(dirname "$python")/ssh-audit" -n --skip-rate-test -p "$guest_port" 127.0.0.1 \
        >"$work/audit" 2>&1 || true
    cat "$work/audit"
    grep -q 'kex-strict-s-v00@openssh.com' "$work/audit" && ! grep -q '\[fail\]' "$work/audit"
}
check "ssh-audit finds no failure, and strict key exchange" audit

# The guest's own programs into OpenSSH on this machine.
start_sshd "AllowTcpForwarding yes"
hosts="-o StrictHostKeyChecking=accept-new -i T:key"
inside() { run_user $target "$@"; }
check "guest: unknown host is refused in batch" test "$(inside "ssh -i T:key -p $port root@10.0.2.2 true" 2>&1 | grep -c 'is not known')" -ge 1
check "guest: ssh" same_output hello inside "ssh $hosts -p $port root@10.0.2.2 echo hello"
check_status "guest: exit status" 7 inside "ssh $hosts -p $port root@10.0.2.2 'exit 7'"
guest_changed() {
    inside "Echo \"[10.0.2.2]:$port $(cut -d' ' -f1,2 "$work/stranger.pub")\" >T:other_hosts" &&
        inside "ssh $hosts -o UserKnownHostsFile=T:other_hosts -p $port root@10.0.2.2 true" \
            >"$work/o" 2>&1
    grep -q 'has CHANGED' "$work/o"
}
check "guest: changed host key is refused" guest_changed
guest_scp() {
    rm -f "$work/from_guest"
    inside "scp $hosts -P $port T:big root@10.0.2.2:$work/from_guest" &&
        cmp "$work/big" "$work/from_guest" &&
        inside "scp $hosts -P $port root@10.0.2.2:$work/from_guest T:again" &&
        inside 'Type T:again' | cmp - "$work/big"
}
LIMIT=900
check "guest: scp both ways" guest_scp
guest_sftp() {
    printf 'cd %s\nput T:request up\nget up T:down\nls\nrm up\n' "$work" >"$work/guest_batch"
    # shellcheck disable=SC2086
    scp -q $common -i "$work/user" -P "$guest_port" "$work/guest_batch" "$target:/t/batch" &&
        inside "sftp $hosts -P $port -b T:batch root@10.0.2.2" >"$work/listed" &&
        grep -q '^up$' "$work/listed" && inside 'Type T:down' | cmp - "$work/request"
}
check "guest: sftp -b" guest_sftp
check "guest: new keys each MiB" inside \
    "ssh $hosts -o RekeyLimit=1M -p $port root@10.0.2.2 head -c 4000000 /dev/zero >NIL:"
stop_server

run_user $target 'Echo done >T:done' || true
wait "$guest" || true
finish
