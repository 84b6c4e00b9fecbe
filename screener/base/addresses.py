"""One spelling for an address: two spellings of one server must not look like two servers."""

from urllib.parse import urlsplit, urlunsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


def normalised(url: str) -> str:
    """Scheme and host in small letters, without a default port, doubled slashes and a slash at the end; what is no address as it is."""
    text = url.strip()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # no number, or brackets that do not match
        return text.rstrip("/")
    if not parts.scheme or not parts.hostname:
        return text.rstrip("/")
    user, at, _ = parts.netloc.rpartition("@")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    beside = f":{port}" if port is not None and port != _DEFAULT_PORTS.get(parts.scheme) else ""
    path = "".join(f"/{part}" for part in parts.path.split("/") if part)
    return urlunsplit((parts.scheme, f"{user}{at}{host}{beside}", path, parts.query, ""))


def same_address(one: str, other: str) -> bool:
    """Whether two spellings name one address."""
    return normalised(one) == normalised(other)


def spellings(address: str) -> frozenset[str]:
    """Other ways in which people name the same server: by https or http, by a name or a number of this machine, with a slash at the end."""
    found = {normalised(address)}
    for names in (("https://", "http://"), ("localhost", "127.0.0.1", "[::1]")):
        found |= {one.replace(have, want, 1) for one in tuple(found) for have in names for want in names if have in one}
    return frozenset({*found, *(f"{one}/" for one in found), "local"})
