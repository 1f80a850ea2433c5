#!/usr/bin/env bash
# TLS of the running system: its fetch from nginx, and from OpenSSL's and GnuTLS' servers; OpenSSL,
# GnuTLS, curl and wget into its httpd: each suite and group, retries, resumption, certificates of
# clients, and whatever is refused.
#
# Needs what `distro` needs. It builds and boots the system itself, on a disk of its own. PARTS chooses
# what is tried ("nginx out in"), SIZE_MIB is the size of the large file.
. "$(dirname "$0")/ssh-common.sh"
. "$repo/ci/interop/nginx-common.sh"
. "$repo/ci/interop/tls-common.sh"

need ssh openssh-client
need nginx nginx-light
need curl curl
need openssl openssl
need gnutls-cli gnutls-bin
need wget wget
need python3 python3
here="$repo/ci/interop"
size_mib=${SIZE_MIB:-8}
disk_mib=$((size_mib * 4 + 192))
LIMIT=120
keys
. "$here/guest-common.sh"

cd "$work"
# What the guest calls this machine, and what this machine calls the guest.
names="IP:10.0.2.2,IP:127.0.0.1,DNS:localhost"
{
    authority root
    authority strange
    for key_type in ed25519 p256 p384 rsa; do leaf "$key_type" root "$names" serverAuth; done
    key_type=p256
    bad_servers "$names"
    leaf guest root "$names" serverAuth
    intermediate middle root
    intermediate middle-expired root 20210101000000Z
    leaf by-middle middle "$names" serverAuth
    leaf by-expired middle-expired "$names" serverAuth
    cp by-middle.key chain.key && cat by-middle.pem middle.pem >chain.pem
    cp by-expired.key chain-expired.key && cat by-expired.pem middle-expired.pem >chain-expired.pem
    # Clients: one file with both, a chain, from nobody known, too late, for servers.
    leaf client root DNS:client clientAuth
    cat client.pem client.key >client-both.pem
    for key_type in ed25519 p384 rsa; do
        leaf "client-$key_type" root DNS:client clientAuth
        cat "client-$key_type.key" >>"client-$key_type.pem"
    done
    key_type=p256
    leaf client-middle middle DNS:client clientAuth
    cat client-middle.pem middle.pem >client-chain.pem
    leaf client-strange strange DNS:client clientAuth
    leaf client-expired root DNS:client clientAuth 20210101000000Z
} >openssl.log 2>&1 || { tail -n 5 openssl.log; exit 1; }

echo "hello from httpd" >hello.txt
head -c $((size_mib * 1024 * 1024)) /dev/urandom >big
free_ports web secure known asking
to_boot=""
for file in client-both.pem client.pem client.key client-chain.pem client-middle.key \
    client-strange.pem client-strange.key client-expired.pem client-expired.key \
    client-ed25519.pem client-p384.pem client-rsa.pem; do
    to_boot="$to_boot --put $work/$file:/t/$file"
done
# shellcheck disable=SC2086 # words
boot --hostfwd "tcp:$web-80" --hostfwd "tcp:$secure-443" --hostfwd "tcp:$known-444" \
    --hostfwd "tcp:$asking-445" $to_boot \
    --put "$work/authorized_keys:/s/ssh/authorized_keys" --put "$work/root.pem:/certs/root.pem" \
    --put "$work/guest.pem:/s/httpd.crt" --put "$work/guest.key:/s/httpd.key" \
    --put "$work/hello.txt:/t/site/hello.txt" --put "$work/big:/t/site/big"
inside() { run_user $target "$@"; }

page_has() { # page_has TEXT [WORD]...: the page from $port that the guest's fetch gets
    inside "fetch https://10.0.2.2:$port/${path:-} ${*:2}" >page || { cat page; return 1; }
    grep -q -- "$1" page || { cat page; return 1; }
}
refused() { # refused SENTENCE [WORD]...: and nothing of the page comes
    result=0
    inside "fetch https://10.0.2.2:$port/${path:-} ${*:2}" >page 2>said || result=$?
    cat said
    [ "$result" -eq 10 ] && [ ! -s page ] && grep -qF -- "$1" said
}
for part in ${PARTS:-nginx out in}; do
    . "$here/https-guest-$part-common.sh"
done
shut_down "the machine ends when it is asked to"
finish
