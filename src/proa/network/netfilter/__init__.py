"""The kernel's netfilter in its own language: netlink messages, the expressions of nftables rules, conntrack."""
