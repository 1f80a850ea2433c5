#!/usr/bin/env bash
# Our TLS client against OpenSSL and GnuTLS, our server against OpenSSL, GnuTLS and curl: every suite
# and group, retries, resumption, client certificates, new keys, and chains that must be refused.
#
# INTEROP_INSTALL=1 lets it install what it needs (as root, on Debian). Everything listens on
# 127.0.0.1 and is gone when the script ends. INTEROP_EXAMPLES names a folder with built examples.
package=viper-tls
. "$(dirname "$0")/checks-common.sh"

need openssl openssl
need gnutls-cli gnutls-bin
need curl curl
need python3 python3
LIMIT=${LIMIT:-30}
build

# --- A certification authority ----------------------------------------------------------------

cd "$work"
. "$repo/ci/interop/tls-common.sh"
{
    authority root
    authority strange
    server="DNS:localhost,IP:127.0.0.1"
    for key_type in ed25519 p256 p384 rsa; do leaf "$key_type" root "$server" serverAuth; done
    key_type=p256
    bad_servers "$server"
    key_usage=keyAgreement leaf wrong-key-usage root "$server" serverAuth
    leaf client root DNS:client clientAuth
    leaf strange-client strange DNS:client clientAuth
} >openssl.log 2>&1 || { tail -n 5 openssl.log; exit 1; }

# --- Our client against others' servers ---------------------------------------------------------

client() { # client [OPTION]...: our client, its words on standard error
    "$examples/tls_client" 127.0.0.1 "$port" --name localhost --ca root.pem "$@"
}
says() { # says TEXT COMMAND...: what it says on standard error has TEXT
    wanted=$1
    shift
    "$@" 2>said || true
    grep -q -- "$wanted" said || { cat said; return 1; }
}
get() { printf 'GET / HTTP/1.0\r\n\r\n' | client "$@" >page && grep -q . page; }
page_says() { # page_says TEXT [OPTION]...: s_server's page about the connection has TEXT
    wanted=$1
    shift
    get "$@" && grep -q -- "$wanted" page
}
refused() { # refused SENTENCE [OPTION]...
    wanted=$1
    shift
    says "$wanted" get "$@" && ! get "$@" 2>/dev/null
}
suites="TLS13_AES_128_GCM_SHA256 TLS13_CHACHA20_POLY1305_SHA256 TLS13_AES_256_GCM_SHA384"

for type in ed25519 p256 p384 rsa; do
    s_server "$type" -www
    check "s_server, $type certificate" get
    stop
done
s_server p256 -www
for suite in $suites; do
    check "s_server, $suite" says "$suite" get --suite "$suite"
done
for group in X25519MLKEM768 X25519 secp256r1 secp384r1; do
    if [ "$group" = X25519MLKEM768 ] && openssl version | grep -q 'OpenSSL 3\.[0-4]'; then
        # This OpenSSL knows no ML-KEM: it takes the X25519 share that is offered along.
        check "s_server, X25519 beside the hybrid" says 'X25519 .*retried=false' get
    else
        check "s_server, $group" says "$group" get --group "$group"
    fi
done
check "s_server, resumption" says 'resumed=true' get --times 2
check "no clock, no connection" refused 'there is no clock' --no-clock
check "no clock, no verification, as asked" get --no-clock --no-verification
check "nobody trusted knows it" refused 'unknown authority' --ca strange.pem
expires() { refused 'has expired' --at "$(date -d 2049-01-02 +%s)"; }
check "expires" expires
too_early() { refused 'not valid yet' --at "$(date -d 2019-12-30 +%s)"; }
check "was not valid then" too_early
stop
s_server p256 -www -groups P-384
check "s_server, HelloRetryRequest" says 'secp384r1 .*retried=true' get
stop
s_server p256 -alpn http/1.1,h2 -www
check "s_server, ALPN" says 'alpn=http/1.1' get --alpn h2,http/1.1
stop
refuses() { # refuses CERTIFICATE SENTENCE
    s_server "$1" -www
    check "$1 is refused" refused "$2"
    stop
}
for pair in $refusals wrong-key-usage:not_meant_for_this_use; do
    refuses "${pair%%:*}" "$(echo "${pair#*:}" | tr _ ' ')"
done
s_server p256 -www -tls1_2
check "a TLS 1.2 server is refused" refused 'does not know TLS 1.3'
stop
# Somebody in the middle who makes a TLS 1.2 of it: the answer has the mark of RFC 8446, 4.1.3.
port=$(free_port)
start python3 "$repo/ci/interop/tls_downgrade.py" "$port"
check "a downgraded version is refused" refused 'tried to force an older version'
stop
s_server p256 -Verify 1 -CAfile root.pem -verify_return_error -www
check "s_server, client certificate" get --cert client.pem --key client.key
check "s_server, no client certificate" refused 'the peer gave up'
check "s_server, strange client" refused 'the peer gave up' \
    --cert strange-client.pem --key strange-client.key
stop
s_server p256 -rev
reversed() { [ "$(echo 0123456789 | client "$@")" = 9876543210 ]; }
check "s_server, data" reversed
check "s_server, our new keys" reversed --update-keys
stop

for suite in AES-128-GCM CHACHA20-POLY1305 AES-256-GCM; do
    gnutls_server p256 "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+$suite" --http
    check "gnutls-serv, $suite" says "${suite//-/_}" get
    stop
done
for group in X25519 SECP256R1 SECP384R1; do
    gnutls_server p256 "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-$group" --http
    check "gnutls-serv, $group" says "$(echo "$group" | sed 's/^SECP/secp/;s/R1$/r1/')" get
    stop
done
gnutls_server rsa NORMAL --http
check "gnutls-serv, rsa certificate" get
check "gnutls-serv, resumption" says 'resumed=true' get --times 2
stop
gnutls_server p256 NORMAL --echo
echoed() { [ "$(echo 0123456789 | client "$@")" = 0123456789 ]; }
check "gnutls-serv, data" echoed
check "gnutls-serv, our new keys" echoed --update-keys
stop
gnutls_server p256 NORMAL --require-client-cert --x509cafile root.pem --http
check "gnutls-serv, client certificate" get --cert client.pem --key client.key
stop
gnutls_server p256 "NORMAL:-VERS-ALL:+VERS-TLS1.2" --http
check "a TLS 1.2 gnutls-serv is refused" refused 'no version, cipher'
stop

# --- Others' clients against our server ---------------------------------------------------------

ours() { # ours KEY [OPTION]...
    port=$(free_port)
    certificate=$1
    shift
    start "$examples/tls_server" --port "$port" --cert "$certificate.pem" \
        --key "$certificate.key" "$@"
}
s_client() { # s_client [OPTION]...: a request, then the answer and what OpenSSL says
    { printf 'GET / HTTP/1.0\r\n\r\n'; sleep 1; } |
        openssl s_client -connect "127.0.0.1:$port" -servername localhost -CAfile root.pem \
            -verify_hostname localhost -verify_return_error "$@" 2>&1
}
s_client_says() { # s_client_says TEXT [OPTION]...
    wanted=$1
    shift
    s_client "$@" >said
    grep -q -- "$wanted" said
}
gnutls() { # gnutls [OPTION]...
    { printf 'GET / HTTP/1.0\r\n\r\n'; sleep 1; } |
        gnutls-cli --port "$port" --sni-hostname localhost --verify-hostname localhost \
            --x509cafile root.pem 127.0.0.1 "$@" 2>&1
}
gnutls_says() { # gnutls_says TEXT [OPTION]...
    wanted=$1
    shift
    gnutls "$@" >said
    grep -q -- "$wanted" said
}
curl_says() { # curl_says TEXT [OPTION]...
    wanted=$1
    shift
    curl --silent --show-error --cacert root.pem --resolve "localhost:$port:127.0.0.1" "$@" \
        "https://localhost:$port/" | grep -q -- "$wanted"
}

for type in ed25519 p256 p384; do
    ours "$type"
    check "s_client, $type certificate" s_client_says 'Verify return code: 0 (ok)'
    check "gnutls-cli, $type certificate" gnutls_says '^TLS13_.*name=localhost'
    check "curl, $type certificate" curl_says '^TLS13_.*name=localhost'
    stop
done
ours p256 --alpn h2,http/1.1
for suite in TLS_AES_128_GCM_SHA256 TLS_CHACHA20_POLY1305_SHA256 TLS_AES_256_GCM_SHA384; do
    check "s_client, $suite" s_client_says "^${suite/TLS_/TLS13_}" -ciphersuites "$suite"
done
for suite in AES-128-GCM CHACHA20-POLY1305 AES-256-GCM; do
    check "gnutls-cli, $suite" gnutls_says "^TLS13_${suite//-/_}" \
        --priority "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+$suite"
done
for group in X25519:X25519 P-256:secp256r1 P-384:secp384r1; do
    check "s_client, ${group#*:}" s_client_says " ${group#*:} .*retried=false" -groups "${group%:*}"
done
check "curl, ALPN" curl_says 'alpn=http/1.1' --http1.1
resumes() {
    s_client -sess_out session >said && s_client_says 'resumed=true' -sess_in session
}
check "s_client, resumption" resumes
check "gnutls-cli, resumption" gnutls_says 'This is a resumed session' --resume
check "a TLS 1.2 client is refused" s_client_says 'alert protocol version' -tls1_2
stop
ours p256 --group secp384r1
check "s_client, HelloRetryRequest" s_client_says 'secp384r1 .*retried=true'
check "gnutls-cli, HelloRetryRequest" gnutls_says 'secp384r1 .*retried=true' \
    --single-key-share --priority 'NORMAL:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP384R1'
stop
ours p256 --client-ca root.pem
check "s_client, client certificate" s_client_says 'certificates=[12]' -cert client.pem \
    -key client.key
check "curl, client certificate" curl_says 'certificates=[12]' --cert client.pem --key client.key
check "gnutls-cli, client certificate" gnutls_says 'certificates=[12]' \
    --x509certfile client.pem --x509keyfile client.key
check "s_client, no client certificate" s_client_says 'alert certificate required'
check "s_client, strange client" s_client_says 'alert unknown ca' -cert strange-client.pem \
    -key strange-client.key
stop
ours p256 --client-ca root.pem --optional
check "s_client, client certificate if it likes" s_client_says 'certificates=0'
stop
ours p256 --update-keys
new_keys() { # the peer's commands: k changes its keys, K asks for ours, too
    { printf 'one\n'; sleep 1; printf 'k\n'; sleep 1; printf 'two\n'; sleep 1; printf 'K\n'
        sleep 1; printf 'three\n'; sleep 1; printf 'Q\n'; } |
        openssl s_client -connect "127.0.0.1:$port" -CAfile root.pem >said 2>&1
    grep -qx one said && grep -qx two said && grep -qx three said && ! grep -q 'alert' said
}
check "s_client, new keys from both sides" new_keys
stop
ours p256
big() { # a megabyte through the echo
    # No letters: s_client takes some for commands.
    seq 200000 >big
    { cat big; sleep 5; } | openssl s_client -connect "127.0.0.1:$port" -CAfile root.pem \
        -quiet -no_ign_eof >back 2>said
    cmp big back
}
check "s_client, a megabyte both ways" big
both_ours() { echo 0123456789 | client | grep -qx 0123456789; }
check "our client, our server" both_ours
stop

finish
