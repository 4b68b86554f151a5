"""Which addresses are of the public internet, so that a URL of a stranger may lead to them (R-709).

An address of IPv6 can hold one of IPv4, to which a gateway or the system itself would go on. So only global
unicast addresses without one are public, and those of NAT64, by which machines without IPv4 reach all hosts
that have no IPv6, if what they hold is public.
"""

import ipaddress
from typing import Final

#: IPv4 networks that are not for hosts of the internet although `is_global` says so of some of them in some
#: versions of Python: protocol assignments, relays of 6to4, multicast, and what a cloud has at its every machine.
_SPECIAL_V4: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("0.0.0.0/8", "192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/3", "168.63.129.16/32")
)
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
#: 6to4, Teredo and all else that is assigned to protocols, and documentation.
_SPECIAL_V6: Final = tuple(
    ipaddress.ip_network(text) for text in ("2002::/16", "2001::/23", "2001:db8::/32", "3fff::/20")
)
#: What stands before the IPv4 address in the second half of an address of ISATAP (RFC 5214).
_ISATAP: Final = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")


def is_public(text: str) -> bool:
    """Whether an address, as a resolver gives it, is that of a host of the public internet."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return _is_public_v4(address)
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:  # the system connects to the IPv4 address itself
        return _is_public_v4(address.ipv4_mapped)
    if address in _NAT64:
        return _is_public_v4(ipaddress.IPv4Address(address.packed[12:]))
    return (
        address in _GLOBAL_UNICAST
        and address.is_global
        and not any(address in network for network in _SPECIAL_V6)
        and address.packed[8:12] not in _ISATAP
    )


def _is_public_v4(address: ipaddress.IPv4Address) -> bool:
    return address.is_global and not any(address in network for network in _SPECIAL_V4)
