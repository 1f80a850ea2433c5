# nginx on loopback, which serves $work/www: sourced by the scripts that want it.

PATH=$PATH:/usr/sbin

tls_block() { # tls_block PORT CERTIFICATE [LINE]...: a server with TLS, by these names in $work
    echo "server {"
    echo "    listen 127.0.0.1:$1 ssl;"
    echo "    ssl_certificate $work/$2.pem;"
    echo "    ssl_certificate_key $work/$2.key;"
    for line in "${@:3}"; do echo "    $line"; done
    echo "}"
}

nginx_config() { # nginx_config SERVERS: with these blocks
    cat <<C
daemon off;
worker_processes 1;
pid $work/nginx.pid;
$([ "$(id -u)" -ne 0 ] || echo "user root;")
error_log $work/nginx-error.log;
events { worker_connections 64; }
http {
    log_format all '\$request_uri \$status \$sent_http_content_encoding:\$sent_http_content_range '
        '\$connection/\$connection_requests \$ssl_protocol \$ssl_session_reused \$ssl_client_verify';
    access_log $work/nginx-access.log all;
    types { text/plain txt; }
    client_body_temp_path $work/nginx-body; proxy_temp_path $work/nginx-proxy;
    fastcgi_temp_path $work/nginx-fastcgi; uwsgi_temp_path $work/nginx-uwsgi;
    scgi_temp_path $work/nginx-scgi;
    root $work/www;
    gzip on;
    gzip_min_length 1;
    gzip_types text/plain;
    ssl_protocols TLSv1.2 TLSv1.3;
$1
}
C
}

start_nginx() { # start_nginx PORT SERVERS: until it listens at this port
    port=$1
    nginx_config "$2" >nginx.conf
    log=nginx.log start nginx -c "$work/nginx.conf" -p "$work"
    nginx=$server
}
stop_nginx() {
    server=$nginx
    stop
}
free_ports() { # free_ports NAME...: one in each of these variables
    for variable in "$@"; do eval "$variable=$(free_port)"; done
}
