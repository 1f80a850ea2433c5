#!/usr/bin/env bash
# The guest's fetch from nginx and openssl; curl, openssl and gnutls-cli from the guest's httpd.
#
# INTEROP_INSTALL=1 lets it install what it needs (as root, on Debian). Everything listens on
# 127.0.0.1 and is gone when the script ends. SIZE_MIB is the size of the large file.
# PARTS="fetch httpd output clock" chooses what is tried.
. "$(dirname "$0")/checks-common.sh"
. "$repo/ci/interop/nginx-common.sh"
. "$repo/ci/interop/exec-common.sh"

need nginx nginx-light
need curl curl
need openssl openssl
need gnutls-cli gnutls-bin
need python3 python3
size_mib=${SIZE_MIB:-16}
parts=${PARTS:-fetch httpd output clock}
LIMIT=120
build_distro

# --- Certificates -------------------------------------------------------------------------------

cd "$work"
. "$repo/ci/interop/certificates-common.sh"
# What the guest calls this machine, and what this machine calls the guest.
names="IP:10.0.2.2,IP:127.0.0.1,DNS:localhost"
{
    authority root
    leaf good root "$names" serverAuth "$(date -u -d '2 years' +%Y%m%d%H%M%SZ)"
    leaf guest root "$names" serverAuth
} >openssl.log 2>&1 || { tail -n 5 openssl.log; exit 1; }

mkdir www
echo "hello from nginx" >www/hello.txt
seq 20000 >www/numbers.txt
head -c $((size_mib * 1024 * 1024)) /dev/urandom >www/big
head -c 100000 www/big >part

# --- The guest as a client ----------------------------------------------------------------------

begin() { # nginx at $http and $tls_good, and a guest that has its network
    free_ports http tls_good
    start_nginx "$http" "server {
        listen 127.0.0.1:$http;
        location = /302 { return 302 /hello.txt; }
        location = /308 { return 308 http://\$http_host/302; }
        location = /loop { return 302 /loop; }
        location = /https { return 302 https://10.0.2.2:$tls_good/hello.txt; }
    }
    $(tls_block "$tls_good" good)"
    site="http://10.0.2.2:$http"
    begin_asking "netinfo -w 20 > NIL:"
}

as_client() {
    begin
    ask http 0 "hello from nginx" "fetch $site/hello.txt"
    ask head 0 "Content-Length: 17" "fetch $site/hello.txt HEAD"
    ask not-found 10 "404 Not Found" "fetch $site/none"
    ask gzip-chunked 0 "T:numbers" "fetch $site/numbers.txt TO T:numbers"
    ask redirects 0 "hello from nginx" "fetch $site/308"
    ask loop 10 "too many redirects" "fetch $site/loop"
    ask range 0 "from nginx" "fetch $site/hello.txt RANGE 6-16"
    ask no-such-range 10 "416" "fetch $site/hello.txt RANGE 100-"
    ask big 0 "T:big" "fetch $site/big TO T:big"
    ask resume 0 "T:resumed" "fetch $site/big TO T:resumed RESUME"
    ask several 0 "hello from nginx" \
        "fetch '$site/hello.txt?1' '$site/hello.txt?2' '$site/hello.txt?3'"
    ask folder 0 "T:folder/hello.txt" \
        "MakeDir T:folder; fetch $site/hello.txt $site/numbers.txt TO T:folder/"
    ask https 0 "hello from nginx" "fetch https://10.0.2.2:$tls_good/hello.txt"
    ask to-https 0 "hello from nginx" "fetch $site/https"
    ask http-at-https 10 "TLS" "fetch https://10.0.2.2:$http/hello.txt"
    ask nobody 10 "fetch:" "fetch http://10.0.2.2:1/"
    run_asked fetch --timeout 600 --put "$work/root.pem:/certs/root.pem" \
        --put "$work/part:/t/resumed.part" --get "/t/big:$work/got-big" \
        --get "/t/resumed:$work/got-resumed" --get "/t/numbers:$work/got-numbers" \
        --get "/t/folder/numbers.txt:$work/got-folder"
    check "fetch: $size_mib MiB by http are the same" cmp www/big got-big
    check "fetch: resumed is the same" cmp www/big got-resumed
    check "fetch: gzip in chunks is the same" cmp www/numbers.txt got-numbers
    check "fetch: into a folder is the same" cmp www/numbers.txt got-folder
    compressed() { grep -q '^/numbers.txt 200 gzip:' nginx-access.log; }
    check "fetch: gzip was sent" compressed
    rest_sent() { grep -q '^/big 206 -:bytes 100000-' nginx-access.log; }
    check "fetch: only the rest was asked for" rest_sent
    one_connection() { # the first, second and third request of one connection
        grep '^/hello.txt?' nginx-access.log | cut -d' ' -f4 >used
        cat used
        [ "$(cut -d/ -f1 used | sort -u | wc -l)" -eq 1 ] &&
            [ "$(cut -d/ -f2 used | tr '\n' ' ')" = '1 2 3 ' ]
    }
    check "fetch: several by one connection" one_connection
    stop_nginx
}

# --- The guest as a server ----------------------------------------------------------------------

code_is() { # code_is CODE CURL-ARGUMENT...: the answer has this status
    wanted=$1
    shift
    got=$(curl -sS -o body -w '%{http_code}' --max-time 60 "$@")
    [ "$got" = "$wanted" ] || { echo "status $got"; return 1; }
}
body_is() { # body_is TEXT CURL-ARGUMENT...
    wanted=$1
    shift
    got=$(curl -sS --max-time 60 "$@")
    [ "$got" = "$wanted" ] || { echo "body $got"; return 1; }
}

as_server() {
    web=$(free_port)
    secure=$(free_port)
    own=$(free_port)
    mkdir -p site
    echo "hello from httpd" >site/hello.txt
    exec_guest --timeout 900 --hostfwd "tcp:$web-80" --hostfwd "tcp:$secure-443" \
        --hostfwd "tcp:$own-444" \
        --put "$work/guest.pem:/s/httpd.crt" --put "$work/guest.key:/s/httpd.key" \
        --put "$work/www/big:/t/site/big" --put "$work/site/hello.txt:/t/site/hello.txt" \
        "netinfo -w 20 > NIL:
httpd T:site PORT 0 TLSPORT 444 CERT S:own.crt KEY S:own.key SECONDS 800 &
httpd T:site PORT 80 TLSPORT 443 SECONDS 800" >served 2>served.err &
    machine=$!
    started="$started $machine"
    for _ in $(seq 240); do
        curl -s -o body --max-time 2 "http://127.0.0.1:$web/hello.txt" &&
            curl -s -k -o body --max-time 5 "https://127.0.0.1:$own/hello.txt" && break
        kill -0 "$machine" 2>/dev/null || { tail -n 20 served served.err; return 1; }
        sleep 0.5
    done
    export at="http://127.0.0.1:$web"
    tls="https://127.0.0.1:$secure"
    ca="--cacert $work/root.pem"
    check "httpd: curl by http" body_is "hello from httpd" "$at/hello.txt"
    check "httpd: HEAD" code_is 200 -I "$at/hello.txt"
    check "httpd: range" body_is httpd -r 11-15 "$at/hello.txt"
    check "httpd: range from the end" body_is httpd -r -6 "$at/hello.txt"
    check "httpd: no such range" code_is 416 -r 100- "$at/hello.txt"
    not_modified() {
        curl -sS --etag-save etag -o body "$at/hello.txt" &&
            code_is 304 --etag-compare etag "$at/hello.txt" &&
            curl -sS -R -o dated "$at/hello.txt" && code_is 304 -z dated "$at/hello.txt"
    }
    check "httpd: not modified" not_modified
    kept() {
        made=$(curl -sS -o body -o body -w '%{num_connects}' "$at/hello.txt" "$at/hello.txt")
        [ "$made" = 10 ] || { echo "$made connections"; return 1; }
    }
    check "httpd: keep-alive" kept
    check "httpd: HTTP/1.0" body_is "hello from httpd" -0 "$at/hello.txt"
    listing() { curl -s "$at/" | grep -qF '<a href="./hello.txt">'; }
    check "httpd: listing" listing
    check "httpd: not found" code_is 404 "$at/none"
    check "httpd: no way out" code_is 404 --path-as-is "$at/../s/startup"
    check "httpd: no way out, encoded" code_is 404 --path-as-is "$at/%2e%2e/s/startup"
    check "httpd: POST is refused" code_is 405 -d x=y "$at/hello.txt"
    whole() { curl -s --max-time 100 -o got "$@" && cmp got www/big; }
    check "httpd: $size_mib MiB by http are the same" whole "$at/big"
    # shellcheck disable=SC2086 # the option and its value are words
    check "httpd: $size_mib MiB by https are the same" whole $ca "$tls/big"
    resumed() { head -c 5000000 www/big >got && whole -C - "$at/big"; }
    check "httpd: curl resumes" resumed
    # shellcheck disable=SC2086
    check "httpd: curl by https, verified" body_is "hello from httpd" $ca "$tls/hello.txt"
    check_status "httpd: curl refuses what it does not know" 60 curl -s "$tls/hello.txt"
    check "httpd: the certificate made by itself" body_is "hello from httpd" -k \
        "https://127.0.0.1:$own/hello.txt"
    request='GET /hello.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
    by_openssl() {
        { printf "$request"; sleep 3; } | openssl s_client -quiet -verify_return_error \
            -CAfile root.pem -servername localhost -connect "127.0.0.1:$secure" 2>s_client.log |
            grep -q "hello from httpd"
    }
    check "httpd: openssl s_client" by_openssl
    old() { ! openssl s_client -tls1_2 -connect "127.0.0.1:$secure" </dev/null; }
    check "httpd: TLS 1.2 is refused" old
    by_gnutls() {
        { printf "$request"; sleep 3; } | gnutls-cli --x509cafile root.pem -p "$secure" \
            --logfile=gnutls.log localhost | grep -q "hello from httpd"
    }
    check "httpd: gnutls-cli" by_gnutls
    many() { # while one client reads slowly, and one says nothing
        curl -s --limit-rate 50k -o slow "$at/big" &
        slow=$!
        sleep 30 | openssl s_client -connect "127.0.0.1:$secure" >silent.log 2>&1 &
        result=0
        seq 40 | xargs -P 20 -I{} curl -sf --max-time 60 -o many-{} "$at/hello.txt" || result=1
        for n in $(seq 40); do cmp -s "many-$n" site/hello.txt || result=1; done
        kill "$slow"
        wait "$slow" 2>/dev/null || true
        return $result
    }
    check "httpd: 40 clients beside a slow and a silent one" many
    kill "$machine" 2>/dev/null || true
    wait "$machine" 2>/dev/null || true
}

# --- Where output goes that nobody takes, or for which there is no room ----------------------------

as_writer() {
    truncate -s 80M www/huge
    begin
    zeros=$(free_port)
    port=$zeros
    start python3 "$repo/ci/interop/tcp_echo.py" zeros "$zeros" 83886080
    next="fetch $site/hello.txt"
    ask pipe-closed 0 "hello from nginx" "fetch $site/huge | Head C:hello LINES 0; $next"
    ask nc-pipe-closed 0 "hello from nginx" "nc -d 10.0.2.2 $zeros | Head C:hello LINES 0; $next"
    ask disk-full 20 "no space" "fetch $site/huge TO T:huge"
    ask and-then 0 "hello from nginx" "Delete T:huge.part >NIL:; $next TO T:h; Type T:h"
    ask output-full 20 "fetch: standard output: no space" "fetch $site/huge >T:huge"
    ask nc-output-full 10 "standard output: no space" "nc -d 10.0.2.2 $zeros >T:huge2"
    ask at-last 0 "hello from nginx" "Delete T:huge T:huge2; $next >T:h; Type T:h"
    run_asked output --timeout 600
    stop_nginx
    rm www/huge
}

# --- A clock that a time server set ----------------------------------------------------------------

as_clock() {
    begin
    year=31557600
    for shift in 0 $((3 * year)) $((-10 * year)) 1; do
        port=$(free_port)
        python3 "$repo/ci/interop/ntp_server.py" "$port" "$shift" >ntp.log 2>&1 &
        started="$started $!"
        case $shift in
        0 | 1) code=0 text="hello from nginx" ;;
        -*) code=10 text="not valid yet" ;;
        *) code=10 text="has expired" ;;
        esac
        ask "off-by-$shift" 0 "the clock was set" "Run GRANT clock ntp -p $port 10.0.2.2"
        ask "fetch-then-$shift" "$code" "$text" "fetch https://10.0.2.2:$tls_good/hello.txt"
    done
    run_asked clock --timeout 300 --put "$work/root.pem:/certs/root.pem"
    stop_nginx
}

for part in $parts; do
    case $part in
    fetch) as_client ;;
    httpd) as_server ;;
    output) as_writer ;;
    clock) as_clock ;;
    esac
done
finish
