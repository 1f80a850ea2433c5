#!/usr/bin/env bash
# The guest's fetch from nginx and openssl; curl, openssl and gnutls-cli from the guest's httpd.
#
# INTEROP_INSTALL=1 lets it install what it needs (as root, on Debian). Everything listens on
# 127.0.0.1 and is gone when the script ends. SIZE_MIB is the size of the large file.
# PARTS="fetch httpd output clock" chooses what is tried.
. "$(dirname "$0")/ssh-common.sh"

PATH=$PATH:/usr/sbin
need nginx nginx-light
need curl curl
need openssl openssl
need gnutls-cli gnutls-bin
need python3 python3
size_mib=${SIZE_MIB:-16}
parts=${PARTS:-fetch httpd output clock}
LIMIT=120

(cd "$repo" && cargo build --quiet --locked -p distro && cargo run --quiet --locked -p distro -- build)
distro="${CARGO_TARGET_DIR:-$repo/target}/debug/distro"
guest() { # guest EXEC-OPTION... COMMANDS
    (cd "$repo" && exec "$distro" exec "$@")
}

# --- Certificates -------------------------------------------------------------------------------

cd "$work"
. "$repo/ci/interop/certificates-common.sh"
# What the guest calls this machine, and what this machine calls the guest.
names="IP:10.0.2.2,IP:127.0.0.1,DNS:localhost"
{
    authority root
    authority strange
    leaf good root "$names" serverAuth "$(date -u -d '2 years' +%Y%m%d%H%M%SZ)"
    leaf expired root "$names" serverAuth 20210101000000Z
    leaf wrong-host root DNS:elsewhere.example serverAuth
    leaf wrong-usage root "$names" clientAuth
    leaf unknown strange "$names" serverAuth
    leaf guest root "$names" serverAuth
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=own \
        -addext "subjectAltName=$names" -addext extendedKeyUsage=serverAuth \
        -keyout self-signed.key -out self-signed.pem
} >openssl.log 2>&1 || { tail -n 5 openssl.log; exit 1; }

mkdir www
echo "hello from nginx" >www/hello.txt
seq 20000 >www/numbers.txt
head -c $((size_mib * 1024 * 1024)) /dev/urandom >www/big
head -c 100000 www/big >part

# --- The guest as a client ----------------------------------------------------------------------

nginx_config() {
    cat <<C
daemon off;
worker_processes 1;
pid $work/nginx.pid;
$([ "$(id -u)" -ne 0 ] || echo "user root;")
error_log $work/nginx-error.log;
events { worker_connections 64; }
http {
    log_format with_session '"\$request" \$status \$ssl_session_reused';
    access_log $work/nginx-access.log with_session;
    types { text/plain txt; }
    client_body_temp_path $work/nginx-body; proxy_temp_path $work/nginx-proxy;
    fastcgi_temp_path $work/nginx-fastcgi; uwsgi_temp_path $work/nginx-uwsgi;
    scgi_temp_path $work/nginx-scgi;
    root $work/www;
    gzip on;
    gzip_min_length 1;
    gzip_types text/plain;
    server {
        listen 127.0.0.1:$http;
        location = /302 { return 302 /hello.txt; }
        location = /308 { return 308 http://\$http_host/302; }
        location = /loop { return 302 /loop; }
        location = /https { return 302 https://10.0.2.2:$tls_good/hello.txt; }
    }
C
    for name in good expired wrong-host wrong-usage unknown self-signed; do
        eval "at=\$tls_$(echo $name | tr - _)"
        echo "server { listen 127.0.0.1:$at ssl; ssl_protocols TLSv1.2 TLSv1.3;"
        echo "ssl_certificate $work/$name.pem; ssl_certificate_key $work/$name.key;"
        echo "location = /again { return 302 /hello.txt; }"
        echo "location = /down { return 302 http://10.0.2.2:$http/hello.txt; } }"
    done
    echo "server { listen 127.0.0.1:$tls_old ssl; ssl_protocols TLSv1.2;"
    echo "ssl_certificate $work/good.pem; ssl_certificate_key $work/good.key; } }"
}

asked=""
ask() { # ask NAME CODE TEXT COMMAND: what the command is to return, and what to print
    asked="$asked$1|$2|$3
"
    commands="$commands$4
Echo \"=== $1 \$?\"
"
}
answered() { # answered NAME CODE TEXT
    awk -v name="$1" '$1 == "===" { if ($2 == name) { print text; print "code " $3; exit } text = ""; next }
        { text = text $0 "\n" }' fetched >answer
    cat answer
    grep -qx "code $2" answer && grep -qF -- "$3" answer
}

start_nginx() { # its ports in $http, $tls_good and the like
    for name in http tls_good tls_expired tls_wrong_host tls_wrong_usage tls_unknown \
        tls_self_signed tls_old; do
        eval "$name=$(free_port)"
    done
    nginx_config >nginx.conf
    nginx -c "$work/nginx.conf" -p "$work" 2>nginx.log &
    nginx_pid=$!
    started="$started $nginx_pid"
    wait_for_port "$http"
    site="http://10.0.2.2:$http"
    asked=""
    commands="
netinfo -w 20 > NIL:
"
}
stop_nginx() {
    kill "$nginx_pid"
    wait "$nginx_pid" 2>/dev/null || true
}
all_answered() { # all_answered PART: what was asked in the guest
    printf %s "$asked" >wanted
    while IFS='|' read -r name code text <&3; do
        check "$1: $name" answered "$name" "$code" "$text"
    done 3<wanted
}

as_client() {
    start_nginx
    safe="https://10.0.2.2"
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
    ask https 0 "hello from nginx" "fetch $safe:$tls_good/hello.txt"
    ask big-https 0 "T:bigs" "fetch $safe:$tls_good/big TO T:bigs"
    ask to-https 0 "hello from nginx" "fetch $site/https"
    ask again-https 0 "hello from nginx" "fetch $safe:$tls_good/again"
    ask to-http 10 "redirect from https to http" "fetch $safe:$tls_good/down"
    ask to-http-allowed 0 "hello from nginx" "fetch $safe:$tls_good/down INSECURE"
    ask expired 10 "has expired" "fetch $safe:$tls_expired/hello.txt"
    ask wrong-host 10 "for another host" "fetch $safe:$tls_wrong_host/hello.txt"
    ask wrong-usage 10 "not meant for this use" "fetch $safe:$tls_wrong_usage/hello.txt"
    ask unknown-ca 10 "unknown authority" "fetch $safe:$tls_unknown/hello.txt"
    ask self-signed 10 "self-signed" "fetch $safe:$tls_self_signed/hello.txt"
    ask tls-1.2-only 10 "does not know TLS 1.3" "fetch $safe:$tls_old/hello.txt"
    ask not-verified 0 "hello from nginx" "fetch $safe:$tls_expired/hello.txt NOVERIFY"
    ask http-at-https 10 "TLS" "fetch https://10.0.2.2:$http/hello.txt"
    ask nobody 10 "fetch:" "fetch http://10.0.2.2:1/"
    guest --timeout 600 --put "$work/root.pem:/certs/root.pem" --put "$work/part:/t/resumed.part" \
        --get "/t/big:$work/got-big" --get "/t/bigs:$work/got-bigs" \
        --get "/t/resumed:$work/got-resumed" --get "/t/numbers:$work/got-numbers" \
        "$commands" >fetched 2>fetched.err || { tail -n 20 fetched fetched.err; }
    all_answered fetch
    check "fetch: $size_mib MiB by http are the same" cmp www/big got-big
    check "fetch: $size_mib MiB by https are the same" cmp www/big got-bigs
    check "fetch: resumed is the same" cmp www/big got-resumed
    check "fetch: gzip in chunks is the same" cmp www/numbers.txt got-numbers
    parts_sent() { grep -q '"GET /big HTTP/1.1" 206' nginx-access.log; }
    check "fetch: only the rest was asked for" parts_sent
    session_resumed() { grep -q '"GET /hello.txt HTTP/1.1" 200 r' nginx-access.log; }
    check "fetch: the TLS session is resumed where it is sent on" session_resumed
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
    (cd "$repo" && exec "$distro" exec --timeout 900 --hostfwd "tcp:$web-80" \
        --hostfwd "tcp:$secure-443" --hostfwd "tcp:$own-444" --put "$work/guest.pem:/s/httpd.crt" --put "$work/guest.key:/s/httpd.key" \
        --put "$work/www/big:/t/site/big" --put "$work/site/hello.txt:/t/site/hello.txt" \
        "netinfo -w 20 > NIL:
httpd T:site PORT 0 TLSPORT 444 CERT S:own.crt KEY S:own.key SECONDS 800 &
httpd T:site PORT 80 TLSPORT 443 SECONDS 800") >served 2>served.err &
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
    start_nginx
    zeros=$(free_port)
    python3 "$repo/ci/interop/tcp_echo.py" zeros "$zeros" 83886080 >/dev/null 2>&1 &
    started="$started $!"
    wait_for_port "$zeros"
    next="fetch $site/hello.txt"
    ask pipe-closed 0 "hello from nginx" "fetch $site/huge | Head C:hello LINES 0; $next"
    ask nc-pipe-closed 0 "hello from nginx" "nc -d 10.0.2.2 $zeros | Head C:hello LINES 0; $next"
    ask disk-full 20 "no space" "fetch $site/huge TO T:huge"
    ask and-then 0 "hello from nginx" "Delete T:huge.part >NIL:; $next TO T:h; Type T:h"
    ask output-full 20 "fetch: standard output: no space" "fetch $site/huge >T:huge"
    ask nc-output-full 10 "standard output: no space" "nc -d 10.0.2.2 $zeros >T:huge2"
    ask at-last 0 "hello from nginx" "Delete T:huge T:huge2; $next >T:h; Type T:h"
    guest --timeout 600 "$commands" >fetched 2>fetched.err || { tail -n 20 fetched fetched.err; }
    all_answered output
    stop_nginx
    rm www/huge
}

# --- A clock that a time server set ----------------------------------------------------------------

as_clock() {
    start_nginx
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
    guest --timeout 300 --put "$work/root.pem:/certs/root.pem" "$commands" >fetched 2>fetched.err ||
        { tail -n 20 fetched fetched.err; }
    all_answered clock
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
