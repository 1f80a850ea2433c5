# OpenSSL's and GnuTLS' servers: sourced by the scripts that want them.

. "$repo/ci/interop/certificates-common.sh"

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
    start stdbuf -oL gnutls-serv --port "$port" --x509certfile "$certificate.pem" \
        --x509keyfile "$certificate.key" --priority "$priority" "$@"
}
