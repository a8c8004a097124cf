"""Where a webhook may go: the URLs that the operator listed, and the addresses that their names may have."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from trivet.core.errors import Refused, quoted

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]
PORTS = {"http": 80, "https": 443}
LONGEST_URL = 2048
_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
_SITE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)(?:[^/?#\\]*@)?(\[[^\]/?#]*\]?|[^/?#\\:@]*)")
_LIKE_A_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
_NAT64, _NAT64_WITHIN = ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48")


@dataclass(frozen=True)
class Target:
    """A URL in its parts. `address` is set where its host is one: then the operator listed that address itself."""

    url: str
    scheme: str
    host: str
    port: int
    path: str
    address: IPAddress | None


def target(url: str, allowed: Sequence[str]) -> Target:
    """Return where `url` leads; raises `Refused` unless it is one of `allowed`, or its host is.

    An entry of `allowed` is a URL, of which no letter may differ, or a host, by `https` on port 443 alone.
    """
    found = parsed(url)
    if url in allowed or (found.scheme == "https" and found.port == PORTS["https"] and found.host in allowed):
        return found
    raise Refused(
        f"the webhook at {site_of(url)} is not allowed: TRIVET_ALERT_WEBHOOKS lists neither it nor its host by https."
    )


def parsed(url: str) -> Target:
    """Return the parts of `url`; raises `Refused` for what is spelled so that two readers may differ on where it leads."""
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or {" ", "\\"} & set(url):
        raise Refused(f"the webhook at {site_of(url)} has characters that no URL has, or too many.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused(f"the webhook at {site_of(url)} is no URL.") from None
    if parts.scheme not in PORTS or "@" in parts.netloc or parts.fragment or not parts.hostname or port == 0:
        raise Refused(f"the webhook at {site_of(url)} is no address such as 'https://hooks.example.com/trivet'.")
    host = parts.hostname
    address = _literal(host)
    written = f"[{host}]" if ":" in host else host
    is_plain = parts.netloc in (written, f"{written}:{port}") and (address is not None or is_name(host))
    if not is_plain:
        raise Refused(
            f"the webhook at {site_of(url)} has a host that is neither a name nor an address as it is usually written."
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(url, parts.scheme, host, port or PORTS[parts.scheme], path, address)


def site_of(url: str) -> str:
    """Return scheme and host of `url`, quoted, for a message: its path may be a secret, as that of a chat's webhook is.

    "…" where it has none that could be told from a path.
    """
    found = _SITE.match(url)
    return quoted("".join(found.groups()) if found else "…")


def is_name(host: str) -> bool:
    """True for a name of DNS. What a resolver may take for a number (`127.1`, `0x7f.1`, `2130706433`) is none."""
    return len(host) <= 253 and bool(_NAME.fullmatch(host)) and not _LIKE_A_NUMBER.fullmatch(host.rpartition(".")[2])


def _literal(host: str) -> IPAddress | None:
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    return found if str(found) == host and "%" not in host else None


def addresses(found: Target, resolve: Resolve | None = None) -> tuple[IPAddress, ...]:
    """Return the addresses a message may be sent to, asking once; raises `Refused` if one of them is of an inner network.

    One inner address among several is enough: such an answer is a trick, or a mistake that a second try would show.
    """
    if found.address is not None:
        return (found.address,)
    try:
        answers = (resolve or _resolve)(found.host, found.port)
    except (OSError, UnicodeError):
        raise Refused(f"the webhook's host {quoted(found.host)} has no address.") from None
    known = tuple(dict.fromkeys(ipaddress.ip_address(text.partition("%")[0]) for text in answers))
    inner = next((address for address in known if not is_public(address)), None)
    if inner is not None:
        raise Refused(
            f"the webhook's host {quoted(found.host)} is at {inner}, which is no public address. An inner one is listed in"
            " TRIVET_ALERT_WEBHOOKS as itself: 'https://10.0.0.7/hook'."
        )
    if not known:
        raise Refused(f"the webhook's host {quoted(found.host)} has no address.")
    return known


def is_public(address: IPAddress) -> bool:
    """True for an address of the internet at large, and for none that only stands for one of another network."""
    if isinstance(address, ipaddress.IPv6Address):
        within = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if within is None and address in _NAT64:
            within = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if within is not None:
            return is_public(within)
        if int(address) >> 32 == 0 or address.is_site_local or address in _NAT64_WITHIN:  # ::a.b.c.d, as it once was
            return False
    return address.is_global and not address.is_multicast


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(place[4][0]) for place in found]
