#!/usr/bin/env bash
# The guest's network against dnsmasq (DHCP, router announcements, DNS), Linux' own TCP, and frames
# that scapy makes as a stranger would.
#
# All of it is in a network of its own, which has a TAP device with the guest at its other end: it
# needs root and /dev/net/tun. INTEROP_INSTALL=1 lets it install what it needs, on Debian.
# PARTS="names strangers" chooses what is tried.
if [ "${INTEROP_APART:-}" = "" ]; then
    . "$(dirname "$0")/checks-common.sh"
    PATH=$PATH:/usr/sbin:/sbin
    need dnsmasq dnsmasq-base
    need ip iproute2
    need unshare util-linux
    need_python scapy
    unshare --net true 2>"$work/err" && [ -c /dev/net/tun ] || {
        echo "missing: a network of one's own (root, /dev/net/tun)" >&2
        exit 2
    }
    . "$repo/ci/interop/exec-common.sh"
    build_distro
    INTEROP_VENV=${INTEROP_VENV:-$work/venv}
    INTEROP_APART=1 unshare --net --fork --kill-child "$BASH" "$0" "$@" &
    started="$started $!"
    wait $!
    exit $?
fi

. "$(dirname "$0")/checks-common.sh"
python="$INTEROP_VENV/bin/python3"
parts=${PARTS:-names strangers}
distro="${CARGO_TARGET_DIR:-$repo/target}/debug/distro"
here=$repo/ci/interop
. "$here/exec-common.sh"
guest_options="--tap guest0"
LIMIT=60

cd "$work"
ip link set lo up
ip tuntap add dev guest0 mode tap
ip address add 10.77.0.1/24 dev guest0
ip -6 address add fd77::1/64 dev guest0 nodad
ip link set guest0 up
ip route add default dev guest0

# --- dnsmasq ------------------------------------------------------------------------------------

many=70
for n in $(seq "$many"); do echo "10.78.0.$n many.test"; done >hosts
dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --user=root --no-resolv --no-hosts \
    --interface=guest0 --bind-interfaces --local=/test/ --addn-hosts="$work/hosts" \
    --dhcp-leasefile="$work/leases" --dhcp-authoritative --dhcp-range=10.77.0.15,10.77.0.15,1h \
    --dhcp-option=option:router,10.77.0.1 --dhcp-range=fd77::,ra-only --enable-ra \
    --host-record=both.test,10.77.0.1,fd77::1 --host-record=four.test,10.77.0.4 \
    --host-record=six.test,fd77::6 --host-record=short.test,10.77.0.8,3 \
    --host-record=kept.test,10.77.0.9,300 --cname=alias.test,both.test \
    --cname=alias2.test,alias.test \
    --txt-record=none.test,text --log-queries --log-dhcp --log-facility="$work/dnsmasq.log" &
started="$started $!"

# --- Names and addresses ------------------------------------------------------------------------

queries() { # queries COUNT TYPE NAME: so often dnsmasq was asked for that
    got=$(grep -cF "query[$2] $3 from 10.77.0.15" dnsmasq.log || true)
    echo "$got queries"
    [ "$got" -eq "$1" ]
}
by_tcp() { grep -F 'many.test' dnsmasq.log | grep -qi 'TCP' || grep -cF 'query[A] many.test' dnsmasq.log | grep -qx 2; }
count_of() { # count_of NAME COUNT TEXT: the command printed it so often
    answered "$1" 0 "$3" >all
    [ "$(grep -cF -- "$3" all)" -eq "$2" ]
}

names() {
    begin_asking
    ask lease 0 "address 10.77.0.15/24 (dhcp)" "netinfo -w 20"
    ask router 0 "route 0.0.0.0/0 by 10.77.0.1 (dhcp)" "netinfo"
    ask server 0 "name server 10.77.0.1" "netinfo"
    ask announced 0 "address fd77::" "Sleep 3; netinfo"
    ask a 0 "four.test 10.77.0.4" "resolve four.test"
    ask aaaa 0 "six.test fd77::6" "resolve six.test"
    ask both-4 0 "both.test 10.77.0.1" "resolve both.test"
    ask both-6 0 "both.test fd77::1" "resolve both.test"
    ask cname 0 "alias.test 10.77.0.1" "resolve alias.test"
    ask cname-twice 0 "alias2.test 10.77.0.1" "resolve alias2.test"
    ask capitals 0 "FOUR.Test 10.77.0.4" "resolve FOUR.Test"
    ask dot 0 "four.test. 10.77.0.4" "resolve four.test."
    ask no-such-name 10 "" "resolve nobody.test"
    ask no-address 10 "" "resolve none.test"
    ask some 5 "four.test 10.77.0.4" "resolve four.test nobody.test"
    ask too-long 10 "" "resolve aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test"
    ask long-answer 0 "many.test 10.78.0." "resolve many.test"
    ask kept 0 "kept.test 10.77.0.9" "resolve kept.test; resolve kept.test; resolve KEPT.test"
    ask short 0 "short.test 10.77.0.8" "resolve short.test; resolve short.test; Sleep 4; resolve short.test"
    ask ping-name 0 "2 received, 0% lost" "ping -c 2 -i 50 both.test"
    ask ping6-name 0 "2 received, 0% lost" "ping6 -c 2 -i 50 both.test"
    ask ping-large 0 "2 received, 0% lost" "ping -c 2 -i 50 -s 8000 10.77.0.1"
    ask ping6-full 0 "2 received, 0% lost" "ping6 -c 2 -i 50 -s 1400 fd77::1"
    ask nobody-there 10 "" "nc -d -w 20 10.77.0.99 80"
    ask port-closed 10 "refused" "nc -d 10.77.0.1 81"
    ask udp-closed 10 "" "ntp -q 10.77.0.1"
    run_asked names --timeout 180
    check "names: dnsmasq has given the lease" grep -q 10.77.0.15 leases
    check "names: one question while an answer lasts" queries 1 A kept.test
    check "names: a new one when it is over" queries 2 A short.test
    check "names: that a name is not there is kept, too" queries 1 A nobody.test
    check "names: the long answer came by TCP" by_tcp
}

# --- Strangers ----------------------------------------------------------------------------------

strangers() {
    # The guest listens until it is told that all is over, by a connection to port 7999.
    exec_guest --timeout 400 "netinfo -w 20
nc -kl 7000 > NIL: &
nc -kl 7001 > NIL: &
nc -d -w 30 10.77.0.60 9
Echo \"=== icmp \$?\"
nc -l 7999 > NIL:
ping -c 3 -i 50 10.77.0.1
Echo \"=== last \$?\"
netstat
Servers" >said 2>said.err &
    machine=$!
    started="$started $machine"
    "$python" "$here/net_stranger.py" >told 2>told.err || tail -n 20 told.err
    result=0
    wait "$machine" || result=$?
    while IFS='|' read -r outcome name why; do
        check "strangers: $name" sh -c "echo '$why'; [ '$outcome' = ok ]"
    done <told
    whole() { grep -qx end told.end; }
    check "strangers: all were tried" whole
    check "strangers: an ICMP error ends the attempt to connect" answered icmp 10 "nc:"
    check "strangers: the guest answers and asks as before" answered last 0 "3 received, 0% lost"
    check "strangers: no server of the guest has died" sh -c '! grep -q "server died" said'
    check "strangers: the guest ends well" test "$result" -eq 0
}

for part in $parts; do
    case $part in
    names) names ;;
    strangers) strangers ;;
    esac
done
finish
