# The guest's fetch from nginx by https: sourced by https-guest.sh.

mkdir -p www
echo "hello from nginx" >www/hello.txt
seq 20000 >www/numbers.txt
cp big www/big
head -c 1000001 big >part

free_ports plain good chain lone old once clients clients_once optional
blocks="server {
    listen 127.0.0.1:$plain;
    location = /301 { return 301 https://10.0.2.2:$good/hello.txt; }
}"
block() { # block PORT CERTIFICATE [LINE]...
    blocks="$blocks
$(tls_block "$@")"
}
block "$good" p256 "location = /down { return 302 http://10.0.2.2:$plain/hello.txt; }" \
    "location = /302 { return 302 /hello.txt; }" "location = /none { return 403; }"
block "$chain" chain
block "$lone" by-middle
block "$old" p256 "ssl_protocols TLSv1.2;"
block "$once" p256 "keepalive_timeout 0;"
block "$clients" p256 "ssl_client_certificate $work/root.pem;" "ssl_verify_client on;" \
    "ssl_verify_depth 2;"
block "$clients_once" p256 "ssl_client_certificate $work/root.pem;" "ssl_verify_client on;" \
    "keepalive_timeout 0;"
block "$optional" p256 "ssl_client_certificate $work/root.pem;" "ssl_verify_client optional;"
for type in ed25519 p384 rsa; do
    free_ports "at_$type"
    eval "block \$at_$type $type"
done
for pair in $refusals chain-expired:has_expired; do
    name=${pair%%:*}
    at=at_$(echo "$name" | tr - _)
    free_ports "$at"
    eval "block \$$at $name"
done
start_nginx "$plain" "$blocks"

says() { # says TEXT WORDS: what the guest's fetch gives
    [ "$(inside "fetch ${*:2}")" = "$1" ]
}
hello="hello from nginx"
safe="https://10.0.2.2"
logged() { # logged PATTERN: the last request that nginx answered
    tail -n 1 nginx-access.log
    tail -n 1 nginx-access.log | grep -qE -- "$1"
}

# --- Who is let pass, and who is not ---------------------------------------------------------------
accepted() { says "$hello" "$safe:$1/hello.txt" && logged '^/hello.txt 200 .* TLSv1.3 '; }
check "fetch from nginx: the right chain" accepted "$good"
for type in ed25519 p384 rsa; do
    eval "port=\$at_$type"
    check "fetch from nginx: $type certificate" accepted "$port"
done
check "fetch from nginx: an authority between" accepted "$chain"
path=hello.txt
port=$lone
check "fetch from nginx: the authority between is missing" refused 'unknown authority'
for pair in $refusals chain-expired:has_expired; do
    eval "port=\$at_$(echo "${pair%%:*}" | tr - _)"
    check "fetch from nginx: ${pair%%:*} is refused" refused "$(echo "${pair#*:}" | tr _ ' ')"
done
port=$old
check "fetch from nginx: TLS 1.2 only is refused" refused 'does not know TLS 1.3'
# Somebody between the guest and nginx, who hides that the guest knows TLS 1.3.
port=$(free_port)
start python3 "$here/tls_downgrade.py" "$port" "$good"
check "fetch from nginx: a downgraded version is refused" \
    refused 'tried to force an older version'
stop
port=$plain
check "fetch from nginx: clear text is refused" refused 'not TLS'
port=$at_expired
not_verified() { says "$hello" "$safe:$port/hello.txt NOVERIFY"; }
check "fetch from nginx: any certificate, as asked" not_verified
path=""

# --- What is fetched -------------------------------------------------------------------------------
whole() { # whole FILE WORDS: it comes as T:got, and is this one
    inside "Delete T:got >NIL: 2>NIL:; fetch ${*:2} TO T:got QUIET" && fetch /t/got got &&
        cmp "$1" got
}
check "fetch from nginx: $size_mib MiB are the same" whole big "$safe:$good/big"
check "fetch from nginx: gzip is the same" whole www/numbers.txt "$safe:$good/numbers.txt"
check "fetch from nginx: gzip was sent" logged '^/numbers.txt 200 gzip:'
check "fetch from nginx: a range" says "from nginx" "$safe:$good/hello.txt RANGE 6-16"
check "fetch from nginx: a range was sent" logged '^/hello.txt 206 -:bytes 6-16/17 '
resumes() { copy part "$target:/t/got.part" && whole big "$safe:$good/big RESUME"; }
check "fetch from nginx: goes on where it ended" resumes
check "fetch from nginx: only the rest was sent" logged '^/big 206 -:bytes 1000001-'
check "fetch from nginx: sent on from http to https" says "$hello" "http://10.0.2.2:$plain/301"
check "fetch from nginx: sent on" says "$hello" "$safe:$good/302"
port=$good path=down
check "fetch from nginx: sent on to http is refused" refused 'redirect from https to http'
check "fetch from nginx: sent on to http, as asked" says "$hello" "$safe:$good/down INSECURE"
path=none
check "fetch from nginx: forbidden" refused 'the server answered 403 Forbidden'
path=""
several() { # several PORT [WORD]...: three requests; what nginx says of the last three
    result=0
    inside "fetch '$safe:$1/hello.txt?1' '$safe:$1/hello.txt?2' '$safe:$1/hello.txt?3' ${*:2}" \
        >page || result=$?
    tail -n 3 nginx-access.log >used
    cat page used
    [ "$result" -eq 0 ] && [ "$(grep -c "$hello" page)" -eq 3 ]
}
one_connection() {
    several "$good" && [ "$(cut -d' ' -f4 used | cut -d/ -f1 | sort -u | wc -l)" -eq 1 ] &&
        [ "$(cut -d' ' -f4 used | cut -d/ -f2 | tr '\n' ' ')" = '1 2 3 ' ]
}
check "fetch from nginx: several by one connection" one_connection
resumed() { # resumed PORT [WORD]...: three connections, the second and third of them resumed
    several "$@" && [ "$(cut -d' ' -f4 used | cut -d/ -f1 | sort -u | wc -l)" -eq 3 ] &&
        [ "$(cut -d' ' -f6 used | tr '\n' ' ')" = '. r r ' ]
}
check "fetch from nginx: sessions are resumed" resumed "$once"

# --- Who the guest is ------------------------------------------------------------------------------
known() { # known PORT WORDS: and nginx has verified it
    says "$hello" "$safe:$1/hello.txt ${*:2}" && logged ' SUCCESS$'
}
check "fetch from nginx: a client's certificate" known "$clients" CERT T:client-both.pem
check "fetch from nginx: certificate and key in two files" \
    known "$clients" CERT T:client.pem KEY T:client.key
for type in ed25519 p384; do
    check "fetch from nginx: a client's $type certificate" \
        known "$clients" CERT "T:client-$type.pem"
done
check "fetch from nginx: a client's chain" \
    known "$clients" CERT T:client-chain.pem KEY T:client-middle.key
check "fetch from nginx: a certificate where one may be shown" \
    known "$optional" CERT T:client-both.pem
check "fetch from nginx: none where one may be shown" accepted "$optional"
check "fetch from nginx: a certificate that nobody asks for" \
    says "$hello" "$safe:$good/hello.txt" CERT T:client-both.pem
port=$clients path=hello.txt
check "fetch from nginx: none where one is demanded" \
    refused 'it wants a certificate of ours (CERT names one)'
check "fetch from nginx: none was shown" logged '^/hello.txt 400 .* NONE$'
check "fetch from nginx: a certificate from nobody known" refused 'may not accept it' \
    CERT T:client-strange.pem KEY T:client-strange.key
check "fetch from nginx: and nginx says so" logged '^/hello.txt 400 .* FAILED:'
check "fetch from nginx: a certificate that has expired" refused 'may not accept it' \
    CERT T:client-expired.pem KEY T:client-expired.key
path=""
check "fetch from nginx: sessions with a certificate are resumed" \
    resumed "$clients_once" CERT T:client-both.pem
wrong_file() { # wrong_file SENTENCE WORDS: which is found before anybody is asked
    result=0
    inside "fetch $safe:$good/hello.txt ${*:2}" >page 2>said || result=$?
    cat said
    [ "$result" -eq 20 ] && [ ! -s page ] && grep -qF -- "$1" said
}
check "fetch: key and certificate of two" wrong_file 'does not belong to the certificate' \
    CERT T:client.pem KEY T:client-strange.key
check "fetch: a file without a key" wrong_file 'T:client.pem: the private key is missing' \
    CERT T:client.pem
check "fetch: a key of a kind that cannot sign" wrong_file 'or of an unsupported kind' \
    CERT T:client-rsa.pem
check "fetch: no such certificate" wrong_file 'T:none.pem: not found' CERT T:none.pem
stop_nginx
