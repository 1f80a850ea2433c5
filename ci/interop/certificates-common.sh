# Authorities and certificates of any dates, made in the current folder: sourced by the scripts.

authority() { # authority NAME: that vouches for itself
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
        -subj "/CN=$1" -keyout "$1.key" -out "$1.pem" \
        -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign'
    signs "$1"
}
intermediate() { # intermediate NAME AUTHORITY [END]: for whom another one vouches
    private_key p256 "$1"
    printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n' >"$1.ext"
    certify "$1" "$2" "${3:-}"
    signs "$1"
}
signs() { # signs NAME: it can make certificates from now on
    mkdir -p "$1.ca" && : >"$1.ca/index" && echo 01 >"$1.ca/serial"
    cat >"$1.conf" <<C
[ca]
default_ca = own
[own]
new_certs_dir = $work/$1.ca
database = $work/$1.ca/index
serial = $work/$1.ca/serial
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
C
}
private_key() { # private_key TYPE NAME
    case $1 in
        ed25519) openssl genpkey -algorithm ed25519 -out "$2.key" ;;
        p256) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$2.key" ;;
        p384) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out "$2.key" ;;
        rsa) openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$2.key" ;;
    esac
}
certify() { # certify NAME AUTHORITY [END]: for its key, with what its .ext says
    openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
    openssl ca -batch -notext -config "$2.conf" -cert "$2.pem" -keyfile "$2.key" -in "$1.csr" \
        -extfile "$1.ext" -out "$1.pem" -startdate "${begins:-20200101000000Z}" \
        -enddate "${3:-20490101000000Z}"
}
# leaf NAME AUTHORITY SUBJECT-NAMES PURPOSE [END]: a key of $key_type and a certificate for the use
# $key_usage, valid from $begins on.
leaf() {
    private_key "${key_type:-p256}" "$1"
    printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,%s\n' \
        "${key_usage:-digitalSignature}" >"$1.ext"
    printf 'extendedKeyUsage=%s\nsubjectAltName=%s\n' "$4" "$3" >>"$1.ext"
    certify "$1" "$2" "${5:-}"
}
self_signed() { # self_signed NAME SUBJECT-NAMES
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$1" \
        -addext "subjectAltName=$2" -addext extendedKeyUsage=serverAuth \
        -keyout "$1.key" -out "$1.pem"
}
# bad_servers SUBJECT-NAMES: of `root` and `strange`, which have to be there.
bad_servers() {
    leaf expired root "$1" serverAuth 20210101000000Z
    begins=20400101000000Z leaf not-yet root "$1" serverAuth
    leaf wrong-host root DNS:elsewhere.example serverAuth
    leaf wrong-usage root "$1" clientAuth
    leaf unknown strange "$1" serverAuth
    self_signed self-signed "$1"
}
# What is to be said about each of them.
refusals="expired:has_expired not-yet:not_valid_yet wrong-host:for_another_host
    wrong-usage:not_meant_for_this_use unknown:unknown_authority self-signed:self-signed"
