# OpenSSL, GnuTLS, curl and wget into the guest's httpd: sourced by https-guest.sh.

httpd() { # httpd PORT WORD...: another one in the guest, until its port here answers TLS
    start_ssh $target "httpd T:site SECONDS 3000 ${*:2}" >"httpd.$1.log" 2>&1 &
    started="$started $!"
    for _ in $(seq 60); do
        ! openssl s_client -connect "127.0.0.1:$1" -brief </dev/null >answer 2>&1 || break
        sleep 0.5
    done
}
httpd "$secure" PORT 80 TLSPORT 443
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

# --- Clients that have to show a certificate --------------------------------------------------------
copy root.pem "$target:/t/root.pem"
httpd "$known" TLSPORT 444 CLIENTCA T:root.pem
httpd "$asking" TLSPORT 445 CLIENTCA T:root.pem OPTIONAL
as() { # as PORT [OPTION]...: curl gets the file
    curl -sS --max-time 20 --cacert root.pem "${@:2}" "https://localhost:$1/hello.txt" >got 2>said
}
lets_in() { as "$@" && cmp got hello.txt; }
keeps_out() { # keeps_out SENTENCE PORT [OPTION]...
    result=0
    as "${@:2}" || result=$?
    cat said
    [ "$result" -ne 0 ] && [ ! -s got ] && grep -q -- "$1" said
}
show() { echo "--cert $1.pem --key ${2:-$1}.key"; }
# shellcheck disable=SC2046 # the options are words
for pair in "$known:demanded" "$asking:asked for"; do
    port=${pair%%:*} how=${pair#*:}
    check "curl into httpd: a certificate that is $how" lets_in "$port" $(show client)
    check "curl into httpd: one by a chain that is $how" lets_in "$port" \
        $(show client-chain client-middle)
    check "curl into httpd: one of nobody known that is $how" \
        keeps_out 'unknown ca' "$port" $(show client-strange)
    check "curl into httpd: one too late that is $how" \
        keeps_out 'certificate expired' "$port" $(show client-expired)
    check "curl into httpd: one for servers that is $how" \
        keeps_out 'certificate' "$port" $(show p256)
    check "curl into httpd: one without its chain that is $how" \
        keeps_out 'unknown ca' "$port" $(show client-middle)
done
for type in ed25519 p384 rsa; do
    check "curl into httpd: a client's $type certificate" \
        lets_in "$known" --cert "client-$type.pem"
done
check "curl into httpd: none where one is demanded" keeps_out 'certificate required' "$known"
check "curl into httpd: none where one is asked for" lets_in "$asking"
secure=$known
check "s_client into httpd: a certificate" s_client_says 'Acceptable client certificate CA names' \
    -cert client.pem -key client.key
resumed_known() {
    s_client -sess_out session -cert client.pem -key client.key && [ -s session ] &&
        s_client_says '^Reused, TLSv1.3' -sess_in session -cert client.pem -key client.key
}
check "s_client into httpd: resumption with a certificate" resumed_known
check "s_client into httpd: none" old 'certificate required' \
    sh -c 'sleep 2 | openssl s_client -connect "127.0.0.1:$secure" -CAfile root.pem'
check "gnutls-cli into httpd: a certificate" gnutls_says 'hello from httpd' \
    --x509certfile client.pem --x509keyfile client.key
gnutls_none() { ! gnutls_says 'hello from httpd' && grep -qi 'certificate is required' said; }
check "gnutls-cli into httpd: none" gnutls_none
guest_to_itself() {
    [ "$(inside "fetch https://127.0.0.1:444/hello.txt CERT T:client-both.pem NOVERIFY")" = "hello from httpd" ]
}
check "the guest's fetch into its httpd" guest_to_itself
