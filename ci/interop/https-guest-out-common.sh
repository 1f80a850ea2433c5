# The guest's fetch from OpenSSL's and GnuTLS' servers: sourced by https-guest.sh.

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
    gnutls_server p256 "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+$suite" --http
    check "fetch from gnutls-serv: $suite" gnutls_has "$suite"
    stop
done
for group in X25519 SECP256R1 SECP384R1; do
    gnutls_server rsa "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-$group" --http
    check "fetch from gnutls-serv: $group" gnutls_has "$group"
    stop
done
for pair in $refusals; do
    sentence=$(echo "${pair#*:}" | tr _ ' ')
    s_server "${pair%%:*}" -www
    check "fetch from s_server: ${pair%%:*} is refused" refused "$sentence"
    stop
    gnutls_server "${pair%%:*}" NORMAL --http
    check "fetch from gnutls-serv: ${pair%%:*} is refused" refused "$sentence"
    stop
done
s_server p256 -www -tls1_2
check "fetch from s_server: TLS 1.2 only is refused" refused 'does not know TLS 1.3'
stop
gnutls_server p256 "NORMAL:-VERS-ALL:+VERS-TLS1.2" --http
check "fetch from gnutls-serv: TLS 1.2 only is refused" refused 'no version, cipher'
stop
port=$(free_port)
start python3 "$here/tls_downgrade.py" "$port"
check "fetch: a downgraded version is refused" refused 'tried to force an older version'
stop
s_server p256 -www -Verify 1 -CAfile root.pem -verify_return_error
check "fetch from s_server: one that wants a certificate" refused 'it wants a certificate of ours'
check "fetch from s_server: a client's certificate" page_has 'CN *= *client' CERT T:client-both.pem
check "fetch from s_server: a certificate from nobody known" \
    refused 'our certificate is from an authority it does not know' \
    CERT T:client-strange.pem KEY T:client-strange.key
check "fetch from s_server: a certificate that has expired" refused 'our certificate has expired' \
    CERT T:client-expired.pem KEY T:client-expired.key
stop
gnutls_server p256 NORMAL --http --require-client-cert --verify-client-cert --x509cafile root.pem
check "fetch from gnutls-serv: one that wants a certificate" refused 'it wants a certificate of ours'
check "fetch from gnutls-serv: a client's certificate" page_has GnuTLS CERT T:client-both.pem
check "fetch from gnutls-serv: a certificate from nobody known" refused 'access denied' \
    CERT T:client-strange.pem KEY T:client-strange.key
stop
# Somebody who stops in the middle of a record, and one who ends without the word that it is all.
port=$(free_port)
cat >cut_short.py <<'PY'
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
start python3 cut_short.py "$port"
not_all() {
    result=0
    inside "fetch https://10.0.2.2:$port/" >page 2>said || result=$?
    cat said
    [ "$result" -eq 10 ] && grep -q 'cut off\|closed before the end' said
}
check "fetch: what is cut off is not taken for all" not_all
stop
