#!/usr/bin/env python3
"""A VLAN interface of a host in user space, for kernels without 802.1Q.

    tagger.py DEVICE TAP ID

Frames the kernel sends by the tap leave by the device with a tag; frames that come
in by the device with that tag are the tap's. A packet socket is handed the tag of
what it receives beside the frame (PACKET_AUXDATA).
"""
import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
SOL_PACKET, ADD_MEMBERSHIP, AUXDATA, PROMISC = 263, 1, 8, 1
VLAN_VALID, OUTGOING = 0x10, 4


def main():
    device, name, vid = sys.argv[1], sys.argv[2], int(sys.argv[3])
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TAP | IFF_NO_PI))
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind((device, 0))
    wire.setsockopt(SOL_PACKET, AUXDATA, 1)
    wire.setsockopt(
        SOL_PACKET,
        ADD_MEMBERSHIP,
        struct.pack("iHH8x", socket.if_nametoindex(device), PROMISC, 0),
    )
    print("ready", flush=True)
    while True:
        for ready in select.select([tap, wire], [], [])[0]:
            if ready is wire:
                receive(wire, tap, vid)
            else:
                frame = os.read(tap, 65536)
                wire.send(frame[:12] + struct.pack("!HH", 0x8100, vid) + frame[12:])


def receive(wire, tap, vid):
    frame, beside, _, address = wire.recvmsg(65536, 256)
    if address[2] == OUTGOING:
        return
    tag = None
    for level, kind, data in beside:
        if (level, kind) == (SOL_PACKET, AUXDATA):
            status, tci = struct.unpack("=I12xH", data[:18])
            tag = tci if status & VLAN_VALID else None
    if tag is None and frame[12:14] == b"\x81\x00":
        tag = struct.unpack("!H", frame[14:16])[0]
        frame = frame[:12] + frame[16:]
    if tag is not None and tag & 0x0FFF == vid:
        os.write(tap, frame)


main()
