#!/usr/bin/env python3
"""A switch at the other end of a bond's links, in user space.

    switch.py TAP COMMANDS static|learning|lacp LINK LINK [vlan=ID:TAP]

A LINK is an interface, whose other end is a member of the bond, or (with a slash) a
vhost-user socket at which a member (net_virtio_user with server=1) listens: that link
is up while we are connected, and the director's driver tells so as that of a NIC does.
What comes in by the links is written to TAP, where a kernel with its programs is; with
vlan= what is tagged so is another tap's.

    static    frames of the tap go by the hash of their addresses to one of the links
              that are up (a group without LACP)
    learning  a plain switch: to where the receiver was last heard, or to both
    lacp      as static, over the links that IEEE 802.1AX says (clause 6.4): a machine
              of our own, with the short time-out, coupled collecting and distributing

COMMANDS is a FIFO that takes `down N`, `up N` (the link's carrier), `leave N` and
`join N` (the aggregator's mind about a port), `count`; what happens is told on stdout.
"""
import array
import fcntl
import mmap
import os
import select
import socket
import struct
import sys
import time
import zlib

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
SOL_PACKET, ADD_MEMBERSHIP, AUXDATA, PROMISC = 263, 1, 8, 1
VLAN_VALID, OUTGOING = 0x10, 4


def say(text):
    print(text, flush=True)


class Ring:
    """A split virtqueue (virtio 1.1, 2.6) of somebody else's memory."""

    def __init__(self):
        self.size, self.addrs, self.last, self.kick = 0, None, 0, -1
        self.avail = self.used = None

    def start(self, desc, avail, used):
        """The rings are at these (memory, offset)."""
        # The indexes are read and written by both sides at once, so as one halfword: `struct`
        # goes byte by byte, and the director would see 0x0000 between 0x00ff and 0x0100.
        views = [memoryview(memory)[at + 2 : at + 4].cast("H") for memory, at in (avail, used)]
        self.avail, self.used = views
        self.addrs = [desc, avail, used]

    def stop(self):
        for view in (self.avail, self.used):
            if view:
                view.release()
        self.addrs = self.avail = self.used = None


class Wire:
    """A cable to an interface. Its carrier does not change."""

    def __init__(self, number, name):
        self.number, self.received, self.sent = number, 0, 0
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.sock.bind((name, 0))
        self.sock.setsockopt(SOL_PACKET, AUXDATA, 1)
        self.sock.setblocking(False)
        every = struct.pack("iHH8x", socket.if_nametoindex(name), PROMISC, 0)
        self.sock.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, every)
        self.rings = []

    def up(self):
        return True

    def tend(self):
        pass

    def message(self):
        pass

    def receive(self):
        while True:
            try:
                frame, beside, _, address = self.sock.recvmsg(65536, 256)
            except BlockingIOError:
                return
            if address[2] == OUTGOING:
                continue
            self.received += 1
            for level, kind, data in beside:
                status, tci = struct.unpack("=I12xH", data[:18])
                if (level, kind) == (SOL_PACKET, AUXDATA) and status & VLAN_VALID:
                    frame = frame[:12] + struct.pack("!HH", 0x8100, tci) + frame[12:]
            yield frame

    def send(self, frame):
        self.sent += 1
        self.sock.send(frame)


class Link:
    """A cable to a virtio-user port: the back end of vhost-user, two queues."""

    HEADER = 12  # virtio_net_hdr of virtio 1.0

    def __init__(self, number, path):
        self.number, self.path, self.wanted = number, path, True
        self.sock, self.memory, self.rings = None, [], []
        self.received = self.sent = 0

    def up(self):
        return self.sock is not None and len(self.rings) == 2 and all(r.addrs for r in self.rings)

    def tend(self):
        if self.sock or not self.wanted:
            return
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(self.path)
        except OSError:
            return
        self.sock, self.rings = sock, [Ring(), Ring()]
        say(f"link {self.number} connected")

    def cut(self):
        if self.sock:
            self.sock.close()
            for ring in self.rings:
                ring.stop()
                if ring.kick >= 0:
                    os.close(ring.kick)
            for _, _, memory in self.memory:
                memory.close()
            self.sock, self.memory, self.rings = None, [], []
            say(f"link {self.number} cut")

    def exactly(self, size):
        data = b""
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise ConnectionError
            data += piece
        return data

    def message(self):
        head, beside, _, _ = self.sock.recvmsg(12, socket.CMSG_SPACE(32))
        if not head:
            raise ConnectionError
        fds = array.array("i")
        for level, kind, data in beside:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data[: len(data) - len(data) % 4])
        request, _, size = struct.unpack("<III", head + self.exactly(12 - len(head)))
        body = self.exactly(size)

        def reply(payload):
            self.sock.sendall(struct.pack("<III", request, 5, len(payload)) + payload)

        if request == 1:  # GET_FEATURES: VERSION_1, CTRL_VQ, CTRL_RX (which filters nothing here)
            reply(struct.pack("<Q", 1 << 32 | 1 << 17 | 1 << 18))
        elif request == 5:  # SET_MEM_TABLE
            (count,) = struct.unpack_from("<I", body)
            for at, fd in zip(range(count), list(fds)):
                _, length, user, offset = struct.unpack_from("<QQQQ", body, 8 + 32 * at)
                self.memory.append((user, length, mmap.mmap(fd, length, offset=offset)))
                os.close(fd)
        elif request == 8:  # SET_VRING_NUM
            index, value = struct.unpack("<II", body)
            self.rings[index].size = value
        elif request == 9:  # SET_VRING_ADDR
            index, _, desc, used, avail, _ = struct.unpack("<IIQQQQ", body)
            ring = self.rings[index]
            ring.stop()
            ring.start(*(self.at(a) for a in (desc, avail, used)))
            # After a cut: go on where we were, and what was sent meanwhile is lost.
            ring.last = ring.used[0]
            while index == 1 and (found := self.next(ring)):
                self.done(ring, found[0], 0)
            say(f"link {self.number} queue {index}")
        elif request == 11:  # GET_VRING_BASE, which stops the queue
            (index,) = struct.unpack_from("<I", body)
            reply(struct.pack("<II", index, self.rings[index].last))
            self.rings[index].stop()
        elif request == 12:  # SET_VRING_KICK
            index = body[0]
            if self.rings[index].kick >= 0:
                os.close(self.rings[index].kick)
            self.rings[index].kick = fds[0] if fds else -1
        else:
            for fd in fds:
                os.close(fd)

    def at(self, address):
        """Where an address of the director is in our view of its memory."""
        for user, length, memory in self.memory:
            if user <= address < user + length:
                return memory, address - user
        raise ConnectionError(f"{address:#x} is in no region")

    def next(self, ring):
        """The chain of descriptors that comes next, as (memory, offset, length)."""
        (desc, base), (avail, at) = ring.addrs[0], ring.addrs[1]
        if ring.avail[0] == ring.last:
            return None
        (head,) = struct.unpack_from("<H", avail, at + 4 + 2 * (ring.last % ring.size))
        chain, index = [], head
        while True:
            address, length, flags, following = struct.unpack_from("<QIHH", desc, base + 16 * index)
            chain.append((*self.at(address), length))
            if not flags & 1:
                return head, chain
            index = following

    def done(self, ring, head, length):
        used, at = ring.addrs[2]
        struct.pack_into("<II", used, at + 4 + 8 * (ring.last % ring.size), head, length)
        ring.last = (ring.last + 1) & 0xFFFF
        ring.used[0] = ring.last

    def receive(self):
        while self.up() and (found := self.next(self.rings[1])):
            ring, (head, chain) = self.rings[1], found
            frame = b"".join(m[at : at + n] for m, at, n in chain)[self.HEADER :]
            self.done(ring, head, 0)
            self.received += 1
            yield frame

    def send(self, frame):
        if not self.up():
            return
        ring = self.rings[0]
        found = self.next(ring)
        if not found:
            return  # a full queue, as on any wire
        data = struct.pack("<10xH", 1) + frame
        total = len(data)
        for memory, at, length in found[1]:
            memory[at : at + min(length, len(data))] = data[:length]
            data = data[length:]
        self.done(ring, found[0], total)
        self.sent += 1


ACTIVE, SHORT, AGGREGATE, SYNC, COLLECT, DISTRIBUTE, DEFAULTED, EXPIRED = (1 << n for n in range(8))


class Lacp:
    """The machines of one port: receive, periodic, mux (802.1AX-2014, 6.4.12 to 6.4.15)."""

    SYSTEM = bytes.fromhex("02000000aa01")
    SLOW = bytes.fromhex("0180c2000002")
    WAIT = 0.3  # aggregate_wait_time is two seconds; nobody waits for a test

    def __init__(self, link):
        self.link, self.left, self.state = link, False, ""
        self.reset()

    def reset(self):
        self.bits = ACTIVE | SHORT | AGGREGATE | DEFAULTED
        self.partner, self.partner_bits, self.matched = None, 0, False
        self.until, self.since, self.periodic, self.sent_at = 0.0, None, 0.0, 0.0
        self.ntt = True

    def actor(self):
        return struct.pack("!H6sHHH", 0x8000, self.SYSTEM, 17, 0x80, self.link.number + 1)

    def receive(self, frame, now):
        if len(frame) < 124 or frame[14:18] != b"\x01\x01\x01\x14":
            say(f"lacp {self.link.number} malformed {frame[:40].hex()}")
            return
        actor, bits = frame[18:32], frame[32]
        if frame[36:38] != b"\x02\x14" or frame[56:58] != b"\x03\x10":
            say(f"lacp {self.link.number} malformed {frame[:60].hex()}")
            return
        if self.partner != actor:
            self.since = now
        self.partner, self.partner_bits = actor, bits
        seen, seen_bits = frame[38:52], frame[52]
        self.matched = seen == self.actor() and bool(seen_bits & AGGREGATE)
        watched = ACTIVE | SHORT | AGGREGATE | SYNC
        if seen != self.actor() or (seen_bits ^ self.bits) & watched:
            self.ntt = True
        self.bits &= ~(DEFAULTED | EXPIRED)
        self.until = now + 3

    def tend(self, aggregator, now):
        """Moves on; `aggregator` is the partner (system and key) of the group."""
        if not self.link.up():
            if self.partner:
                self.reset()
            return self.tell()
        if self.partner and now > self.until:
            if self.bits & EXPIRED:
                self.reset()
            else:
                self.bits |= EXPIRED
                self.partner_bits &= ~SYNC
                self.partner_bits |= SHORT
                self.until, self.ntt = now + 3, True
        before = self.bits
        selected = self.partner and not self.left and self.partner[2:10] == aggregator
        if selected and now - self.since >= self.WAIT:
            self.bits |= SYNC
        else:
            self.bits &= ~(SYNC | COLLECT | DISTRIBUTE)
        in_sync = self.partner_bits & SYNC and self.matched
        if self.bits & SYNC and in_sync:
            self.bits |= COLLECT | DISTRIBUTE
        else:
            self.bits &= ~(COLLECT | DISTRIBUTE)
        self.ntt |= before != self.bits
        period = 1 if not self.partner or self.partner_bits & SHORT else 30
        if now >= self.periodic:
            self.ntt, self.periodic = True, now + period
        # Three in a fast periodic time at most.
        if self.ntt and now - self.sent_at > 0.34:
            self.ntt, self.sent_at = False, now
            partner = self.partner or bytes(14)
            body = b"\x01\x01" + b"\x01\x14" + self.actor() + bytes([self.bits]) + bytes(3)
            body += b"\x02\x14" + partner + bytes([self.partner_bits]) + bytes(3)
            body += b"\x03\x10" + bytes(14) + bytes(52)
            source = self.SYSTEM[:5] + bytes([self.link.number + 0x10])
            self.link.send(self.SLOW + source + b"\x88\x09" + body)
        self.tell()

    def tell(self):
        names = [(COLLECT, "collecting"), (DISTRIBUTE, "distributing"), (EXPIRED, "expired")]
        state = " ".join(name for bit, name in names if self.bits & bit) or "waiting"
        if state != self.state:
            self.state = state
            say(f"lacp {self.link.number} {state}")

    def usable(self):
        return self.link.up() and self.bits & DISTRIBUTE


class Switch:
    def __init__(self, mode, links, taps):
        self.mode, self.links, self.taps, self.learned = mode, links, taps, {}
        self.ports = [Lacp(link) for link in links]

    def tend(self, now):
        for link in self.links:
            link.tend()
        if self.mode == "lacp":
            known = [p for p in self.ports if p.partner and not p.left]
            group = known[0].partner[2:10] if known else None
            for port in self.ports:
                port.tend(group, now)

    def from_link(self, link, frame, now):
        if frame[12:14] == b"\x88\x09":
            if self.mode == "lacp":
                self.ports[link.number].receive(frame, now)
            return
        if self.mode == "lacp" and not self.ports[link.number].bits & COLLECT:
            say(f"link {link.number} frame while not collecting")
            return
        self.learned[frame[6:12]] = link
        tag = 0
        if frame[12:14] == b"\x81\x00":
            tag = struct.unpack("!H", frame[14:16])[0] & 0xFFF
            frame = frame[:12] + frame[16:]
        if tag in self.taps:
            os.write(self.taps[tag], frame)

    def from_tap(self, tag, frame):
        if tag:
            frame = frame[:12] + struct.pack("!HH", 0x8100, tag) + frame[12:]
        if self.mode == "learning":
            to = self.learned.get(frame[:6])
            for link in [to] if to and to.up() else self.links:
                link.send(frame)
            return
        ports = [p for p in self.ports if (p.usable() if self.mode == "lacp" else p.link.up())]
        if ports:
            # Addresses and, of TCP, ports.
            at = 30 if tag else 26
            ports[zlib.crc32(frame[at : at + 12]) % len(ports)].link.send(frame)

    def command(self, words):
        if words[0] == "count":
            say("count " + " ".join(f"{x.received}/{x.sent}" for x in self.links))
            return
        number = int(words[1])
        link, port = self.links[number], self.ports[number]
        if words[0] == "down":
            link.wanted = False
            link.cut()
            self.learned = {mac: at for mac, at in self.learned.items() if at is not link}
        elif words[0] == "up":
            link.wanted = True
        else:
            port.left = words[0] == "leave"


def tap(name):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TAP | IFF_NO_PI))
    return fd


def main():
    name, fifo, mode, *rest = sys.argv[1:]
    taps, links = {0: tap(name)}, []
    for word in rest:
        if word.startswith("vlan="):
            vid, vname = word[5:].split(":")
            taps[int(vid)] = tap(vname)
        else:
            kind = Link if "/" in word else Wire
            links.append(kind(len(links), word))
    os.mkfifo(fifo)
    commands = os.open(fifo, os.O_RDWR)
    switch = Switch(mode, links, taps)
    say("ready")
    while True:
        switch.tend(time.monotonic())
        watched = [commands, *taps.values()]
        watched += [link.sock for link in links if link.sock]
        watched += [r.kick for link in links for r in link.rings[1:] if r.kick >= 0]
        for ready in select.select(watched, [], [], 0.05)[0]:
            if ready == commands:
                for line in os.read(commands, 4096).decode().split("\n"):
                    if line:
                        switch.command(line.split())
                break
            for link in links:
                if ready is link.sock and link.sock:
                    try:
                        link.message()
                    except (ConnectionError, OSError):
                        link.cut()
                        # What else is ready may be of this link.
                        ready = None
                        break
                elif link.rings and ready == link.rings[1].kick:
                    os.read(ready, 8)
            if ready is None:
                break
            for tag, fd in taps.items():
                if ready == fd:
                    switch.from_tap(tag, os.read(fd, 65536))
        now = time.monotonic()
        for link in links:
            for frame in link.receive():
                switch.from_link(link, frame, now)


main()
