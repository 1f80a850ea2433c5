# The guest's ssh, sftp, scp and passwd into programs of others: sourced by ssh-guest.sh.

inside() { run_user $target "$@"; }
hosts="-o StrictHostKeyChecking=accept-new -i T:key"

provided() {
    copy "$work/eight" $target:/t/eight && copy "$work/some" $target:/t/some &&
        run_user $target 'Delete T:tree ALL >NIL: 2>NIL:'
    copy -r "$work/tree" $target:/t/tree
}
check "what is to be copied out is there" provided
start_sshd "AllowTcpForwarding yes" "LogLevel DEBUG1" "RekeyLimit 1M"
# --- Commands -------------------------------------------------------------------------------------
check "guest ssh: a command" same_output hello inside "ssh $hosts -p $port root@10.0.2.2 echo hello"
for code in 0 7 20; do
    check_status "guest ssh: exit status $code" "$code" \
        inside "ssh $hosts -p $port root@10.0.2.2 'exit $code'"
done
guest_apart() {
    inside "ssh $hosts -p $port root@10.0.2.2 'echo out; echo err >&2'" >"$work/o" 2>"$work/e"
    # What the server's own log says comes first.
    [ "$(cat "$work/o")" = out ] && [ "$(tail -n 1 "$work/e")" = err ]
}
check "guest ssh: output and errors apart" guest_apart
piped() { # 16 MiB in and out
    [ -s "$work/sixteen" ] && copy "$work/sixteen" $target:/t/sixteen &&
        inside "ssh $hosts -p $port root@10.0.2.2 cat <T:sixteen >T:piped" &&
        fetch /t/piped "$work/piped" && cmp "$work/sixteen" "$work/piped" &&
        inside 'Delete T:piped T:sixteen'
}
LIMIT=600
check "guest ssh: standard input and output, $((size_mib < 16 ? size_mib : 16)) MiB" piped
guest_new_keys() {
    inside "ssh $hosts -o RekeyLimit=1M -p $port root@10.0.2.2 head -c 4194304 /dev/zero" |
        cmp - <(head -c 4194304 /dev/zero) || return 1
    count=$(grep -c 'SSH2_MSG_NEWKEYS received' "$work/sshd.log")
    echo "$count key exchanges"
    [ "$count" -ge 20 ]
}
check "guest ssh: new keys each MiB, asked for by either side" guest_new_keys
LIMIT=120

guest_half_closed() {
    inside "Echo b | ssh $hosts -p $port root@10.0.2.2 'cat; echo a'"
}
check "guest ssh: what answers only after the end of its input" same_output "b
a" guest_half_closed
guest_signalled() {
    result=0
    inside "ssh $hosts -p $port root@10.0.2.2 'kill -TERM \$\$'" 2>"$work/e" || result=$?
    [ "$result" -eq 255 ] && grep -q 'signal TERM' "$work/e"
}
check "guest ssh: a program that a signal ends" guest_signalled
guest_gone() { # the server's process for this connection is killed
    result=0
    inside "ssh $hosts -p $port root@10.0.2.2 'kill -KILL \$PPID; sleep 60'" 2>"$work/e" || result=$?
    [ "$result" -eq 255 ] && [ -s "$work/e" ]
}
check "guest ssh: the connection is cut" guest_gone
guest_many() {
    inside "for n in 1 2 3 4; do ssh $hosts -p $port root@10.0.2.2 \"sleep 1; echo \$n\" >T:of.\$n & done; wait" &&
        [ "$(inside 'Type T:of.1 T:of.2 T:of.3 T:of.4' | tr -d '\r' | tr '\n' ' ')" = '1 2 3 4 ' ]
}
check "guest ssh: four at once" guest_many

# --- Whom to trust --------------------------------------------------------------------------------
unknown_host() {
    ! inside "ssh -i T:key -o UserKnownHostsFile=T:none -p $port root@10.0.2.2 true" 2>"$work/e" &&
        grep -q 'is not known' "$work/e"
}
check "guest ssh: unknown host is refused without a terminal" unknown_host
guest_changed() {
    echo "[10.0.2.2]:$port $(cut -d' ' -f1,2 "$work/stranger.pub")" >"$work/other_hosts"
    copy "$work/other_hosts" $target:/t/other_hosts || return 1
    ! inside "ssh $hosts -o UserKnownHostsFile=T:other_hosts -p $port root@10.0.2.2 true" \
        2>"$work/e" && grep -q 'has CHANGED' "$work/e"
}
check "guest ssh: changed host key is refused, and the reason told" guest_changed
hashed() {
    fetch /s/ssh/known_hosts "$work/guest_hosts" || return 1
    cat "$work/guest_hosts"
    ! grep -qv '^|1|' "$work/guest_hosts" &&
        ssh-keygen -q -F "[10.0.2.2]:$port" -f "$work/guest_hosts" | grep -q ssh-ed25519
}
check "guest ssh: known_hosts is hashed, and ssh-keygen finds the host in it" hashed
check_status "guest ssh: unknown key is refused" 255 \
    inside "ssh -o StrictHostKeyChecking=accept-new -i T:stranger -p $port root@10.0.2.2 true"
check "guest ssh: a terminal asks about unknown hosts" terminal question "$port"
check "guest ssh: size of the window, and its changes" terminal window "$port"

# --- Files ----------------------------------------------------------------------------------------
guest_scp() {
    rm -f "$work/from_guest"
    inside "scp $hosts -P $port T:eight root@10.0.2.2:$work/from_guest" &&
        cmp "$work/eight" "$work/from_guest" &&
        inside "scp $hosts -P $port root@10.0.2.2:$work/big T:again" &&
        fetch /t/again "$work/back" && cmp "$work/back" "$work/big" &&
        inside 'Delete T:again'
}
LIMIT=1200
seconds "guest scp: 8 MiB there, $size_mib MiB here" guest_scp
LIMIT=120
guest_recursive() {
    rm -rf "$work/tree.there" "$work/tree.back"
    inside "scp -r $hosts -P $port T:tree root@10.0.2.2:$work/tree.there" &&
        diff -r "$work/tree" "$work/tree.there" &&
        inside "scp -r $hosts -P $port root@10.0.2.2:$work/tree T:tree.back" &&
        copy -r $target:/t/tree.back "$work/tree.back" && diff -r "$work/tree" "$work/tree.back"
}
check "guest scp -r: both ways" guest_recursive
guest_sftp() {
    cat >"$work/guest_batch" <<B
cd $work
mkdir up
cd up
put T:eight one
rename one two
ln -s two link
chmod 640 two
ls
get link T:down
-rm none
lcd T:
put -r tree
cd ..
get -r up/tree T:tree.sftp
rm up/link
mkdir up/empty
rmdir up/empty
B
    copy "$work/guest_batch" $target:/t/batch &&
        inside "sftp $hosts -P $port -b T:batch root@10.0.2.2" >"$work/listed" || return 1
    cat "$work/listed"
    grep -qx two "$work/listed" && grep -qx link "$work/listed" &&
        cmp "$work/eight" "$work/up/two" && [ "$(stat -c %a "$work/up/two")" = 640 ] &&
        [ ! -e "$work/up/link" ] && [ ! -e "$work/up/empty" ] &&
        diff -r "$work/tree" "$work/up/tree" &&
        fetch /t/down "$work/down" && cmp "$work/eight" "$work/down" &&
        rm -rf "$work/tree.back" && copy -r $target:/t/tree.sftp "$work/tree.back" &&
        diff -r "$work/tree" "$work/tree.back"
}
check "guest sftp -b: every command" guest_sftp
guest_sftp_fails() {
    printf 'rm %s/none\nput T:eight %s/never\n' "$work" "$work" >"$work/guest_batch"
    copy "$work/guest_batch" $target:/t/batch || return 1
    result=0
    inside "sftp $hosts -P $port -b T:batch root@10.0.2.2" || result=$?
    [ "$result" -eq 1 ] && [ ! -e "$work/never" ]
}
check "guest sftp -b: a failure ends the batch" guest_sftp_fails
guest_odd() {
    rm -rf "$work/odd"
    mkdir "$work/odd"
    cat >"$work/guest_batch" <<B
put "T:tree/Größe 大小/it's" "$work/odd/it's ☃"
get "$work/odd/it's ☃" "T:odd ☃"
put T:tree/Größe\\ 大小/a\\ \\"quote\\" $work/odd/quote
put T:tree/sub/nothing $work/odd/nothing
get $work/odd/nothing T:nothing
B
    copy "$work/guest_batch" $target:/t/batch &&
        inside "sftp $hosts -P $port -b T:batch root@10.0.2.2" &&
        cmp "$work/tree/Größe 大小/it's" "$work/odd/it's ☃" &&
        cmp "$work/tree/Größe 大小/a \"quote\"" "$work/odd/quote" &&
        [ -e "$work/odd/nothing" ] && [ ! -s "$work/odd/nothing" ] &&
        fetch "/t/odd ☃" "$work/back" && cmp "$work/back" "$work/tree/Größe 大小/it's" &&
        fetch /t/nothing "$work/back" && [ ! -s "$work/back" ]
}
check "guest sftp -b: odd names and empty files" guest_odd
guest_resumes() {
    head -c 5000001 "$work/eight" >"$work/cut"
    printf 'put T:some %s/grown\nreput T:eight %s/grown\n' "$work" "$work" >"$work/guest_batch"
    printf 'get %s/cut T:cut\nreget %s/eight T:cut\n' "$work" "$work" >>"$work/guest_batch"
    head -c 300000 "$work/eight" >"$work/some_of_it"
    copy "$work/some_of_it" $target:/t/some_of_it && sed -i 's/T:some /T:some_of_it /' "$work/guest_batch" &&
        copy "$work/guest_batch" $target:/t/batch &&
        inside "sftp $hosts -P $port -b T:batch root@10.0.2.2" &&
        cmp "$work/eight" "$work/grown" && fetch /t/cut "$work/back" && cmp "$work/eight" "$work/back"
}
check "guest sftp -b: reput and reget go on where it ended" guest_resumes

# --- Forwarded ports ------------------------------------------------------------------------------
guest_local() { # the guest's port 8100 -> OpenSSH here -> the echo; the guest's nc connects to it
    start_ssh $target "ssh $hosts -N -L 8100:127.0.0.1:$echo_port -p $port root@10.0.2.2" &
    # shellcheck disable=SC2064
    trap "kill $!" EXIT
    for _ in $(seq 30); do
        ! inside netstat | grep -q ':8100 .*LISTEN' || break
        sleep 0.5
    done
    inside 'nc 127.0.0.1 8100 <T:eight >T:echoed' &&
        fetch /t/echoed "$work/echoed" && cmp "$work/eight" "$work/echoed"
}
check "guest ssh -L: 8 MiB there and back" guest_local
guest_remote() { # a port here -> the guest -> its own SSH server
    start_ssh $target "ssh $hosts -N -R $1:127.0.0.1:22 -p $port root@10.0.2.2" &
    # shellcheck disable=SC2064
    trap "kill $!" EXIT
    wait_for_port "$1"
    guest_port=$1
    [ "$(run_user $target 'Echo around')" = around ] && copy "$work/some" $target:/t/around &&
        copy $target:/t/around "$work/around" && cmp "$work/some" "$work/around"
}
check "guest ssh -R: into the guest again" guest_remote "$(free_port)"
# --- Patterns, times and permissions --------------------------------------------------------------
patterned() { # four files here, of which two are meant
    rm -rf "$work/picked" && mkdir -p "$work/picked/sub"
    for name in a.txt b.txt c.bin .hidden.txt sub/d.txt; do echo "$name" >"$work/picked/$name"; done
    inside 'Delete T:picked ALL >NIL: 2>NIL:; MakeDir T:picked T:picked/out'
}
guest_batch() { # guest_batch LINE...: these commands, what they print in listed
    printf '%s\n' "$@" >"$work/guest_batch"
    copy "$work/guest_batch" $target:/t/batch &&
        inside "sftp $hosts -P $port -b T:batch root@10.0.2.2" >"$work/listed"
}
guest_get_pattern() {
    patterned && guest_batch "cd $work/picked" "get *.txt T:picked" "mget s*/*.txt T:picked" &&
        copy -r $target:/t/picked "$work/picked.back" &&
        [ "$(cd "$work/picked.back" && find . -type f | sort | tr '\n' ' ')" = './a.txt ./b.txt ./d.txt ' ] &&
        cmp "$work/picked/a.txt" "$work/picked.back/a.txt"
}
check "guest sftp: get of a pattern" guest_get_pattern
guest_put_pattern() {
    patterned && copy "$work/picked/a.txt" "$work/picked/b.txt" "$work/picked/c.bin" $target:/t/picked &&
        mkdir "$work/picked/up" &&
        guest_batch "cd $work/picked/up" "put T:picked/[ab].* ." "lcd T:picked" "put ?.bin" &&
        [ "$(cd "$work/picked/up" && find . -type f | sort | tr '\n' ' ')" = './a.txt ./b.txt ./c.bin ' ] &&
        cmp "$work/picked/c.bin" "$work/picked/up/c.bin"
}
check "guest sftp: put of a pattern" guest_put_pattern
guest_list_pattern() {
    patterned && guest_batch "cd $work/picked" "ls *.txt" "rm [bc].*" "ls -l *" &&
        [ "$(head -n 2 "$work/listed" | tr '\n' ' ')" = 'a.txt b.txt ' ] &&
        [ ! -e "$work/picked/b.txt" ] && [ ! -e "$work/picked/c.bin" ] &&
        [ -e "$work/picked/.hidden.txt" ] && tail -n 2 "$work/listed" | grep -q ' a.txt$'
}
check "guest sftp: ls and rm of a pattern" guest_list_pattern
guest_no_match() {
    patterned || return 1
    result=0
    guest_batch "get $work/picked/*.none" || result=$?
    [ "$result" -eq 1 ]
}
check "guest sftp: a pattern that nothing has" guest_no_match
guest_literal() { # what is there is meant as it is
    patterned && echo star >"$work/picked/*.txt" &&
        guest_batch "get $work/picked/*.txt T:picked/star" && fetch /t/picked/star "$work/back" &&
        [ "$(cat "$work/back")" = star ]
}
check "guest sftp: a name that looks like a pattern" guest_literal
guest_scp_pattern() {
    patterned && inside "scp $hosts -P $port 'root@10.0.2.2:$work/picked/*.txt' T:picked" &&
        inside "scp $hosts -P $port 'T:picked/*.txt' root@10.0.2.2:$work/picked/sub" &&
        cmp "$work/picked/a.txt" "$work/picked/sub/a.txt" &&
        cmp "$work/picked/b.txt" "$work/picked/sub/b.txt"
}
check "guest scp: patterns both ways" guest_scp_pattern
same_facts() { # same_facts FILE FILE: permissions and time
    stat -c '%a %Y' "$1" "$2"
    [ "$(stat -c '%a %Y' "$1")" = "$(stat -c '%a %Y' "$2")" ]
}
guest_preserves() {
    rm -rf "$work/kept" "$work/kept.back" && mkdir -p "$work/kept/sub"
    echo old >"$work/kept/file" && echo older >"$work/kept/sub/file"
    chmod 640 "$work/kept/file" && chmod 750 "$work/kept/sub"
    touch -d '2001-02-03 04:05:06 UTC' "$work/kept/file"
    touch -d '2002-03-04 05:06:07 UTC' "$work/kept/sub/file"
    touch -d '2003-04-05 06:07:08 UTC' "$work/kept/sub"
    inside "Delete T:preserved ALL >NIL: 2>NIL:; scp -rp $hosts -P $port root@10.0.2.2:$work/kept T:preserved" &&
        inside "scp -p -r $hosts -P $port T:preserved root@10.0.2.2:$work/kept.back" &&
        for name in file sub sub/file; do
            same_facts "$work/kept/$name" "$work/kept.back/$name" || return 1
        done
}
check "guest scp -rp: times and permissions, there and back" guest_preserves
guest_sftp_preserves() {
    rm -f "$work/kept/again"
    guest_batch "get -p $work/kept/file T:preserved.file" "put -p T:preserved.file $work/kept/again" &&
        same_facts "$work/kept/file" "$work/kept/again"
}
check "guest sftp: get -p and put -p" guest_sftp_preserves
guest_forgets() { # without, it is a new file
    rm -f "$work/kept/again"
    guest_batch "get $work/kept/file T:preserved.new" "put T:preserved.new $work/kept/again" &&
        [ "$(stat -c %Y "$work/kept/again")" -gt 1700000000 ]
}
check "guest sftp: get and put without -p" guest_forgets

# --- Machines on the way --------------------------------------------------------------------------
jump="-J root@10.0.2.2:$port"
guest_jump() {
    before=$(grep -c 'direct-tcpip' "$work/sshd.log")
    [ "$(inside "ssh $hosts $jump -p $port root@127.0.0.1 'echo hello; exit 7'" || echo "code $?")" = "hello
code 7" ] && [ "$(grep -c 'direct-tcpip' "$work/sshd.log")" -gt "$before" ]
}
check "guest ssh -J: a command, and its exit status" guest_jump
guest_jumps() { # through OpenSSH, then through the guest itself, as OpenSSH sees it
    inside "ssh $hosts $jump,viper@127.0.0.1:$guest_port -p $port root@10.0.2.2 echo far"
}
check "guest ssh -J: two machines on the way" same_output far guest_jumps
guest_jump_data() {
    inside "ssh $hosts $jump -p $port root@127.0.0.1 cat <T:eight >T:jumped" &&
        fetch /t/jumped "$work/jumped" && cmp "$work/eight" "$work/jumped"
}
seconds "guest ssh -J: 8 MiB there and back, new keys on the way" guest_jump_data
guest_jump_files() {
    rm -f "$work/jumped" "$work/jumped.some"
    inside "scp $hosts $jump -P $port T:eight root@127.0.0.1:$work/jumped" &&
        cmp "$work/eight" "$work/jumped" &&
        printf 'put T:some %s\n' "$work/jumped.some" >"$work/guest_batch" &&
        copy "$work/guest_batch" $target:/t/batch &&
        inside "sftp $hosts -o ProxyJump=root@10.0.2.2:$port -P $port -b T:batch root@127.0.0.1" &&
        cmp "$work/some" "$work/jumped.some"
}
check "guest scp -J, sftp -o ProxyJump" guest_jump_files
jump_fails() { # jump_fails SENTENCE WORDS: with 255
    result=0
    inside "ssh $hosts ${*:2} true" 2>"$work/e" || result=$?
    cat "$work/e"
    [ "$result" -eq 255 ] && grep -q "$1" "$work/e"
}
check "guest ssh -J: nobody behind it" jump_fails '127.0.0.1 port 9: .*refused' \
    "$jump -p 9 root@127.0.0.1"
check "guest ssh -J: the host behind it is not known" jump_fails 'is not known' \
    "-o StrictHostKeyChecking=yes $jump -p $port root@localhost"
check "guest ssh -J: nobody on the way" jump_fails '10.0.2.2 port 1' \
    "-J root@10.0.2.2:1 -p $port root@127.0.0.1"
guest_direct() { # standard input and output to the echo
    inside "ssh $hosts -W 127.0.0.1:$echo_port -p $port root@10.0.2.2 <T:eight >T:echoed" &&
        fetch /t/echoed "$work/echoed" && cmp "$work/eight" "$work/echoed"
}
check "guest ssh -W: 8 MiB there and back" guest_direct
check "guest ssh -W: nobody is there" jump_fails 'does not connect' \
    "-W 127.0.0.1:9 -p $port root@10.0.2.2"
stop

# --- Passwords and questions ----------------------------------------------------------------------
# For this server alone, root's password is `secret`: it sees another /etc/shadow.
hash=$(openssl passwd -6 secret)
sed "s|^root:[^:]*:|root:$hash:|" /etc/shadow >"$work/shadow"
chmod 600 "$work/shadow"
cat >"$work/with_shadow" <<S
#!/bin/sh
mount --bind "$work/shadow" /etc/shadow && exec "\$@"
S
chmod +x "$work/with_shadow"
sshd_wrapper="unshare --mount $work/with_shadow"
start_sshd "PasswordAuthentication yes" "PubkeyAuthentication no" "LogLevel DEBUG3"
sshd_wrapper=""
check "guest ssh: password, after a wrong one" terminal password "$port"
guest_strict() { grep -q 'resetting send seqnr' "$work/sshd.log"; }
check "guest ssh: strict key exchange" guest_strict
stop
port=$(free_port)
start "$python" "$here/ssh_guest.py" questions "$port" "$work"
check "guest ssh: keyboard-interactive, into asyncssh" terminal questions "$port"
stop

# --- Each algorithm -------------------------------------------------------------------------------
guest_algorithm() { # guest_algorithm TEXT-OF-THE-LOG: into the server that has nothing else
    [ "$(inside "ssh $hosts -o UserKnownHostsFile=T:hosts.$port -p $port root@10.0.2.2 cat <T:some" |
        cmp - "$work/some" && echo same)" = same ] && { [ -z "$1" ] || grep -q "$1" "$work/sshd.log"; }
}
only() { # only KIND ALGORITHM OPTION...
    start_sshd "LogLevel DEBUG1" "${@:3}"
    check "guest ssh: $1 $2" guest_algorithm "$2"
    stop
}
only_asyncssh() { # only_asyncssh KIND ALGORITHM
    port=$(free_port)
    start "$python" "$here/ssh_guest.py" serve "$port" "$work" "$@"
    check "guest ssh: $1 $2, asyncssh" guest_algorithm ''
    stop
}
for name in $kexs; do only_asyncssh kex "$name"; done
for name in $ciphers; do only_asyncssh cipher "$name"; done
for name in $macs; do only_asyncssh MAC "$name"; done
for name in ed25519 ecdsa rsa; do only_asyncssh "host key" "$name"; done
for name in $kexs; do
    if ssh -Q kex | grep -qx "$name"; then only kex "$name" "KexAlgorithms $name"; fi
done
for name in $ciphers; do only cipher "$name" "Ciphers $name"; done
for name in $macs; do only MAC "$name" "Ciphers aes128-ctr" "MACs $name"; done
for pair in ed25519:ssh-ed25519 ecdsa:ecdsa-sha2-nistp256 rsa:rsa-sha2-256 rsa:rsa-sha2-512; do
    host_types=${pair%%:*}
    only "host key" "${pair#*:}" "HostKeyAlgorithms ${pair#*:}"
done
host_types=""
