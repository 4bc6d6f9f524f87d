#!/usr/bin/env python3
"""A tunnel of a host in user space, for kernels without ipip and gre.

    tunnel.py TUN LOCAL REMOTE ipip
    tunnel.py TUN LOCAL REMOTE gre [key=N] [csum] [seq]

Packets the kernel sends by the tun device leave in IPv4 packets to REMOTE; what
comes from there for LOCAL is taken out and is the device's. Both directions have
the same options, and what has others is dropped. RFC 2003, 2784, 2890.
"""
import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


def checksum(data):
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


class Gre:
    def __init__(self, words):
        self.csum, self.seq, self.key = "csum" in words, "seq" in words, None
        for word in words:
            if word.startswith("key="):
                self.key = int(word[4:])
        self.flags = 0x8000 * self.csum | 0x2000 * (self.key is not None) | 0x1000 * self.seq
        self.sent, self.expected = 0, 0

    def wrap(self, packet):
        kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
        head = struct.pack("!HH", self.flags, kind)
        rest = b""
        if self.key is not None:
            rest += struct.pack("!I", self.key)
        if self.seq:
            rest += struct.pack("!I", self.sent)
            self.sent += 1
        if self.csum:
            value = checksum(head + b"\0\0\0\0" + rest + packet)
            head += struct.pack("!HH", value, 0)
        return head + rest + packet

    def unwrap(self, data):
        flags, _ = struct.unpack("!HH", data[:4])
        if flags != self.flags or self.csum and checksum(data) != 0:
            return None
        at = 8 if self.csum else 4
        if self.key is not None:
            if struct.unpack("!I", data[at : at + 4])[0] != self.key:
                return None
            at += 4
        if self.seq:
            number = struct.unpack("!I", data[at : at + 4])[0]
            if number < self.expected:
                return None
            self.expected = number + 1
            at += 4
        return data[at:]


class Ipip:
    def wrap(self, packet):
        return packet

    def unwrap(self, data):
        return data


def main():
    name, local, remote, kind = sys.argv[1:5]
    codec = Gre(sys.argv[5:]) if kind == "gre" else Ipip()
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TUN | IFF_NO_PI))
    outer = socket.socket(socket.AF_INET, socket.SOCK_RAW, 47 if kind == "gre" else 4)
    outer.bind((local, 0))
    print("ready", flush=True)
    while True:
        for ready in select.select([tun, outer], [], [])[0]:
            if ready is outer:
                data, address = outer.recvfrom(65536)
                packet = codec.unwrap(data[(data[0] & 15) * 4 :])
                if packet and address[0] == remote:
                    os.write(tun, packet)
            else:
                packet = os.read(tun, 65536)
                outer.sendto(codec.wrap(packet), (remote, 0))


main()
