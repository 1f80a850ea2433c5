"""What strangers send to the guest at the other end of the TAP device guest0, by scapy.

One line for each check on standard output: `ok|name|` or `FAILED|name|why`. It waits for the guest
to listen on ports 7000 and 7001, and ends with a connection to port 7999.
"""

import random
import socket
import sys
import threading
import time

from scapy.all import (
    ARP, ICMP, IP, TCP, UDP, AsyncSniffer, Ether, IPv6, ICMPv6EchoRequest, Raw, conf, fragment,
    get_if_hwaddr,
)

CARD = "guest0"
GUEST = "10.77.0.15"
LINUX = "10.77.0.1"
# Who is there and who is not: these addresses have hardware, but nobody's TCP.
STRANGERS = {f"10.77.0.{n}": f"02:00:00:00:77:{n:02x}" for n in range(60, 80)}
REFUSES = "10.77.0.60"
random.seed(20)
conf.verb = 0
wire = conf.L2socket(iface=CARD)
guest_mac = None


def frame(source, packet, to=None):
    mac = STRANGERS.get(source, "02:00:00:00:77:fe")
    return Ether(src=mac, dst=to or guest_mac) / IP(src=source, dst=GUEST) / packet


def heard(send, fits, wait=2.0):
    """The first packet from the guest that fits, of those after `send`."""
    found = []
    sniffer = AsyncSniffer(
        iface=CARD, store=False,
        lfilter=lambda p: p.haslayer(Ether) and p[Ether].src == guest_mac and fits(p),
        prn=found.append, stop_filter=lambda p: True,
    )
    sniffer.start()
    time.sleep(0.2)
    send()
    end = time.time() + wait
    while not found and time.time() < end:
        time.sleep(0.02)
    if sniffer.running:
        sniffer.stop()
    return found[0] if found else None


def answers_for_others():
    """Questions for the hardware of strangers are answered, and what one sends to REFUSES."""
    def act(p):
        if p.haslayer(ARP) and p[ARP].op == 1 and p[ARP].pdst in STRANGERS:
            mac = STRANGERS[p[ARP].pdst]
            wire.send(Ether(src=mac, dst=p[ARP].hwsrc) / ARP(
                op=2, hwsrc=mac, psrc=p[ARP].pdst, hwdst=p[ARP].hwsrc, pdst=p[ARP].psrc))
        elif p.haslayer(TCP) and p[IP].dst == REFUSES:
            quoted = bytes(p[IP])[:28]
            wire.send(frame(REFUSES, ICMP(type=3, code=3) / Raw(quoted)))
    AsyncSniffer(iface=CARD, store=False, prn=act).start()


def meet(stranger):
    """Asks the guest for its hardware, so that it knows the stranger's."""
    mac = STRANGERS[stranger]
    wire.send(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op=1, hwsrc=mac, psrc=stranger, pdst=GUEST))
    time.sleep(0.1)
    return stranger


# --- What is asked of the guest ---------------------------------------------------------------

def connects(port=7000, wait=5.0):
    with socket.create_connection((GUEST, port), timeout=wait) as stream:
        stream.sendall(b"hello\n")


def lives():
    """It answers an echo, and its listener takes a connection."""
    end = time.time() + 10
    while True:
        try:
            connects()
            return
        except OSError:
            if time.time() > end:
                raise


def echo(sequence, size=32):
    return ICMP(type=8, id=0x7777, seq=sequence) / Raw(bytes(size))


def is_echo(sequence):
    return lambda p: p.haslayer(ICMP) and p[ICMP].type == 0 and p[ICMP].seq == sequence


def is_from_port(port, to):
    return lambda p: p.haslayer(TCP) and p[TCP].sport == port and p[TCP].dport == to


def damaged(packet):
    """The same with its transport checksum wrong."""
    whole = Ether(bytes(packet))
    for layer in (TCP, UDP, ICMP):
        if whole.haslayer(layer):
            whole[layer].chksum ^= 0x5555
            break
    return whole


# --- Checks -----------------------------------------------------------------------------------

def bad_checksums():
    stranger = meet("10.77.0.61")
    good = frame(stranger, echo(1))
    assert heard(lambda: wire.send(good), is_echo(1)), "no answer to a good echo"
    assert not heard(lambda: wire.send(damaged(frame(stranger, echo(2)))), is_echo(2), 1), "ICMP"
    header = frame(stranger, echo(3))
    header[IP].chksum = 0x1234
    assert not heard(lambda: wire.send(header), is_echo(3), 1), "IP header"
    syn = frame(stranger, TCP(sport=4001, dport=7000, flags="S", seq=1))
    assert not heard(lambda: wire.send(damaged(syn)), is_from_port(7000, 4001), 1), "TCP"
    assert heard(lambda: wire.send(syn), is_from_port(7000, 4001)), "no answer to a good SYN"
    # A closed port answers by ICMP, and only to what is whole.
    closed = frame(stranger, UDP(sport=4002, dport=9) / Raw(b"hello"))
    is_error = lambda p: p.haslayer(ICMP) and p[ICMP].type == 3
    assert not heard(lambda: wire.send(damaged(closed)), is_error, 1), "UDP"
    assert heard(lambda: wire.send(closed), is_error), "no answer about a closed port"


def wrong_lengths():
    stranger = meet("10.77.0.61")
    for length in (0, 10, 19, 21, 60, 65535):
        packet = frame(stranger, echo(9))
        packet[IP].len = length
        wire.send(packet)
    for ihl in (0, 4, 15):
        packet = frame(stranger, echo(9))
        packet[IP].ihl = ihl
        wire.send(packet)
    for offset in (0, 1, 4, 15):
        wire.send(frame(stranger, TCP(sport=4003, dport=7000, flags="S", dataofs=offset)))
    for options in (b"\x02\x00", b"\x03\xff\xff\xff", b"\x05\x01\x05\x01", b"\x08\x0a", b"\x00" * 40):
        raw = bytes(20 - len(bytes(TCP()))) + options
        padded = options + bytes(-len(options) % 4)
        wire.send(frame(stranger, TCP(
            sport=4004, dport=7000, flags="S", dataofs=5 + len(padded) // 4) / Raw(padded + raw)))
    for length in (0, 7, 9, 65535):
        wire.send(frame(stranger, UDP(sport=1, dport=9, len=length) / Raw(b"hello")))
    whole = bytes(frame(stranger, echo(9)))
    for end in range(1, len(whole)):
        wire.send(Raw(whole[:end]))
    lives()


def fragments_in_any_order():
    stranger = meet("10.77.0.62")
    for number, order in enumerate(("forward", "backward", "shuffled")):
        sequence = 20 + number
        parts = fragment(IP(src=stranger, dst=GUEST, id=100 + number) / echo(sequence, 3000), 600)
        if order == "backward":
            parts.reverse()
        elif order == "shuffled":
            random.shuffle(parts)
        send = lambda: [wire.send(Ether(src=STRANGERS[stranger], dst=guest_mac) / p) for p in parts]
        assert heard(send, is_echo(sequence)), order


def overlapping_fragments():
    stranger = meet("10.77.0.63")
    link = Ether(src=STRANGERS[stranger], dst=guest_mac)
    whole = bytes(echo(30, 64))
    def part(number, at, data, more):
        return link / IP(src=stranger, dst=GUEST, id=number, proto=1, frag=at // 8,
                         flags="MF" if more else 0) / Raw(data)
    # Teardrop: the second lies within the first; then others that begin before it or are too long.
    for number, pieces in enumerate((
        ((0, whole[:40], True), (24, whole[24:32], False)),
        ((0, whole[:40], True), (32, bytes(40), False)),
        ((32, whole[32:], False), (0, bytes(48), True)),
        ((0, whole[:8], True), (0, bytes(8), True), (8, whole[8:], False)),
        ((65528, bytes(64), False), (0, whole[:8], True)),
        ((8, b"", True), (0, b"", False)),
        ((0, whole[:7], True), (8, whole[8:], False)),
    )):
        for at, data, more in pieces:
            wire.send(part(300 + number, at, data, more))
    # More datagrams that are never whole than anybody wants to keep.
    for number in range(400, 1400):
        wire.send(part(number, 0, whole[:16], True))
    lives()
    parts = fragment(IP(src=stranger, dst=GUEST, id=2000) / echo(31, 3000), 600)
    end = time.time() + 90
    while not heard(lambda: [wire.send(link / p) for p in parts], is_echo(31)):
        assert time.time() < end, "fragments are never put together again"
        parts = fragment(IP(src=stranger, dst=GUEST, id=random.randrange(65536)) / echo(31, 3000), 600)


def syn_flood():
    def flood(count):
        for number in range(count):
            source = f"10.77.{random.randrange(1, 250)}.{random.randrange(1, 250)}"
            wire.send(frame(source, TCP(sport=random.randrange(1024, 65535), dport=7000, flags="S",
                                        seq=random.randrange(1 << 32))))
    thread = threading.Thread(target=flood, args=(5000,))
    thread.start()
    during = 0
    while thread.is_alive():
        try:
            connects(wait=10)
            during += 1
        except OSError:
            pass
    thread.join()
    lives()
    assert during > 0, "nobody got through while it lasted"


def own_address_from_outside():
    for packet in (
        IP(src=GUEST, dst=GUEST) / TCP(sport=7000, dport=7000, flags="S"),
        IP(src=GUEST, dst=GUEST) / echo(40),
        IP(src="127.0.0.1", dst=GUEST) / TCP(sport=7001, dport=7000, flags="S"),
        IP(src="10.77.0.64", dst="127.0.0.1") / echo(41),
        IP(src="224.0.0.1", dst=GUEST) / echo(42),
        IP(src="255.255.255.255", dst=GUEST) / echo(43),
        IP(src="10.77.0.64", dst="10.77.0.255") / TCP(sport=4005, dport=7000, flags="S"),
    ):
        link = Ether(src="02:00:00:00:77:fe", dst=guest_mac)
        is_answer = lambda p: p.haslayer(IP) and p[IP].dst == packet.src
        assert not heard(lambda: wire.send(link / packet), is_answer, 0.5), packet.summary()
    lives()


def odd_flags():
    stranger = meet("10.77.0.65")
    for flags in ("", "FPU", "SF", "SR", "FSRPAUEC", "F", "P", "U", "SA", "A"):
        wire.send(frame(stranger, TCP(sport=4006, dport=7000, flags=flags, seq=5, ack=7)))
    # RFC 9293, 3.10.7.2: an acknowledgement of nothing is answered with a reset.
    lonely = frame(stranger, TCP(sport=4007, dport=7000, flags="A", seq=5, ack=7))
    reply = heard(lambda: wire.send(lonely), is_from_port(7000, 4007))
    assert reply and "R" in reply[TCP].flags and reply[TCP].seq == 7, "no reset"
    reset = frame(stranger, TCP(sport=4008, dport=1, flags="R", seq=5))
    assert not heard(lambda: wire.send(reset), is_from_port(1, 4008), 1), "an answer to a reset"
    lives()


class Watched:
    """A connection of Linux to the guest, and its numbers as they go by."""

    def __init__(self, port):
        self.last = {}
        self.sniffer = AsyncSniffer(iface=CARD, store=False, prn=self.note)
        self.sniffer.start()
        time.sleep(0.2)
        self.stream = socket.create_connection((GUEST, port), timeout=10)
        self.near = self.stream.getsockname()[1]
        self.port = port
        self.say()

    def note(self, p):
        if p.haslayer(TCP):
            self.last[(p[TCP].sport, p[TCP].dport)] = p[TCP]

    def say(self):
        """Whether something that is said is acknowledged."""
        self.stream.sendall(b"x" * 10)
        end = time.time() + 2
        while time.time() < end:
            ours = self.last.get((self.near, self.port))
            theirs = self.last.get((self.port, self.near))
            if ours and theirs and theirs.ack == ours.seq + 10 and ours.ack == theirs.seq:
                return True
            time.sleep(0.02)
        return False

    def forge(self, flags, ahead, ack=0):
        """A segment as if from Linux, `ahead` of what the guest expects."""
        theirs = self.last[(self.port, self.near)]
        segment = TCP(sport=self.near, dport=self.port, flags=flags,
                      seq=(theirs.ack + ahead) & 0xFFFFFFFF, ack=(theirs.seq + ack) & 0xFFFFFFFF,
                      window=500)
        wire.send(Ether(dst=guest_mac) / IP(src=LINUX, dst=GUEST) / segment)

    def close(self):
        self.stream.close()
        self.sniffer.stop()


def resets():
    # Only what is exactly right resets (RFC 5961, 3): who cannot see the numbers must guess them.
    for name, ahead in (("behind", -1), ("far ahead", 1 << 20), ("in the window", 100)):
        watched = Watched(7001)
        for _ in range(3):
            watched.forge("R", ahead)
        time.sleep(0.3)
        assert watched.say(), f"a reset {name} has ended it"
        watched.close()
        time.sleep(0.5)
    watched = Watched(7001)
    watched.forge("R", 0)
    time.sleep(0.3)
    try:
        assert not watched.say(), "a good reset has not ended it"
    except OSError:
        pass
    watched.close()


def intruders():
    # SYN (RFC 5961, 4), data out of the window, and acknowledgements of what was never sent.
    watched = Watched(7001)
    watched.forge("S", 0)
    watched.forge("S", 100)
    watched.forge("SA", 100)
    watched.forge("A", 0, ack=1 << 20)
    watched.forge("A", 0, ack=-(1 << 20))
    watched.forge("FA", 1 << 20)
    time.sleep(0.3)
    assert watched.say(), "the connection is gone"
    quoted = bytes(IP(src=GUEST, dst=LINUX) / TCP(sport=7001, dport=watched.near, seq=1))[:28]
    for kind, code in ((3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (4, 0), (11, 0), (12, 0), (5, 1)):
        wire.send(frame("10.77.0.66", ICMP(type=kind, code=code) / Raw(quoted)))
    time.sleep(0.3)
    assert watched.say(), "an ICMP error has ended a connection that stands"
    watched.close()


def damaged_arp():
    mac = "02:00:00:00:77:46"
    def send(**fields):
        wire.send(Ether(src=mac, dst=guest_mac) / ARP(**fields))
    send(op=2, hwsrc="ff:ff:ff:ff:ff:ff", psrc=LINUX, pdst=GUEST)
    send(op=2, hwsrc=mac, psrc=GUEST, pdst=GUEST)
    send(op=1, hwsrc=mac, psrc=GUEST, pdst=GUEST)
    send(op=2, hwsrc=mac, psrc="0.0.0.0", pdst=GUEST)
    send(op=2, hwsrc=mac, psrc="255.255.255.255", pdst=GUEST)
    send(op=9, hwsrc=mac, psrc="10.77.0.70", pdst=GUEST)
    whole = bytes(Ether(src=mac, dst=guest_mac) / ARP(op=2, psrc="10.77.0.70", pdst=GUEST))
    for end in range(14, len(whole)):
        wire.send(Raw(whole[:end]))
    for at in range(14, 22):
        changed = bytearray(whole)
        changed[at] ^= 0xFF
        wire.send(Raw(bytes(changed)))
    lives()


def wrong_hardware():
    # A reply with one bit wrong while a connection stands: soon it is asked for anew.
    watched = Watched(7001)
    right = bytes.fromhex(get_if_hwaddr(CARD).replace(":", ""))
    wrong = ":".join(f"{byte:02x}" for byte in right[:5] + bytes([right[5] ^ 4]))
    wire.send(Ether(dst=guest_mac) / ARP(op=2, hwsrc=wrong, psrc=LINUX, hwdst=guest_mac, pdst=GUEST))
    start = time.time()
    while not watched.say():
        assert time.time() < start + 6, "6 s later nothing comes through"
    watched.close()


def version_six():
    for end in range(1, 60):
        packet = IPv6(src="fd77::66", dst="fd77::77") / ICMPv6EchoRequest(data=b"hello")
        wire.send(Raw(bytes(Ether(dst=guest_mac, type=0x86DD) / packet)[:14 + end]))
    for header in (0, 43, 44, 60, 135, 255):
        packet = IPv6(src="fd77::66", dst="fd77::77", nh=header) / Raw(bytes([header]) * 40)
        wire.send(Ether(dst=guest_mac, type=0x86DD) / packet)
    lives()


def noise():
    link = Ether(src="02:00:00:00:77:fe", dst=guest_mac)
    for _ in range(3000):
        data = random.randbytes(random.randrange(0, 200))
        kind = random.choice((0x0800, 0x0806, 0x86DD, 0x8100, random.randrange(65536)))
        if random.random() < 0.5:
            wire.send(link / IP(src="10.77.0.67", dst=GUEST, proto=random.randrange(256)) / Raw(data))
        else:
            wire.send(Ether(src=link.src, dst=guest_mac, type=kind) / Raw(data))
    lives()


CHECKS = (
    ("wrong checksums are not answered, right ones are", bad_checksums),
    ("wrong lengths and options", wrong_lengths),
    ("fragments in any order", fragments_in_any_order),
    ("overlapping, endless and unfinished fragments", overlapping_fragments),
    ("a flood of SYN leaves the listener usable", syn_flood),
    ("packets from its own address", own_address_from_outside),
    ("odd flags", odd_flags),
    ("resets outside and inside of the window", resets),
    ("SYN, wild numbers and ICMP errors in a connection", intruders),
    ("damaged ARP", damaged_arp),
    ("wrong hardware is asked for anew", wrong_hardware),
    ("IPv6 headers", version_six),
    ("noise", noise),
)


def main():
    global guest_mac
    end = time.time() + 90
    while True:
        try:
            connects(7001, 2)
            break
        except OSError:
            if time.time() > end:
                sys.exit("the guest does not listen")
            time.sleep(0.5)
    with open("/proc/net/arp") as file:
        guest_mac = next(line.split()[3] for line in file if line.startswith(GUEST + " "))
    answers_for_others()
    time.sleep(0.5)
    for name, check in CHECKS:
        try:
            check()
            print(f"ok|{name}|", flush=True)
        except Exception as error:  # whatever it is, the others are tried
            why = f"{type(error).__name__}: {error}".replace("'", "").replace("|", "")
            print(f"FAILED|{name}|{why}", flush=True)
    time.sleep(1)
    connects(7999, 60)
    with open("told.end", "w") as file:
        file.write("end\n")


main()
