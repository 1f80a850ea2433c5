# Programs of others into the guest's SSH server: sourced by ssh-guest.sh.

# --- Commands, and how they end -------------------------------------------------------------------
check "ssh: a command" same_output hello run_user $target 'Echo hello'
dir_c() { run_user $target 'Dir C:' >"$work/listed" && grep -qw sftp "$work/listed"; }
check "ssh: Dir C:" dir_c
for code in 0 5 10 20; do
    check_status "ssh: exit status $code" "$code" run_user $target "exit $code"
done
apart() {
    run_user $target 'Type T:no-such-file' >"$work/o" 2>"$work/e" && return 1
    [ ! -s "$work/o" ] && [ -s "$work/e" ]
}
check "ssh: a failure, output and errors apart" apart
shell() { printf 'Echo from-shell\n' | run_user $target | grep -qx from-shell; }
check "ssh: shell without a terminal" shell
greeting() { GREETING=hi run_user -o SendEnv=GREETING $target 'Echo $GREETING'; }
check "ssh: environment" same_output hi greeting
# More than any window holds, and it ends before the answer does.
through() { run_user $target Type <"$work/sixteen" | cmp - "$work/sixteen"; }
LIMIT=600
check "ssh: standard input and output, $((size_mib < 16 ? size_mib : 16)) MiB" through
LIMIT=120
half_closed() { printf 'b\na\n' | run_user $target Sort; }
check "ssh: what answers only after the end of its input" same_output "a
b" half_closed
check "ssh -n: a program that would read" same_output "" run_user -n $target Type
on_a_terminal() {
    result=0
    run_user -tt $target 'Echo hello; exit 7' </dev/null >"$work/o" 2>"$work/e" || result=$?
    [ "$result" -eq 7 ] && [ "$(od -c <"$work/o" | tr -d ' ')" = "$(printf 'hello\r\n' | od -c | tr -d ' ')" ]
}
check "ssh -tt: a command on a terminal" on_a_terminal
bytes() { printf 'all: %s\n' "$(run_user $target 'Echo "ü ☃  two  spaces \"quoted\" it'"'"'s"')"; }
check "ssh: quotes and characters of a command" same_output "all: ü ☃  two  spaces \"quoted\" it's" bytes

# --- Log-in ---------------------------------------------------------------------------------------
for key in user user_ecdsa user_rsa; do
    check "log-in: key ${key#user_}" run "$key" $target 'Echo in'
done
cat >"$work/askpass" <<'A'
#!/usr/bin/env bash
echo "$ANSWER"
A
chmod +x "$work/askpass"
asked() { # asked ANSWER METHOD
    # shellcheck disable=SC2086
    ANSWER=$1 SSH_ASKPASS="$work/askpass" SSH_ASKPASS_REQUIRE=force DISPLAY=none \
        ssh -o BatchMode=no -o PubkeyAuthentication=no -o NumberOfPasswordPrompts=1 \
        -o "PreferredAuthentications=$2" $common -p "$guest_port" $target 'Echo in'
}
for method in password keyboard-interactive; do
    check "log-in: $method" asked viper "$method"
    check_status "log-in: wrong password is refused ($method)" 255 asked wrong "$method"
done
check_status "log-in: unknown key is refused" 255 run stranger $target 'Echo in'
check_status "log-in: unknown user is refused" 255 run user nobody@127.0.0.1 'Echo in'
changed_key() {
    echo "[127.0.0.1]:$guest_port $(cut -d' ' -f1,2 "$work/stranger.pub")" >"$work/other_hosts"
    extra="-o UserKnownHostsFile=$work/other_hosts -o StrictHostKeyChecking=yes"
    ! run_user $target 'Echo in' 2>"$work/changed" &&
        grep -q 'HOST IDENTIFICATION HAS CHANGED' "$work/changed"
}
check "log-in: changed host key is noticed" changed_key

# --- A terminal -----------------------------------------------------------------------------------
check "terminal: prompt, editing, history, exit status" terminal shell
check "terminal: control-C ends a program" terminal interrupt

# --- Algorithms, each with two peers --------------------------------------------------------------
# What the server offers, from its first packet, without what is no algorithm.
offered() { # offered NAME-OF-THE-LIST
    run_user -vv $target 'Echo in' 2>&1 | tr -d '\r' |
        sed -n '/peer server KEXINIT/,$p' | sed -n "s/^debug2: $1: //p" | head -n 1 |
        tr ',' '\n' | grep -v 'kex-strict\|ext-info' | sort
}
all_are_tried() {
    words() { tr ' ' '\n' | sed '/^$/d' | sort; }
    diff <(offered "KEX algorithms") <(echo $kexs | words) &&
        diff <(offered "host key algorithms") <(echo $host_keys | words) &&
        diff <(offered "ciphers stoc") <(echo $ciphers | words) &&
        diff <(offered "MACs stoc") <(echo $macs | words)
}
check "algorithms: what is offered is what is tried here" all_are_tried
openssh() { # openssh KIND ALGORITHM
    case "$1" in
        kex) set -- -o "KexAlgorithms=$2" ;;
        cipher) set -- -c "$2" -o MACs=hmac-sha2-256 ;;
        MAC) set -- -c aes128-ctr -o "MACs=$2" ;;
        "host key") set -- -o "HostKeyAlgorithms=$2" ;;
    esac
    # shellcheck disable=SC2086
    scp -q $common -i "$work/user" -P "$guest_port" "$@" "$work/some" $target:/t/some &&
        [ "$(run_user "$@" $target 'Echo hello; exit 0')" = hello ] &&
        run_user "$@" $target 'Type T:some' | cmp - "$work/some"
}
algorithm() { # algorithm KIND ALGORITHM PEER...
    for peer in "${@:3}"; do
        case "$peer" in
            OpenSSH) check "$1 $2: OpenSSH" openssh "$1" "$2" ;;
            *) check "$1 $2: $peer" python_peer "$peer" "$1" "$2" ;;
        esac
    done
}
for name in $kexs; do
    # OpenSSH has the hybrid one from version 9.9 on; paramiko has the other only by its old name.
    peers="asyncssh"
    if ssh -Q kex | grep -qx "$name"; then peers="OpenSSH $peers"; fi
    case "$name" in curve25519-sha256) ;; *) peers="$peers paramiko" ;; esac
    # shellcheck disable=SC2086
    algorithm kex "$name" $peers
done
for name in $ciphers; do
    case "$name" in
        chacha20*) algorithm cipher "$name" OpenSSH asyncssh ;;
        *) algorithm cipher "$name" OpenSSH asyncssh paramiko ;;
    esac
done
for name in $macs; do algorithm MAC "$name" OpenSSH asyncssh paramiko; done
for name in $host_keys; do algorithm "host key" "$name" OpenSSH asyncssh paramiko; done
strict() { run_user -v $target 'Echo in' 2>&1 | grep -q 'resetting send seqnr'; }
check "strict key exchange: OpenSSH" strict
audit() {
    "$(dirname "$python")/ssh-audit" -n --skip-rate-test -p "$guest_port" 127.0.0.1 \
        >"$work/audit" 2>&1 || true
    cat "$work/audit"
    grep -q 'kex-strict-s-v00@openssh.com' "$work/audit" && ! grep -q '\[fail\]' "$work/audit"
}
check "ssh-audit: no failure, and strict key exchange" audit
for what in password "new keys" sessions forward signal environment; do
    check "asyncssh: $what" python_peer asyncssh "$what"
done
for what in password "new keys"; do check "paramiko: $what" python_peer paramiko "$what"; done

# --- Many sessions --------------------------------------------------------------------------------
one_of_many() { # one_of_many NUMBER OPTION...
    result=0
    said=$(run_user "${@:2}" $target "Echo $1; Wait 1; exit $1") || result=$?
    [ "$said" = "$1" ] && [ "$result" -eq "$1" ]
}
all_of_them() { # all_of_them OPTION...
    pids=""
    for number in 1 2 3 4 5 6; do
        one_of_many "$number" "$@" &
        pids="$pids $!"
    done
    result=0
    for pid in $pids; do wait "$pid" || result=1; done
    return $result
}
check "six sessions at once, a connection each" all_of_them
on_one_connection() {
    run_user -M -S "$work/control" -N -f $target || return 1
    result=0
    all_of_them -S "$work/control" || result=1
    run_user -S "$work/control" -O exit $target
    return $result
}
check "six sessions at once on one connection" on_one_connection

free_kib() { # free memory of the system, as Avail tells it
    run_user $target Avail | tr -d '\r,' | awk '$1 == "Free" { print int($2 / 1024) }'
}
account() { # threads, handles and memory of sshd
    run_user $target Status | tr -d '\r' | awk '$3 == "sshd" { print $6, $7, $8 $9 }'
}
many() {
    # What is kept for the next log-in is there after the first ones.
    for _ in 1 2 3; do run_user $target 'Echo warm' >/dev/null || return 1; done
    before=$(free_kib) account_before=$(account)
    for _ in $(seq "${LOGINS:-100}"); do
        run_user $target 'Echo in' >/dev/null || return 1
    done
    after=$(free_kib) account_after=$(account)
    {
        echo "system: $before KiB free before, $after KiB after"
        echo "sshd (threads, handles, memory): $account_before before, $account_after after"
    } | tee "$work/memory"
    [ -n "$account_before" ] && [ "$account_before" = "$account_after" ] &&
        [ $((before - after)) -lt 128 ]
}
LIMIT=1200
check "${LOGINS:-100} log-ins in a row, memory flat" many
sed 's/^/       /' "$work/memory" 2>/dev/null || true
LIMIT=120
killed() {
    before=$(account)
    start_ssh -R 8097:127.0.0.1:9 $target 'ping -c 600 127.0.0.1' >"$work/pings" 2>&1 &
    pid=$!
    for _ in $(seq 60); do
        ! grep -q 'from 127' "$work/pings" || break
        sleep 0.5
    done
    run_user $target 'Status; netstat' >"$work/during"
    kill -9 "$pid"
    wait "$pid" 2>/dev/null
    grep -qw ping "$work/during" && grep -q ':8097' "$work/during" || return 1
    for _ in $(seq 60); do
        run_user $target 'Status; netstat' >"$work/later"
        if ! grep -qw ping "$work/later" && ! grep -q ':8097' "$work/later" &&
            [ "$(account)" = "$before" ]; then
            return 0
        fi
        sleep 0.5
    done
    cat "$work/later"
    echo "sshd: $before before, $(account) after"
    return 1
}
check "a killed client leaves no program, port, thread or handle behind" killed
owner() {
    run_user $target 'Status; netstat' | tr -d '\r' >"$work/owners"
    pid=$(awk '$3 == "sshd" { print $1 }' "$work/owners")
    cat "$work/owners"
    [ -n "$pid" ] && grep -E ':22 .*(ESTABLISHED|LISTEN)' "$work/owners" | grep -qw "$pid"
}
check "netstat names sshd as the owner of its connections" owner
