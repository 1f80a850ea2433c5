#!/usr/bin/env bash
# TLS of the running system: its fetch from OpenSSL's and GnuTLS' servers, and OpenSSL, GnuTLS, curl
# and wget into its httpd: each suite and group, retries, resumption, and whatever is refused.
#
# Needs what `distro` needs. It builds and boots the system itself, on a disk of its own.
. "$(dirname "$0")/ssh-common.sh"

need ssh openssh-client
need curl curl
need openssl openssl
need gnutls-cli gnutls-bin
need wget wget
need python3 python3
here="$repo/ci/interop"
disk_mib=192
LIMIT=120
keys
. "$here/guest-common.sh"

cd "$work"
. "$here/certificates-common.sh"
# What the guest calls this machine, and what this machine calls the guest.
names="IP:10.0.2.2,IP:127.0.0.1,DNS:localhost"
{
    authority root
    authority strange
    for key_type in ed25519 p256 p384 rsa; do leaf "$key_type" root "$names" serverAuth; done
    key_type=p256
    leaf guest root "$names" serverAuth
    leaf expired root "$names" serverAuth 20210101000000Z
    leaf wrong-host root DNS:elsewhere.example serverAuth
    leaf wrong-usage root "$names" clientAuth
    leaf unknown strange "$names" serverAuth
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=own \
        -addext "subjectAltName=$names" -addext extendedKeyUsage=serverAuth \
        -keyout self-signed.key -out self-signed.pem
} >openssl.log 2>&1 || { tail -n 5 openssl.log; exit 1; }

echo "hello from httpd" >hello.txt
head -c 3000000 /dev/urandom >big
web=$(free_port)
secure=$(free_port)
boot --hostfwd "tcp:$web-80" --hostfwd "tcp:$secure-443" \
    --put "$work/authorized_keys:/s/ssh/authorized_keys" --put "$work/root.pem:/certs/root.pem" \
    --put "$work/guest.pem:/s/httpd.crt" --put "$work/guest.key:/s/httpd.key" \
    --put "$work/hello.txt:/t/site/hello.txt" --put "$work/big:/t/site/big"
inside() { run_user $target "$@"; }

# --- Out of the guest: OpenSSL's and GnuTLS' servers ------------------------------------------------
start() { # start COMMAND...: a server on $port
    "$@" >server.log 2>&1 </dev/null &
    server=$!
    started="$started $server"
    wait_for_port "$port"
}
stop() {
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
}
s_server() { # s_server CERTIFICATE [OPTION]...
    port=$(free_port)
    certificate=$1
    shift
    start openssl s_server -accept "127.0.0.1:$port" -key "$certificate.key" \
        -cert "$certificate.pem" "$@"
}
gnutls_server() { # gnutls_server CERTIFICATE PRIORITY [OPTION]...
    port=$(free_port)
    certificate=$1 priority=$2
    shift 2
    start stdbuf -oL gnutls-serv --http --port "$port" --x509certfile "$certificate.pem" \
        --x509keyfile "$certificate.key" --priority "$priority" "$@"
}
page_has() { # page_has TEXT: the page about the connection that the guest's fetch gets
    inside "fetch https://10.0.2.2:$port/" >page || { cat page; return 1; }
    grep -q -- "$1" page || { cat page; return 1; }
}
refused() { # refused SENTENCE: and nothing of the page comes
    result=0
    inside "fetch https://10.0.2.2:$port/" >page 2>said || result=$?
    cat said
    [ "$result" -eq 10 ] && [ ! -s page ] && grep -qF -- "$1" said
}
for type in ed25519 p256 p384 rsa; do
    s_server "$type" -www
    check "fetch from s_server: $type certificate" page_has 'TLSv1.3'
    stop
done
for suite in TLS_AES_128_GCM_SHA256 TLS_CHACHA20_POLY1305_SHA256 TLS_AES_256_GCM_SHA384; do
    s_server p256 -www -ciphersuites "$suite"
    check "fetch from s_server: $suite" page_has "Cipher is $suite"
    stop
done
gnutls_has() { # gnutls_has TEXT: its page comes, and what it says of the connection has TEXT
    page_has GnuTLS && grep '^- Description' server.log && grep -q "^- Description.*$1" server.log
}
hellos() { grep -c '^<<<.*ClientHello' server.log; }
one_hello() { page_has 'TLSv1.3' && [ "$(hellos)" = "$1" ]; }
for group in X25519:1 P-256:2 P-384:2; do
    s_server p256 -www -msg -groups "${group%:*}"
    case $group in
        *:1) check "fetch from s_server: ${group%:*}" one_hello 1 ;;
        *) check "fetch from s_server: ${group%:*}, HelloRetryRequest" one_hello 2 ;;
    esac
    stop
done
for suite in AES-128-GCM CHACHA20-POLY1305 AES-256-GCM; do
    gnutls_server p256 "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+$suite"
    check "fetch from gnutls-serv: $suite" gnutls_has "$suite"
    stop
done
for group in X25519 SECP256R1 SECP384R1; do
    gnutls_server rsa "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-$group"
    check "fetch from gnutls-serv: $group" gnutls_has "$group"
    stop
done
for pair in 'expired:has expired' 'wrong-host:for another host' 'unknown:unknown authority' \
    'wrong-usage:not meant for this use' 'self-signed:self-signed'; do
    s_server "${pair%%:*}" -www
    check "fetch from s_server: ${pair%%:*} is refused" refused "${pair#*:}"
    stop
    gnutls_server "${pair%%:*}" NORMAL
    check "fetch from gnutls-serv: ${pair%%:*} is refused" refused "${pair#*:}"
    stop
done
s_server p256 -www -tls1_2
check "fetch from s_server: TLS 1.2 only is refused" refused 'does not know TLS 1.3'
stop
gnutls_server p256 "NORMAL:-VERS-ALL:+VERS-TLS1.2"
check "fetch from gnutls-serv: TLS 1.2 only is refused" refused 'no version, cipher'
stop
port=$(free_port)
start python3 "$here/tls_downgrade.py" "$port"
check "fetch: a downgraded version is refused" refused 'tried to force an older version'
stop
s_server p256 -www -Verify 1 -CAfile root.pem -verify_return_error
check "fetch from s_server: one that wants a certificate" refused 'it wants a certificate of ours'
stop
# Somebody who stops in the middle of a record, and one who ends without the word that it is all.
port=$(free_port)
cut_short() {
    python3 - "$port" <<'PY'
import os, socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("p256.pem", "p256.key")
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    peer = listener.accept()[0]
    try:
        peer = context.wrap_socket(peer, server_side=True)
        peer.recv(4096)
        peer.sendall(b"HTTP/1.0 200 OK\r\n\r\nnot all of it")
        os.close(peer.detach())
    except OSError:
        pass
PY
}
cut_short >server.log 2>&1 &
started="$started $!"
server=$!
sleep 1
not_all() {
    result=0
    inside "fetch https://10.0.2.2:$port/" >page 2>said || result=$?
    cat said
    [ "$result" -eq 10 ] && grep -q 'cut off\|closed before the end' said
}
check "fetch: what is cut off is not taken for all" not_all
stop

# --- Into the guest's httpd -------------------------------------------------------------------------
start_ssh $target "httpd T:site PORT 80 TLSPORT 443 SECONDS 3000" >httpd.log 2>&1 &
started="$started $!"
for _ in $(seq 60); do
    ! curl -s -o page --max-time 2 "http://127.0.0.1:$web/hello.txt" || break
    sleep 0.5
done
request='GET /hello.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
s_client() { # s_client [OPTION]...: a request, then the answer and what OpenSSL says
    { printf "$request"; sleep 2; } |
        openssl s_client -connect "127.0.0.1:$secure" -servername localhost -CAfile root.pem \
            -verify_hostname localhost -verify_return_error "$@" >said 2>&1
}
s_client_says() { # s_client_says TEXT [OPTION]...
    wanted=$1
    shift
    s_client "$@"
    grep -q -- "$wanted" said && grep -q 'hello from httpd' said
}
gnutls_says() { # gnutls_says TEXT [OPTION]...
    wanted=$1
    shift
    { printf "$request"; sleep 2; } |
        gnutls-cli --port "$secure" --sni-hostname localhost --verify-hostname localhost \
            --x509cafile root.pem 127.0.0.1 "$@" >said 2>&1
    grep -q -- "$wanted" said && grep -q 'hello from httpd' said
}
for suite in TLS_AES_128_GCM_SHA256 TLS_CHACHA20_POLY1305_SHA256 TLS_AES_256_GCM_SHA384; do
    check "s_client into httpd: $suite" s_client_says "Cipher is $suite" -ciphersuites "$suite"
done
for suite in AES-128-GCM CHACHA20-POLY1305 AES-256-GCM; do
    check "gnutls-cli into httpd: $suite" gnutls_says "Description: (TLS1.3.*($suite)" \
        --priority "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+$suite"
done
for group in X25519 P-256 P-384; do
    check "s_client into httpd: $group" s_client_says 'Verify return code: 0 (ok)' -groups "$group"
done
for group in X25519 SECP256R1 SECP384R1; do
    check "gnutls-cli into httpd: $group" gnutls_says "$group" \
        --priority "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-$group"
done
# The first group, for which the client sends a key, is one that the guest does not have.
s_client_retried() {
    s_client_says 'Server Temp Key: ECDH, prime256v1' -groups P-521:P-256 -msg &&
        [ "$(grep -c '^>>>.*ClientHello' said)" -eq 2 ]
}
check "s_client into httpd: HelloRetryRequest" s_client_retried
check "gnutls-cli into httpd: HelloRetryRequest" gnutls_says SECP256R1 --single-key-share \
    --priority 'NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-SECP521R1:+GROUP-SECP256R1'
resumed() {
    s_client -sess_out session && grep -q '^New, TLSv1.3' said && [ -s session ] &&
        s_client_says '^Reused, TLSv1.3' -sess_in session
}
check "s_client into httpd: resumption" resumed
check "gnutls-cli into httpd: resumption" gnutls_says 'This is a resumed session' --resume
check "gnutls-cli into httpd: new keys" gnutls_says 'hello' --inline-commands
old() { # old SENTENCE COMMAND...
    result=0
    "${@:2}" >said 2>&1 </dev/null || result=$?
    [ "$result" -ne 0 ] && grep -q -- "$1" said
}
for version in 1 1_1 1_2; do
    check "s_client into httpd: TLS ${version/_/.} is refused" \
        old 'alert protocol version\|alert handshake failure' \
        openssl s_client -connect "127.0.0.1:$secure" "-tls$version" -cipher DEFAULT@SECLEVEL=0
done
check "gnutls-cli into httpd: TLS 1.2 is refused" old 'protocol version\|not.*support' \
    gnutls-cli --port "$secure" --x509cafile root.pem --priority 'NORMAL:-VERS-ALL:+VERS-TLS1.2' localhost
check "curl into httpd: TLS 1.2 is refused" old 'protocol version' \
    curl -sS --cacert root.pem --tls-max 1.2 "https://localhost:$secure/hello.txt"
alpn() {
    s_client -alpn h2,http/1.1
    grep -q 'ALPN protocol: http/1.1' said
}
check "s_client into httpd: ALPN" alpn
check "s_client into httpd: another ALPN is refused" old 'no application protocol' \
    openssl s_client -connect "127.0.0.1:$secure" -alpn h2
by_curl() { [ "$(curl -sS --cacert root.pem "https://localhost:$secure/hello.txt")" = "hello from httpd" ]; }
check "curl into httpd" by_curl
for base in "http://127.0.0.1:$web" "https://localhost:$secure"; do
    whole() { wget -q --ca-certificate root.pem -O got "$base/big" && cmp got big; }
    check "wget from httpd, ${base%%:*}" whole
    resumes() {
        head -c 1000001 big >got
        wget -S -c --ca-certificate root.pem -O got "$base/big" 2>said && cmp got big &&
            grep -q '206 Partial Content' said
    }
    check "wget from httpd, ${base%%:*}: goes on where it ended" resumes
    again() { wget -q -c --ca-certificate root.pem -O got "$base/big" && cmp got big; }
    check "wget from httpd, ${base%%:*}: nothing is left to fetch" again
done
newer() { # wget asks with If-Modified-Since
    rm -rf site && mkdir site && cd site && wget -q -N "http://127.0.0.1:$web/hello.txt" &&
        wget -N "http://127.0.0.1:$web/hello.txt" 2>../said && grep -q '304 Not Modified\|not modified' ../said
}
check "wget from httpd: not modified" newer
mirror() {
    rm -rf mirror && wget -q -r -np -nH -P mirror "http://127.0.0.1:$web/" && cmp mirror/big big &&
        cmp mirror/hello.txt hello.txt
}
check "wget -r from httpd: by its listing" mirror
many_ranges() { # several ranges at once may be answered by all of it
    curl -s -r 0-1,5-6 -o got "http://127.0.0.1:$web/hello.txt" && [ -s got ]
}
check "curl from httpd: two ranges" many_ranges

shut_down "the machine ends when it is asked to"
finish
