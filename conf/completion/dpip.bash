# Made by `dpip completion': do not edit.

# What may follow OBJECT, OBJECT:COMMAND, OBJECT::KEYWORD.
_dpip_words() {
  offer=
  case "$1" in
    link) offer='show set add del help' ;;
    link:show) offer='status cpu' ;;
    link:list) offer='status cpu' ;;
    link:add) offer='bond-slave' ;;
    link:set) offer='promisc allmulticast forward2kni tc-egress tc-ingress lldp link addr bond-mode bond-primary bond-xmit-policy bond-monitor-interval bond-link-down-prop bond-link-up-prop' ;;
    link:change) offer='promisc allmulticast forward2kni tc-egress tc-ingress lldp link addr bond-mode bond-primary bond-xmit-policy bond-monitor-interval bond-link-down-prop bond-link-up-prop' ;;
    link:del) offer='bond-slave' ;;
    link:delete) offer='bond-slave' ;;
    link::promisc) offer='on off' ;;
    link::allmulticast) offer='on off' ;;
    link::forward2kni) offer='on off' ;;
    link::tc-egress) offer='on off' ;;
    link::tc-ingress) offer='on off' ;;
    link::lldp) offer='on off' ;;
    link::link) offer='up down' ;;
    link::addr) offer='-' ;;
    link::bond-mode) offer='-' ;;
    link::bond-primary) offer='device' ;;
    link::bond-xmit-policy) offer='layer2 layer23 layer34' ;;
    link::bond-monitor-interval) offer='-' ;;
    link::bond-link-down-prop) offer='-' ;;
    link::bond-link-up-prop) offer='-' ;;
    link::bond-slave) offer='device' ;;
    link:::) offer=device ;;
    addr) offer='show add set del flush help' ;;
    addr:show) offer='dev' ;;
    addr:list) offer='dev' ;;
    addr:add) offer='dev broadcast valid_lft prefered_lft preferred_lft scope sapool' ;;
    addr:set) offer='dev broadcast valid_lft prefered_lft preferred_lft scope sapool' ;;
    addr:change) offer='dev broadcast valid_lft prefered_lft preferred_lft scope sapool' ;;
    addr:del) offer='dev' ;;
    addr:delete) offer='dev' ;;
    addr:flush) offer='dev' ;;
    addr::dev) offer='device' ;;
    addr::broadcast) offer='-' ;;
    addr::valid_lft) offer='forever' ;;
    addr::prefered_lft) offer='forever' ;;
    addr::preferred_lft) offer='forever' ;;
    addr::scope) offer='host link site global' ;;
    route) offer='show add del flush help' ;;
    route:show) offer='dev' ;;
    route:list) offer='dev' ;;
    route:add) offer='default dev via src mtu metric scope local tos proto onlink' ;;
    route:del) offer='default dev via src mtu metric scope local tos proto onlink' ;;
    route:delete) offer='default dev via src mtu metric scope local tos proto onlink' ;;
    route:flush) offer='dev' ;;
    route::dev) offer='device' ;;
    route::via) offer='-' ;;
    route::src) offer='-' ;;
    route::mtu) offer='-' ;;
    route::metric) offer='-' ;;
    route::scope) offer='host kni_host link global' ;;
    route::tos) offer='-' ;;
    route::proto) offer='-' ;;
    neigh) offer='show add del help' ;;
    neigh:show) offer='dev' ;;
    neigh:list) offer='dev' ;;
    neigh:add) offer='lladdr dev' ;;
    neigh:del) offer='dev' ;;
    neigh:delete) offer='dev' ;;
    neigh::dev) offer='device' ;;
    neigh::lladdr) offer='-' ;;
    vlan) offer='show add del help' ;;
    vlan:show) offer='link proto id' ;;
    vlan:list) offer='link proto id' ;;
    vlan:add) offer='link proto id' ;;
    vlan:del) offer='link proto id' ;;
    vlan:delete) offer='link proto id' ;;
    vlan::link) offer='device' ;;
    vlan::proto) offer='802.1q vlan 802.1ad' ;;
    vlan::id) offer='-' ;;
    tunnel) offer='show add set replace del help' ;;
    tunnel:show) offer='mode type kind dev' ;;
    tunnel:list) offer='mode type kind dev' ;;
    tunnel:add) offer='mode type kind remote local seq iseq oseq key ikey okey csum icsum ocsum ttl tos dev' ;;
    tunnel:set) offer='mode type kind remote local seq iseq oseq key ikey okey csum icsum ocsum ttl tos dev' ;;
    tunnel:change) offer='mode type kind remote local seq iseq oseq key ikey okey csum icsum ocsum ttl tos dev' ;;
    tunnel:replace) offer='mode type kind remote local seq iseq oseq key ikey okey csum icsum ocsum ttl tos dev' ;;
    tunnel::mode) offer='ipip gre' ;;
    tunnel::type) offer='ipip gre' ;;
    tunnel::kind) offer='ipip gre' ;;
    tunnel::dev) offer='device' ;;
    tunnel::remote) offer='any' ;;
    tunnel::local) offer='any' ;;
    tunnel::key) offer='-' ;;
    tunnel::ikey) offer='-' ;;
    tunnel::okey) offer='-' ;;
    tunnel::ttl) offer='inherit' ;;
    tunnel::tos) offer='inherit' ;;
    qsch) offer='show add set replace del help' ;;
    qsch:show) offer='dev handle' ;;
    qsch:list) offer='dev handle' ;;
    qsch:add) offer='dev handle root ingress parent bfifo pfifo pfifo_fast tbf limit rate burst latency peakrate mtu buffer minburst' ;;
    qsch:set) offer='dev handle root ingress parent bfifo pfifo pfifo_fast tbf limit rate burst latency peakrate mtu buffer minburst' ;;
    qsch:change) offer='dev handle root ingress parent bfifo pfifo pfifo_fast tbf limit rate burst latency peakrate mtu buffer minburst' ;;
    qsch:replace) offer='dev handle root ingress parent bfifo pfifo pfifo_fast tbf limit rate burst latency peakrate mtu buffer minburst' ;;
    qsch:del) offer='dev handle root ingress' ;;
    qsch:delete) offer='dev handle root ingress' ;;
    qsch::dev) offer='device' ;;
    qsch::handle) offer='root ingress' ;;
    qsch::parent) offer='root ingress' ;;
    qsch::limit) offer='-' ;;
    qsch::rate) offer='-' ;;
    qsch::burst) offer='-' ;;
    qsch::latency) offer='-' ;;
    qsch::peakrate) offer='-' ;;
    qsch::mtu) offer='-' ;;
    qsch::buffer) offer='-' ;;
    qsch::minburst) offer='-' ;;
    cls) offer='show add set replace del help' ;;
    cls:show) offer='dev handle qsch' ;;
    cls:list) offer='dev handle qsch' ;;
    cls:add) offer='dev handle qsch pkttype prio match pattern target ipset' ;;
    cls:set) offer='dev handle qsch pkttype prio match pattern target' ;;
    cls:change) offer='dev handle qsch pkttype prio match pattern target' ;;
    cls:replace) offer='dev handle qsch pkttype prio match pattern target' ;;
    cls:del) offer='dev handle qsch' ;;
    cls:delete) offer='dev handle qsch' ;;
    cls::dev) offer='device' ;;
    cls::handle) offer='root ingress' ;;
    cls::qsch) offer='root ingress' ;;
    cls::pkttype) offer='ipv4 ipv6 vlan' ;;
    cls::prio) offer='-' ;;
    cls::pattern) offer='-' ;;
    cls::target) offer='drop' ;;
    cls::match) offer='src dst' ;;
    ipv6) offer='show help' ;;
    ipv6:show) offer='total all cpu' ;;
    ipv6:list) offer='total all cpu' ;;
    ipv6::cpu) offer='-' ;;
    iftraf) offer='show enable disable help' ;;
    iftraf:show) offer='dev' ;;
    iftraf:list) offer='dev' ;;
    iftraf::dev) offer='all device' ;;
    eal-mem) offer='show help' ;;
    eal-mem:show) offer='seg zone ring pool' ;;
    eal-mem:list) offer='seg zone ring pool' ;;
    ipset) offer='show create destroy add del test flush help' ;;
    ipset:add) offer='comment nomatch' ;;
    ipset:del) offer='comment nomatch' ;;
    ipset:delete) offer='comment nomatch' ;;
    ipset:create) offer='bitmap:ip bitmap:ip,mac bitmap:port hash:ip hash:net hash:ip,port hash:net,port hash:net,port,iface hash:ip,port,ip hash:ip,port,net hash:net,port,net hash:net,port,net,port comment range hashsize maxelem' ;;
    ipset::range) offer='-' ;;
    ipset::hashsize) offer='-' ;;
    ipset::maxelem) offer='-' ;;
    ipset::comment) offer='-' ;;
    flow) offer='show add del flush help' ;;
    flow:show) offer='dev type' ;;
    flow:list) offer='dev type' ;;
    flow:add) offer='type dev' ;;
    flow:del) offer='type dev' ;;
    flow:delete) offer='type dev' ;;
    flow:flush) offer='type dev' ;;
    flow::dev) offer='device' ;;
    flow::type) offer='kni' ;;
    maddr) offer='show help' ;;
    maddr:show) offer='dev' ;;
    maddr:list) offer='dev' ;;
    maddr::dev) offer='device' ;;
    lldp) offer='show help' ;;
    lldp:show) offer='local neigh dev' ;;
    lldp:list) offer='local neigh dev' ;;
    lldp::dev) offer='device' ;;
    drop) offer='show help' ;;
    drop:show) offer='cpu total' ;;
    drop:list) offer='cpu total' ;;
    drop::cpu) offer='-' ;;
    counter) offer='show help' ;;
    counter:show) offer='cpu total' ;;
    counter:list) offer='cpu total' ;;
    counter::cpu) offer='-' ;;
    limit) offer='show set del help' ;;
    limit:set) offer='pps bps out-pps out-bps cps src-pps src-bps src-cps percent burst' ;;
    limit:change) offer='pps bps out-pps out-bps cps src-pps src-bps src-cps percent burst' ;;
    limit::pps) offer='-' ;;
    limit::bps) offer='-' ;;
    limit::out-pps) offer='-' ;;
    limit::out-bps) offer='-' ;;
    limit::cps) offer='-' ;;
    limit::src-pps) offer='-' ;;
    limit::src-bps) offer='-' ;;
    limit::src-cps) offer='-' ;;
    limit::percent) offer='-' ;;
    limit::burst) offer='-' ;;
    capture) offer='show help' ;;
    capture:show) offer='dev host port proto dir count seconds snaplen file' ;;
    capture:list) offer='dev host port proto dir count seconds snaplen file' ;;
    capture::dev) offer='device' ;;
    capture::host) offer='-' ;;
    capture::port) offer='-' ;;
    capture::proto) offer='tcp udp sctp icmp icmp6' ;;
    capture::dir) offer='in out both' ;;
    capture::count) offer='-' ;;
    capture::seconds) offer='-' ;;
    capture::snaplen) offer='-' ;;
    capture::file) offer='-' ;;
  esac
}

# Puts what may come behind the words of the line into `offer'.
_dpip_next() {
  local object= command= word= last= skip= kind=
  for word in "$@"; do
    if [ -n "$skip" ]; then skip=; continue; fi
    case "$word" in
      -c|--count|-f|--family|-i|--interval) skip=1; continue ;;
      -*) continue ;;
    esac
    if [ -z "$object" ]; then object=$word
    elif [ -z "$command" ]; then command=$word
    else last=$word; fi
  done
  if [ -n "$skip" ]; then offer=; return; fi
  if [ -z "$object" ]; then offer='link addr route neigh vlan tunnel qsch cls ipv6 iftraf eal-mem ipset flow maddr lldp drop counter limit capture'; return; fi
  if [ -z "$command" ]; then _dpip_words "$object"; return; fi
  if [ -n "$last" ]; then
    _dpip_words "$object::$last"
    if [ "$offer" = - ]; then offer=; return; fi
    if [ -n "$offer" ]; then _dpip_devices; return; fi
  else
    _dpip_words "$object:::"
    kind=$offer
  fi
  _dpip_words "$object:$command"
  offer="$offer $kind"
  _dpip_devices
}

# Puts the names of the devices into the place of the word `device'.
_dpip_devices() {
  case " $offer " in
    *' device '*)
      offer="${offer%device*} $(dpip link show 2>/dev/null |
        sed -n 's/^[0-9]*: \([^:]*\):.*/\1/p')" ;;
  esac
}

_dpip() {
  local offer current=${COMP_WORDS[COMP_CWORD]}
  case "$current" in
    -*) offer='-4 -6 -C --color -c --count -F --force -f --family -h --help -i --interval -j --json -o --oneline -p --pretty -s --stats --statistics -v --verbose -V --version -w --watch' ;;
    *) _dpip_next "${COMP_WORDS[@]:1:COMP_CWORD-1}" ;;
  esac
  COMPREPLY=($(compgen -W "$offer" -- "$current"))
}
complete -F _dpip dpip
