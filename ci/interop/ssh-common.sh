# Keys, and servers of SSH on this machine: sourced by the scripts that want them.

. "$(dirname "$0")/checks-common.sh"

keys() {
    for type in ed25519 ecdsa rsa; do
        ssh-keygen -q -t "$type" -N '' -f "$work/host_$type"
    done
    ssh-keygen -q -t ed25519 -N '' -f "$work/user"
    ssh-keygen -q -t ed25519 -N '' -f "$work/stranger"
    ssh-keygen -q -t ed25519 -a 4 -N 'pass phrase' -f "$work/user_encrypted"
    ssh-keygen -q -t ecdsa -N '' -f "$work/user_ecdsa"
    ssh-keygen -q -t rsa -N '' -f "$work/user_rsa"
    cat "$work"/user.pub "$work"/user_encrypted.pub "$work"/user_ecdsa.pub \
        "$work"/user_rsa.pub >"$work/authorized_keys"
}

start_server() { # start_server OPTION...: our server, its port in $port
    port=$(free_port)
    start "$examples/ssh_server" --port "$port" --host-key "$work/host_ed25519" \
        --authorized-keys "$work/authorized_keys" \
        --user viper --password secret --root "$work" "$@"
}

# start_sshd OPTION...: OpenSSH's server, its port in $port. What the options say goes before what
# is usual here; $host_types names its host keys, $sshd_wrapper what starts it.
start_sshd() {
    port=$(free_port)
    mkdir -p /run/sshd
    {
        for line in "$@"; do echo "$line"; done
        echo "Port $port"
        echo "ListenAddress 127.0.0.1"
        for type in ${host_types:-ed25519 ecdsa rsa}; do echo "HostKey $work/host_$type"; done
        echo "PidFile none"
        echo "AuthorizedKeysFile $work/authorized_keys"
        echo "StrictModes no"
        echo "PermitRootLogin yes"
        echo "UsePAM no"
        echo "PasswordAuthentication no"
        echo "KbdInteractiveAuthentication no"
        echo "AcceptEnv GREETING"
        echo "GatewayPorts clientspecified"
        echo "Subsystem sftp internal-sftp"
        echo "LogLevel INFO"
    } >"$work/sshd_config"
    # shellcheck disable=SC2086 # the wrapper is words
    log=$work/sshd.log start ${sshd_wrapper:-} "$(command -v sshd || echo /usr/sbin/sshd)" -D -e \
        -f "$work/sshd_config"
}
