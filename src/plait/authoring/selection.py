"""Selecting assets by an expression: names and globs, `group:`, `+` for what is above or below, `and`, `or`, `not`,
brackets.

    flights            +report            clean_flights+2            group:raw or load_*            * and not report

Grammar: or := and ("or" | ",") and ...; and := not ("and" not) ...; not := "not" not | "(" or ")" | [n "+"] name ["+"
n]. A mistake is told with the character at which it stands.
"""

import fnmatch
import re
from collections.abc import Mapping, Sequence

from plait.model.errors import UsageError

_TOKEN = re.compile(r"\s*(?:(?P<bracket>[()])|(?P<comma>,)|(?P<word>[^\s(),]+))")
_TERM = re.compile(r"^(?:(?P<up>\d*)\+)?(?P<name>[^+]+?)(?:\+(?P<down>\d*))?$")


class _Parser:
    def __init__(self, text: str, keys: Sequence[str], upstream: Mapping[str, set[str]], groups: Mapping[str, str]):
        self.text, self.keys, self.upstream, self.groups = text, keys, upstream, groups
        self.downstream: dict[str, set[str]] = {key: set() for key in keys}
        for key, above in upstream.items():
            for other in above:
                self.downstream.setdefault(other, set()).add(key)
        self.tokens = [
            (m.group().strip(), m.start() + len(m.group()) - len(m.group().lstrip())) for m in _TOKEN.finditer(text)
        ]
        self.at = 0

    def parse(self) -> set[str]:
        if not self.tokens:
            raise self.wrong("an expression", 0)
        found = self.either()
        if self.at < len(self.tokens):
            raise self.wrong("`and`, `or` or the end", self.tokens[self.at][1])
        return found

    def peek(self) -> str | None:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else None

    def either(self) -> set[str]:
        found = self.both()
        while self.peek() in ("or", ","):
            self.at += 1
            found = found | self.both()
        return found

    def both(self) -> set[str]:
        found = self.one()
        while self.peek() == "and":
            self.at += 1
            found = found & self.one()
        return found

    def one(self) -> set[str]:
        word = self.peek()
        if word is None:
            raise self.wrong("a name", len(self.text))
        position = self.tokens[self.at][1]
        self.at += 1
        if word == "not":
            return set(self.keys) - self.one()
        if word == "(":
            found = self.either()
            if self.peek() != ")":
                raise self.wrong("`)`", self.tokens[self.at][1] if self.peek() else len(self.text))
            self.at += 1
            return found
        if word in (")", ",", "and", "or"):
            raise self.wrong("a name", position)
        return self.term(word, position)

    def term(self, word: str, position: int) -> set[str]:
        match = _TERM.match(word)
        if match is None:
            raise self.wrong("a name like `flights`, `+flights` or `flights+2`", position)
        found = self.named(match["name"], position)
        result = set(found)
        if match["up"] is not None:
            result |= _walk(found, self.upstream, match["up"])
        if match["down"] is not None:
            result |= _walk(found, self.downstream, match["down"])
        return result

    def named(self, name: str, position: int) -> set[str]:
        kind, colon, rest = name.partition(":")
        if colon and kind == "group":
            found = {key for key in self.keys if fnmatch.fnmatchcase(self.groups[key], rest)}
        elif colon and kind != "key":
            raise self.wrong("`key:` or `group:`", position)
        else:
            pattern = rest if colon else name
            found = {key for key in self.keys if fnmatch.fnmatchcase(key, pattern)}
        if not found:
            raise UsageError(
                f"no asset is selected by {name!r}\n    {self.text}\n    {' ' * position}^",
                right=f"one of: {', '.join(sorted(self.keys)[:20])}",
            )
        return found

    def wrong(self, wanted: str, position: int) -> UsageError:
        return UsageError(
            f"the selection is not valid: {wanted} is missing here\n    {self.text}\n    {' ' * position}^"
        )


def _walk(start: set[str], edges: Mapping[str, set[str]], depth: str) -> set[str]:
    steps = int(depth) if depth else len(edges) + 1
    found: set[str] = set()
    edge = set(start)
    while edge and steps > 0:
        edge = {other for key in edge for other in edges.get(key, ())} - found
        found |= edge
        steps -= 1
    return found


def select(text: str, keys: Sequence[str], upstream: Mapping[str, set[str]], groups: Mapping[str, str]) -> set[str]:
    """The keys that an expression selects. Raises UsageError that points at the character which is wrong."""
    return _Parser(text, keys, upstream, groups).parse() & set(keys)
