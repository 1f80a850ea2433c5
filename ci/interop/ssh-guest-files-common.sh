# Files and forwarded ports of the guest's SSH server: sourced by ssh-guest.sh.

# --- Files ----------------------------------------------------------------------------------------
there_and_back() { # there_and_back FILE OPTION...
    rm -f "$work/back"
    copy "${@:2}" "$1" $target:/t/big &&
        copy "${@:2}" $target:/t/big "$work/back" &&
        cmp "$1" "$work/back"
}
LIMIT=1200
seconds "scp: $size_mib MiB both ways" there_and_back "$work/big"
new_keys() {
    there_and_back "$work/eight" -v -o RekeyLimit=1M 2>"$work/log" || return 1
    count=$(grep -c 'SSH2_MSG_NEWKEYS received' "$work/log")
    echo "$count key exchanges"
    [ "$count" -ge 16 ]
}
check "scp: new keys each MiB, both ways" new_keys
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
-rm /t/dir/none
rm /t/dir/big
rm /t/dir/two
rm /t/dir/link
rmdir /t/dir
B
    # shellcheck disable=SC2086
    sftp -q $common -i "$work/user" -P "$guest_port" -b "$work/batch" $target &&
        cmp "$work/host_ed25519.pub" "$work/got" && cmp "$work/big" "$work/big.back" &&
        rm "$work/big.back"
}
seconds "sftp -b: $size_mib MiB both ways, and every command" batch
LIMIT=120
recursive() {
    rm -rf "$work/tree.back"
    copy -r "$work/tree" $target:/t/tree &&
        copy -r $target:/t/tree "$work/tree.back" &&
        diff -r "$work/tree" "$work/tree.back"
}
check "scp -r: both ways" recursive

preserved() {
    cp "$work/some" "$work/dated"
    touch -d '2001-02-03 04:05:06 UTC' "$work/dated"
    chmod 640 "$work/dated"
    rm -f "$work/back"
    copy -p "$work/dated" $target:/t/dated && copy -p $target:/t/dated "$work/back" &&
        [ "$(stat -c '%a %Y %s' "$work/back")" = "$(stat -c '%a %Y %s' "$work/dated")" ]
}
check "scp -p: times and permissions" preserved
by_sftp() { # by_sftp LINE...: these commands; the first that fails ends it
    printf '%s\n' "$@" >"$work/batch"
    # shellcheck disable=SC2086
    sftp -q $common -i "$work/user" -P "$guest_port" -b "$work/batch" $target >"$work/said"
}
resumed() {
    head -c 3000000 "$work/eight" >"$work/half"
    head -c 5000001 "$work/eight" >"$work/back"
    by_sftp "put $work/half /t/resumed" "reput $work/eight /t/resumed" \
        "reget /t/resumed $work/back" && cmp "$work/eight" "$work/back"
}
check "sftp -b: reput and reget go on where it ended" resumed
replaced() { # sftp takes it for a failure that there is nothing to do
    by_sftp "-reput $work/eight /t/resumed" "put $work/some /t/resumed" "get /t/resumed $work/back" &&
        cmp "$work/some" "$work/back"
}
check "sftp -b: reput of what is there, and a shorter file" replaced
patterns() {
    rm -rf "$work/picked" && mkdir "$work/picked" "$work/picked/s"
    by_sftp "ls -1 /t/tree/*" "get /t/tree/o* $work/picked" "mget /t/tree/sub/n* $work/picked" \
        "mkdir /t/picked" "mput $work/host_*.pub /t/picked" "ls -1 /t/picked/*" &&
        copy "$target:/t/tree/sub/*o*" "$work/picked/s" &&
        cmp "$work/tree/one" "$work/picked/one" && [ -e "$work/picked/nothing" ] &&
        [ -e "$work/picked/s/nothing" ] && grep -q '^/t/picked/host_rsa.pub' "$work/said"
}
check "sftp -b, scp: patterns" patterns
odd() {
    name='/t/it'"'"'s a "name" ☃'
    by_sftp "put \"$work/some\" \"/t/a b\"" "put $work/some /t/it\\'s\\ a\\ \\\"name\\\"\\ ☃" \
        "ls -l /t" "rename \"/t/a b\" \"/t/c  d\"" "rm \"/t/c  d\"" &&
        rm -f "$work/back" && copy "$target:$name" "$work/back" && cmp "$work/some" "$work/back" &&
        grep -qF "it's a \"name\" ☃" "$work/said"
}
check "sftp -b, scp: odd names" odd
assigns() {
    rm -f "$work/back"
    copy "$work/some" "$target:T:by-assign" && copy "$target:T:by-assign" "$work/back" &&
        cmp "$work/some" "$work/back"
}
check "scp: assigns by their names" assigns
fails() { # fails LINE: with status 1, and what comes after is not done
    status=0
    by_sftp "$1" "put $work/some /t/never" 2>"$work/e" || status=$?
    [ "$status" -eq 1 ] && [ -s "$work/e" ] && ! by_sftp "ls /t/never" 2>/dev/null
}
check "sftp -b: mkdir of what is there" fails "mkdir /t/tree"
check "sftp -b: rmdir of what is not empty" fails "rmdir /t/tree"
check "sftp -b: rm of a directory" fails "rm /t/tree"
check "sftp -b: get of what is not there" fails "get /t/none $work/back"
check "sftp -b: put into what is not there" fails "put $work/some /t/none/some"
check "sftp -b: put over a directory's name" fails "rename /t/dated /t/tree"
links() {
    by_sftp "symlink /t/tree/one /t/to-one" "ln /t/tree/one /t/same" "rm /t/tree/one" \
        "ls -l /t/to-one" "-get /t/to-one $work/none" "get /t/same $work/back" \
        "rename /t/same /t/tree/one" "get /t/to-one $work/back2" "rm /t/to-one" &&
        cmp "$work/back" "$work/tree/one" && cmp "$work/back2" "$work/tree/one" &&
        [ ! -s "$work/none" ]
}
check "sftp -b: links of both kinds, and one that leads nowhere" links
space() { by_sftp "df /t" && awk '$1 ~ /^[0-9]+$/ && $1 > 1000 && $3 > 1000 { ok = 1 } END { exit !ok }' "$work/said"; }
check "sftp -b: df" space
many_files() {
    rm -rf "$work/many" "$work/many.back" && mkdir "$work/many"
    for number in $(seq 400); do echo "$number" >"$work/many/file-$number"; done
    copy -r "$work/many" $target:/t/many && copy -r $target:/t/many "$work/many.back" &&
        diff -r "$work/many" "$work/many.back" && run_user $target 'Delete T:many ALL >NIL:'
}
seconds "scp -r: 400 small files both ways" many_files
cut_off() { # the rest of what is copied can be fetched after the client was killed
    rm -f "$work/cut"
    # shellcheck disable=SC2086
    sftp -q $common -i "$work/user" -P "$guest_port" "$target:/t/eight" "$work/cut" &
    pid=$!
    for _ in $(seq 200); do
        [ ! -s "$work/cut" ] || break
        sleep 0.05
    done
    kill -9 "$pid"
    wait "$pid" 2>/dev/null
    by_sftp "reget /t/eight $work/cut" && cmp "$work/eight" "$work/cut"
}
check "what it takes to go on is copied" copy "$work/eight" $target:/t/eight
check "sftp: goes on after its client was killed" cut_off

# --- Forwarded ports ------------------------------------------------------------------------------
local_forward() { # this machine -> guest -> this machine, as the guest sees it
    start_ssh -N -o ExitOnForwardFailure=yes -L "127.0.0.1:$1:10.0.2.2:$echo_port" $target &
    # shellcheck disable=SC2064
    trap "kill $!" EXIT
    wait_for_port "$1"
    python3 "$here/tcp_echo.py" check "$1" 8388608
}
check "ssh -L: 8 MiB there and back" local_forward "$(free_port)"
remote_forward() { # the guest's port 8099 -> this machine; the guest's nc connects to it
    copy "$work/eight" $target:/t/eight &&
        run_user -o ExitOnForwardFailure=yes -R "8099:127.0.0.1:$echo_port" $target \
            'nc 127.0.0.1 8099 <T:eight >T:echoed' &&
        copy $target:/t/echoed "$work/echoed" && cmp "$work/eight" "$work/echoed"
}
check "ssh -R: 8 MiB there and back" remote_forward
refused() { # the connection goes on when nobody is there
    status=0
    run_user -W 127.0.0.1:9 $target </dev/null 2>"$work/e" || status=$?
    [ "$status" -ne 0 ] && grep -q 'open failed' "$work/e"
}
check "ssh -W: nobody is there" refused
through_itself() {
    # shellcheck disable=SC2086
    ssh $common -i "$work/user" -o "UserKnownHostsFile=$work/known_through" \
        -o "ProxyCommand=ssh $(echo $common) -i $work/user -p $guest_port -W 127.0.0.1:22 $target" \
        $target 'Echo around'
}
check "ssh -W: as a jump host, to its own server" same_output around through_itself
eight_at_once() {
    start_ssh -N -o ExitOnForwardFailure=yes -L "127.0.0.1:$1:10.0.2.2:$echo_port" $target &
    # shellcheck disable=SC2064
    trap "kill $!" EXIT
    wait_for_port "$1"
    seq 8 | xargs -P 8 -I{} python3 "$here/tcp_echo.py" check "$1" 300000
}
check "ssh -L: eight connections at once" eight_at_once "$(free_port)"
any_port() {
    start_ssh -N -R "0:127.0.0.1:$echo_port" $target 2>"$work/allocated" &
    # shellcheck disable=SC2064
    trap "kill $!" EXIT
    for _ in $(seq 60); do
        ! grep -q 'Allocated port' "$work/allocated" || break
        sleep 0.5
    done
    port=$(sed -n 's/.*Allocated port \([0-9]*\) .*/\1/p' "$work/allocated")
    [ "$(run_user $target "Echo through | nc 127.0.0.1 $port")" = through ]
}
check "ssh -R 0: a port that the guest chooses" any_port
