# Made from the table of options (ipvsadm-rs/tests/agree.rs): do not edit.

# What may follow the words given: in $offer.
_ipvsadm_words() {
  local command=$1 last=${!#}
  case "$last" in
    --start-daemon) offer='master backup'; return ;;
    --stop-daemon) offer='master backup'; return ;;
    -s|--scheduler) offer='rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh conhash'; return ;;
    --pe) offer='sip'; return ;;
    -j|--synproxy) offer='enable disable'; return ;;
    --hash-target) offer='sip qid'; return ;;
    --proxy-protocol) offer='disable v1 v2 v1-insecure v2-insecure'; return ;;
    --dest-check) offer='disable default tcp udp sctp ping'; return ;;
    --tun-type) offer='ipip gue gre'; return ;;
    -t|--tcp-service) offer=; return ;;
    -u|--udp-service) offer=; return ;;
    --sctp-service) offer=; return ;;
    -q|--icmp-service) offer=; return ;;
    -1|--icmpv6-service) offer=; return ;;
    -f|--fwmark-service) offer=; return ;;
    -H|--match) offer=; return ;;
    -M|--netmask) offer=; return ;;
    --conn-timeout) offer=; return ;;
    -r|--real-server) offer=; return ;;
    -w|--weight) offer=; return ;;
    -x|--u-threshold) offer=; return ;;
    -y|--l-threshold) offer=; return ;;
    --tun-port) offer=; return ;;
    -T|--vxlan) offer=; return ;;
    -z|--laddr) offer=; return ;;
    -F|--ifname) offer=; return ;;
    -k|--blklst) offer=; return ;;
    -2|--whtlst) offer=; return ;;
    --sockpair) offer=; return ;;
    --cpu) offer=; return ;;
    --mcast-interface) offer=; return ;;
    --syncid) offer=; return ;;
    --sync-maxlen) offer=; return ;;
    --mcast-group) offer=; return ;;
    --mcast-port) offer=; return ;;
    --mcast-ttl) offer=; return ;;
  esac
  case "$command" in
    -A|--add-service) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6 -s --scheduler -b --sched-flags -p --persistent -M --netmask --pe -o --ops -j --synproxy --hash-target --conn-timeout --proxy-protocol --dest-check --expire-quiescent --quic' ;;
    -E|--edit-service) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6 -s --scheduler -b --sched-flags -p --persistent -M --netmask --pe -o --ops -j --synproxy --hash-target --conn-timeout --proxy-protocol --dest-check --expire-quiescent --quic' ;;
    -D|--delete-service) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6' ;;
    -C|--clear) offer='' ;;
    -R|--restore) offer='' ;;
    -S|--save) offer='-n --numeric' ;;
    -a|--add-server) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6 -r --real-server -b --fullnat -m --masquerading -g --gatewaying -i --ipip -J --snat -w --weight -x --u-threshold -y --l-threshold --tun-type --tun-port --tun-nocsum --tun-csum --tun-remcsum -T --vxlan' ;;
    -e|--edit-server) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6 -r --real-server -b --fullnat -m --masquerading -g --gatewaying -i --ipip -J --snat -w --weight -x --u-threshold -y --l-threshold --tun-type --tun-port --tun-nocsum --tun-csum --tun-remcsum -T --vxlan' ;;
    -d|--delete-server) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6 -r --real-server' ;;
    -L|--list) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6 -n --numeric -c --connection --sockpair --stats --rate --thresholds --persistent-conn --tun-info --timeout --daemon -X --exact --sort --nosort --cpu --json --syncid' ;;
    -l|--list) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6 -n --numeric -c --connection --sockpair --stats --rate --thresholds --persistent-conn --tun-info --timeout --daemon -X --exact --sort --nosort --cpu --json --syncid' ;;
    -Z|--zero) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6' ;;
    --set) offer='' ;;
    --start-daemon) offer='--mcast-interface --syncid --sync-maxlen --mcast-group --mcast-port --mcast-ttl' ;;
    --stop-daemon) offer='--syncid' ;;
    -P|--add-laddr) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6 -z --laddr -F --ifname' ;;
    -Q|--del-laddr) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6 -z --laddr -F --ifname' ;;
    -G|--get-laddr) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6 --cpu --json' ;;
    -U|--add-blklst) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6 -k --blklst' ;;
    -V|--del-blklst) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6 -k --blklst' ;;
    -B|--get-blklst) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6 --json' ;;
    -O|--add-whtlst) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6 -2 --whtlst' ;;
    -Y|--del-whtlst) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6 -2 --whtlst' ;;
    -W|--get-whtlst) offer='-t --tcp-service -u --udp-service --sctp-service -q --icmp-service -1 --icmpv6-service -f --fwmark-service -H --match -6 --ipv6 --json' ;;
    -h|--help) offer='' ;;
    -v|--version) offer='' ;;
    *) offer='--add-blklst --add-laddr --add-server --add-service --add-whtlst --clear --del-blklst --del-laddr --del-whtlst --delete-server --delete-service --edit-server --edit-service --get-blklst --get-laddr --get-whtlst --help --list --restore --save --set --start-daemon --stop-daemon --version --zero -A -B -C -D -E -G -L -O -P -Q -R -S -U -V -W -Y -Z -a -d -e -h -l -v' ;;
  esac
}

_ipvsadm() {
  local offer=
  _ipvsadm_words "${COMP_WORDS[@]:1:COMP_CWORD-1}"
  mapfile -t COMPREPLY < <(compgen -W "$offer" -- "${COMP_WORDS[COMP_CWORD]}")
}
complete -F _ipvsadm ipvsadm
complete -W '-n' ipvsadm-save
