"""SCTP endpoints in user space, on scapy: an implementation apart from ours.

    sctp_peer.py server PORT...        answers associations on these, sends data back
    sctp_peer.py client ADDR PORT ...  an association with each: data there and back,
                                       shutdown

Every packet's CRC-32C is computed anew by scapy and compared. The client prints
what came back, a line for each, and exits with 0, or says what was wrong and exits
with 1.
"""

import socket
import sys
import time

from scapy.config import conf

conf.ipv6_enabled = True
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers import sctp as S

ETH_P_ALL = 3


def sound(packet):
    """Whether the checksum is what scapy makes of the packet."""
    import struct

    raw = bytes(packet[S.SCTP])
    body = raw[:8] + b"\0\0\0\0" + raw[12:]
    return S.crc32c(body) == packet[S.SCTP].chksum


def wire():
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.settimeout(0.2)
    return sock


def receive(sock):
    """The next SCTP packet that came in, or None."""
    try:
        data, where = sock.recvfrom(65536)
    except (socket.timeout, BlockingIOError):
        return None
    if where[2] == socket.PACKET_OUTGOING or data[12:14] not in (b"\x08\0", b"\x86\xdd"):
        return None
    packet = Ether(data)
    # In a tunnel it is somebody else's.
    ip = packet[IP] if data[12] == 8 and data[13] == 0 else packet[IPv6]
    if S.SCTP not in packet or (ip.proto if ip.version == 4 else ip.nh) != 132:
        return None
    if not sound(packet):
        print("wrong checksum", flush=True)
        sys.exit(1)
    return packet


def out(dst):
    """A socket that sends SCTP to an address, by the kernel's routes."""
    family = socket.AF_INET6 if ":" in dst else socket.AF_INET
    return socket.socket(family, socket.SOCK_RAW, 132)


def send(src, dst, sport, dport, tag, chunk):
    packet = bytes(S.SCTP(sport=sport, dport=dport, tag=tag) / chunk)
    sock = out(dst)
    sock.bind((src, 0))
    sock.sendto(packet, (dst, 0))
    sock.close()


def server(ports):
    sock = wire()
    tags = {}
    print("ready", flush=True)
    while True:
        packet = receive(sock)
        if packet is None or packet[S.SCTP].dport not in ports:
            continue
        ip = packet[IP] if IP in packet else packet[IPv6]
        head = packet[S.SCTP]
        port = head.dport
        who = (ip.src, head.sport, port)
        back = lambda chunk, tag: send(ip.dst, ip.src, port, head.sport, tag, chunk)
        if S.SCTPChunkInit in packet:
            tags[who] = packet[S.SCTPChunkInit].init_tag
            cookie = S.SCTPChunkParamStateCookie(cookie=b"12345678")
            back(
                S.SCTPChunkInitAck(
                    init_tag=0x5151, a_rwnd=65536, n_out_streams=1, n_in_streams=1,
                    init_tsn=7, params=[cookie],
                ),
                tags[who],
            )
            continue
        tag = tags.get(who)
        if tag is None or head.tag != 0x5151:
            continue
        if S.SCTPChunkCookieEcho in packet:
            back(S.SCTPChunkCookieAck(), tag)
        elif S.SCTPChunkData in packet:
            data = packet[S.SCTPChunkData]
            back(S.SCTPChunkSACK(cumul_tsn_ack=data.tsn, a_rwnd=65536), tag)
            back(S.SCTPChunkData(beginning=1, ending=1, tsn=7, data=data.data), tag)
        elif S.SCTPChunkShutdown in packet:
            back(S.SCTPChunkShutdownAck(), tag)


def client(sock, addr, port):
    probe = socket.socket(socket.AF_INET6 if ":" in addr else socket.AF_INET, socket.SOCK_DGRAM)
    probe.connect((addr, 9))
    own = probe.getsockname()[0]
    sport = 20000 + int(time.time() * 1000) % 20000
    peer = [0]

    def ask(chunk, wanted):
        for _ in range(5):
            send(own, addr, sport, port, peer[0], chunk)
            end = time.time() + 1
            while time.time() < end:
                packet = receive(sock)
                if packet is None:
                    continue
                ip = packet[IP] if IP in packet else packet[IPv6]
                head = packet[S.SCTP]
                if (ip.src, head.sport, head.dport) == (addr, port, sport) and wanted in packet:
                    if head.tag != 0x4242:
                        print("wrong tag", hex(head.tag))
                        sys.exit(1)
                    return packet
        print("no answer to", chunk.summary(), "of", addr, port)
        sys.exit(1)

    init = S.SCTPChunkInit(
        init_tag=0x4242, a_rwnd=65536, n_out_streams=1, n_in_streams=1, init_tsn=1
    )
    peer[0] = ask(init, S.SCTPChunkInitAck)[S.SCTPChunkInitAck].init_tag
    ask(S.SCTPChunkCookieEcho(cookie=b"12345678"), S.SCTPChunkCookieAck)
    data = S.SCTPChunkData(beginning=1, ending=1, tsn=1, data=b"hello through sctp!!")
    answer = ask(data, S.SCTPChunkData)[S.SCTPChunkData].data
    ask(S.SCTPChunkShutdown(cumul_tsn_ack=7), S.SCTPChunkShutdownAck)
    send(own, addr, sport, port, peer[0], S.SCTPChunkShutdownComplete())
    print(answer.decode().rstrip("\0"))


if sys.argv[1] == "server":
    server([int(port) for port in sys.argv[2:]])
else:
    sock = wire()
    for addr, port in zip(sys.argv[2::2], sys.argv[3::2]):
        client(sock, addr, int(port))
