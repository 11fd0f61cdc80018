#!/bin/sh
# Two network namespaces, cart (10.9.0.2) and pay (10.9.0.3), behind one bridge.
# usage: namespaces.sh up|down
set -eu
case "${1:-}" in
up)
    ip link add weir-shop type bridge
    ip addr add 10.9.0.1/24 dev weir-shop
    ip link set weir-shop up
    for pod in "cart 2" "pay 3"; do
        set -- $pod
        ip netns add "$1"
        ip link add "weir-$1" type veth peer name eth0 netns "$1"
        ip link set "weir-$1" master weir-shop up
        ip -n "$1" link set lo up
        ip -n "$1" addr add "10.9.0.$2/24" dev eth0
        ip -n "$1" link set eth0 up
        ip -n "$1" route add default via 10.9.0.1
    done
    ;;
down)
    for pod in cart pay; do ip netns del "$pod" || true; done
    ip link del weir-shop
    ;;
*)
    echo "usage: $0 up|down" >&2
    exit 2
    ;;
esac
