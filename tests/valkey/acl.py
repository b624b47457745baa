"""Permissions for the commands of valkey-search, which the real server does not know."""

_CATEGORIES = {
    b"FT.SEARCH": {b"read", b"slow", b"search"},
    b"FT.INFO": {b"read", b"fast", b"search"},
    b"FT._LIST": {b"read", b"slow", b"search", b"admin"},
    b"FT.CREATE": {b"write", b"fast", b"search"},
    b"FT.DROPINDEX": {b"write", b"fast", b"search"},
}
NAMES = _CATEGORIES.keys()
_SHORT = {b"reset": b"-@all", b"nocommands": b"-@all", b"allcommands": b"+@all"}


class Grants:
    """The permissions of users, as set by ACL SETUSER. An unknown user may do everything."""

    def __init__(self) -> None:
        self._allowed: dict[bytes, set[bytes]] = {}
        self.denied: list[tuple[bytes, bytes]] = []  # users and the commands they were refused

    def learn(self, user: bytes, rules: list[bytes]) -> list[bytes]:
        """Apply rules, and return those that the real server understands."""
        allowed = self._allowed.setdefault(user, set(NAMES) if user == b"default" else set())
        for rule in rules:
            plain = _SHORT.get(rule.lower(), rule.lower())
            if plain.startswith(b"+"):
                allowed |= _meant(plain[1:])
            elif plain.startswith(b"-"):
                allowed -= _meant(plain[1:])
        return [rule for rule in rules if not _is_ours(rule[1:].lower())]

    def allows(self, user: bytes, name: bytes) -> bool:
        """Whether a user may run a command."""
        if user not in self._allowed or name not in NAMES or name in self._allowed[user]:
            return True
        self.denied.append((user, name))
        return False


def may_touch(patterns: list[bytes], prefixes: list[bytes], *, is_write: bool) -> bool:
    """Whether patterns of keys, as ACL GETUSER lists them, cover prefixes whole."""
    kinds = (b"~", b"%RW~") if is_write else (b"~", b"%RW~", b"%R~")
    usable = [p.partition(b"~")[2] for p in patterns if p.startswith(kinds)]
    begins = [pattern[:-1] for pattern in usable if pattern.endswith(b"*")]
    return all(prefix.startswith(tuple(begins)) for prefix in prefixes or [b""])


def _meant(target: bytes) -> set[bytes]:
    if target == b"@all":
        return set(NAMES)
    if target.startswith(b"@"):
        return {name for name, categories in _CATEGORIES.items() if target[1:] in categories}
    return {target.upper()} & NAMES


def _is_ours(target: bytes) -> bool:
    return target == b"@search" or target.upper() in NAMES
