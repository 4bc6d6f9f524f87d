#!/bin/sh
# The lab's addresses: run after every start of dpvs, beside it.
#
# Each wire has two owners. The kernel's addresses sit on the twins *.kni, which
# dpvs makes anew at each start; keepalived checks the servers and speaks VRRP
# from them. The dataplane's own addresses are given to it with dpip, and a
# kni_host route each says which addresses it must leave to the kernel.
# Everything else (VIPs, local addresses, services) is keepalived's business.
set -eu

for twin in dpdk0.kni dpdk1.kni; do
    # The dataplane has the same MAC and makes the same link-local address.
    ip link set "$twin" addrgenmode none
    ip -6 addr flush dev "$twin" scope link
    ip link set "$twin" up
done
ip addr replace 192.0.2.2/24 dev dpdk0.kni
ip addr replace 2001:db8:1::2/64 dev dpdk0.kni nodad
ip addr replace 10.0.1.2/24 dev dpdk1.kni
ip addr replace 2001:db8:2::2/64 dev dpdk1.kni nodad

dpip addr add 192.0.2.1/24 dev dpdk0
dpip -6 addr add 2001:db8:1::1/64 dev dpdk0
dpip addr add 10.0.1.1/24 dev dpdk1
dpip -6 addr add 2001:db8:2::1/64 dev dpdk1

dpip route add 192.0.2.2/32 scope kni_host dev dpdk0
dpip -6 route add 2001:db8:1::2/128 scope kni_host dev dpdk0
dpip route add 10.0.1.2/32 scope kni_host dev dpdk1
dpip -6 route add 2001:db8:2::2/128 scope kni_host dev dpdk1
