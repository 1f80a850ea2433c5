#!/usr/bin/env bash
# SSH and SFTP of the running system against programs that others wrote: OpenSSH, asyncssh, paramiko
# and ssh-audit into a booted ViperOS, and its ssh, sftp, scp and passwd into OpenSSH and asyncssh.
#
# Needs what `distro` needs. It builds and boots the system itself, on a disk of its own. SIZE_MIB
# is the size of the large file (64), LOGINS how many log-ins there are in a row (100). PARTS chooses
# what is tried ("in files out lasts").
. "$(dirname "$0")/ssh-common.sh"

need ssh openssh-client
need sshd openssh-server
need openssl openssl
need_python asyncssh paramiko ssh-audit pexpect
here="$repo/ci/interop"
size_mib=${SIZE_MIB:-64}
disk_mib=$((size_mib * 4 + 192))
keys

. "$here/guest-common.sh"

terminal() { "$python" "$here/ssh_terminal.py" "$1" "$guest_port" "$work" "${2:-}"; }
python_peer() { "$python" "$here/ssh_guest.py" "$1" "$guest_port" "$work" "$2" "${3:-}"; }

# --- What is copied, and whom forwarded connections reach ------------------------------------------
kexs="mlkem768x25519-sha256 curve25519-sha256 curve25519-sha256@libssh.org"
ciphers="chacha20-poly1305@openssh.com aes128-gcm@openssh.com aes256-gcm@openssh.com
    aes128-ctr aes192-ctr aes256-ctr"
macs="hmac-sha2-256 hmac-sha2-512 hmac-sha2-256-etm@openssh.com hmac-sha2-512-etm@openssh.com"
host_keys=ssh-ed25519
head -c 300000 /dev/urandom >"$work/some"
head -c $((size_mib * 1024 * 1024)) /dev/urandom >"$work/big"
head -c 8388608 /dev/urandom >"$work/eight"
head -c 16777216 "$work/big" >"$work/sixteen"
tree() {
    mkdir -p "$work/tree/sub/deeper" "$work/tree/empty" "$work/tree/Größe 大小"
    echo one >"$work/tree/one"
    : >"$work/tree/sub/nothing"
    cp "$work/some" "$work/tree/sub/deeper/some"
    for name in 'a file' 'ünïcode ☃' '-r' '$HOME' "it's" 'a "quote"' 'a*[b]?' 'semi;colon' 'back\\slash' \
        '#hash' 'trailing ' '.hidden' '%41' '~' 'a&b|c<d>e'; do
        echo "$name" >"$work/tree/Größe 大小/$name"
    done
}
tree
echo_port=$(free_port)
python3 "$here/tcp_echo.py" serve "$echo_port" >/dev/null 2>&1 &
started="$started $!"
wait_for_port "$echo_port"

# The keys come with the disk.
boot --put "$work/authorized_keys:/s/ssh/authorized_keys" --put "$work/user:/t/key" \
    --put "$work/user:/s/ssh/id_ed25519" --put "$work/stranger:/t/stranger"
LIMIT=120
for part in ${PARTS:-in files out lasts}; do
    case "$part" in
        lasts) lasts=1 ;;
        *) . "$here/ssh-guest-$part-common.sh" ;;
    esac
done
if [ -z "${lasts:-}" ]; then
    shut_down "the machine ends when it is asked to"
    finish
    exit
fi

# --- What lasts -----------------------------------------------------------------------------------
check "what is to last is copied" copy "$work/eight" "$target:/t/kept"
check "passwd: sets another password" terminal passwd
new_password() { asked 'new word' password && ! asked viper password; }
check "passwd: the new one lets in, the old one does not" new_password
shut_down "the machine ends when it is asked to"
old_port=$guest_port
boot
check "after a reboot: the new password lets in, the old one does not" new_password
same_key() {
    sed "s/\]:$old_port /]:$guest_port /" "$work/known_hosts" >"$work/known_after"
    extra="-o UserKnownHostsFile=$work/known_after -o StrictHostKeyChecking=yes"
    run_user $target 'Echo in'
}
check "after a reboot: the host key is the same" same_key
kept() { fetch /t/kept "$work/back" && cmp "$work/eight" "$work/back"; }
check "after a reboot: what was copied is there" kept
shut_down "the machine ends again"
finish
