# Authorities and certificates of any dates, made in the current folder: sourced by the scripts.

authority() { # authority NAME
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
        -subj "/CN=$1" -keyout "$1.key" -out "$1.pem" \
        -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign'
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
leaf() { # leaf NAME AUTHORITY SUBJECT-NAMES PURPOSE [END]: a key of $key_type and a certificate
    case ${key_type:-p256} in
        ed25519) openssl genpkey -algorithm ed25519 -out "$1.key" ;;
        p256) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key" ;;
        p384) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out "$1.key" ;;
        rsa) openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$1.key" ;;
    esac
    openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
    printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n' >"$1.ext"
    printf 'extendedKeyUsage=%s\nsubjectAltName=%s\n' "$4" "$3" >>"$1.ext"
    openssl ca -batch -notext -config "$2.conf" -cert "$2.pem" -keyfile "$2.key" -in "$1.csr" \
        -extfile "$1.ext" -out "$1.pem" -startdate 20200101000000Z -enddate "${5:-20490101000000Z}"
}
