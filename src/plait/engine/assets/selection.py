"""Selecting assets by an expression, the same everywhere: on the command line, in the API and in Python.

    flights   load_*   +report   clean_flights+2   group:raw or tag:daily   roots(+report)   * and not changed

    or     := and (("or" | ",") and)*
    and    := not ("and" not)*
    not    := "not" not | reach
    reach  := [[n] "+"] one ["+" [n]]         with what is upstream, downstream, so many steps far
    one    := "(" or ")" | function "(" or ")" | state | [attribute ":"] glob

Attributes: key, group, kind, owner, tag. Functions: roots, sinks (of what is selected, those with nothing upstream or
downstream in it), upstream, downstream (without itself). States: changed (its code version), stale, missing. A mistake
is told with the character at which it stands.
"""

import fnmatch
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from plait.engine.assets.index import AssetIndex
from plait.model.assets import AssetSpec
from plait.model.errors import UsageError

STATES = ("changed", "missing", "stale")
"""What is known of assets only with a database."""
State = Callable[[], set[str]]
_TOKEN = re.compile(r'\s*(?:(?P<sign>[()+,])|(?P<word>(?:"[^"]*"|[^\s()+,"])+)|(?P<quote>"))')
_ATTRIBUTES: dict[str, Callable[[AssetSpec], tuple[str, ...]]] = {
    "key": lambda spec: (spec.key,),
    "group": lambda spec: (spec.group,),
    "kind": lambda spec: spec.kinds,
    "owner": lambda spec: spec.owners,
    "tag": lambda spec: spec.tags,
}
_WORDS = ("and", "or", "not")


class _Token(NamedTuple):
    text: str
    at: int
    end: int


def select(text: str, index: AssetIndex, states: Mapping[str, State] | None = None) -> list[str]:
    """The keys that an expression selects, upstream ones first. `states` answers for `STATES`. Raises UsageError that
    points at the character which is wrong."""
    chosen = _Parser(text, index, states or {}).parse()
    return [key for key in index.specs if key in chosen]


class _Parser:
    def __init__(self, text: str, index: AssetIndex, states: Mapping[str, State]):
        self.text, self.index, self.states = text, index, states
        self.functions: dict[str, Callable[[set[str]], set[str]]] = {
            "roots": lambda keys: {key for key in keys if not keys.intersection(index.upstream[key])},
            "sinks": lambda keys: {key for key in keys if not keys.intersection(index.downstream[key])},
            "upstream": lambda keys: index.above(keys) - keys,
            "downstream": lambda keys: index.below(keys) - keys,
        }
        self.tokens: list[_Token] = []
        for match in _TOKEN.finditer(text):
            found = match.group().lstrip()
            at = match.end() - len(found)
            if match["quote"]:
                raise self.wrong('the closing `"` is missing', at)
            self.tokens.append(_Token(found, at, match.end()))
        self.no = 0

    # --- the grammar --------------------------------------------------------------------------------------------------

    def parse(self) -> set[str]:
        if not self.tokens:
            raise self.wrong("an expression is missing here", 0)
        found = self.either()
        if self.no < len(self.tokens):
            raise self.wrong("`and`, `or` or the end is missing here", self.tokens[self.no].at)
        return found

    def either(self) -> set[str]:
        found = self.both()
        while self.peek() in ("or", ","):
            self.no += 1
            found = found | self.both()
        return found

    def both(self) -> set[str]:
        found = self.negated()
        while self.peek() == "and":
            self.no += 1
            found = found & self.negated()
        return found

    def negated(self) -> set[str]:
        if self.peek() == "not":
            self.no += 1
            return set(self.index.specs) - self.negated()
        return self.reach()

    def reach(self) -> set[str]:
        up = self.steps_before()
        found = self.one()
        result = set(found)
        if up is not None:
            result |= self.index.above(found, up or None)
        if self.peek() == "+":
            plus = self.tokens[self.no]
            self.no += 1
            steps = self.number_at(plus.end)
            result |= self.index.below(found, steps)
        return result

    def steps_before(self) -> int | None:
        """The steps of `+x` (0: all) or `2+x`; none where there is no plus before."""
        token = self.tokens[self.no] if self.no < len(self.tokens) else None
        if token is None:
            return None
        if token.text == "+":
            self.no += 1
            return 0
        after = self.tokens[self.no + 1] if self.no + 1 < len(self.tokens) else None
        glued = after is not None and after.text == "+" and after.at == token.end
        if token.text.isdecimal() and glued and self.begins(self.no + 2, token.end + 1):
            self.no += 2
            return self.counted(token)
        return None

    def begins(self, no: int, at: int) -> bool:
        """Whether something that can be selected stands at this character."""
        token = self.tokens[no] if no < len(self.tokens) else None
        return token is not None and token.at == at and token.text not in (")", ",", "+", *_WORDS)

    def number_at(self, at: int) -> int | None:
        """The number that stands at this character."""
        token = self.tokens[self.no] if self.no < len(self.tokens) else None
        if token is None or token.at != at or token.text in (")", ",", *_WORDS):
            return None
        if not token.text.isdecimal():
            raise self.wrong("a number of steps, a blank or the end is missing here", at)
        self.no += 1
        return self.counted(token)

    def counted(self, token: _Token) -> int:
        if int(token.text) == 0:
            raise self.wrong("the number of steps is 1 or more", token.at)
        return int(token.text)

    def one(self) -> set[str]:
        token = self.tokens[self.no] if self.no < len(self.tokens) else None
        if token is None:
            raise self.wrong("a name is missing here", len(self.text))
        if token.text in (")", ",", "+", "and", "or", "not"):
            raise self.wrong("a name is missing here", token.at)
        self.no += 1
        if token.text == "(":
            return self.until_closed()
        if self.peek() == "(":
            return self.function(token)
        return self.named(token)

    def until_closed(self) -> set[str]:
        found = self.either()
        if self.peek() != ")":
            raise self.wrong("`)` is missing here", self.tokens[self.no].at if self.peek() else len(self.text))
        self.no += 1
        return found

    def function(self, token: _Token) -> set[str]:
        function = self.functions.get(token.text)
        if function is None:
            raise self.wrong(f"there is no function {token.text!r}; there are {', '.join(self.functions)}", token.at)
        self.no += 1
        return function(self.until_closed())

    def peek(self) -> str | None:
        return self.tokens[self.no].text if self.no < len(self.tokens) else None

    # --- names --------------------------------------------------------------------------------------------------------

    def named(self, token: _Token) -> set[str]:
        name, colon, rest = token.text.partition(":")
        specs = self.index.specs
        if token.text in STATES and token.text not in specs:
            return self.state(token)
        if colon and name not in _ATTRIBUTES:
            if token.text in specs:
                return {token.text}
            known = ", ".join(f"`{each}:`" for each in _ATTRIBUTES)
            raise self.wrong(f"there is no {name + ':'!r}; there are {known}", token.at)
        pattern = (rest if colon else token.text).replace('"', "")
        if not pattern:
            raise self.wrong(f"a {name} is missing here", token.end)
        values = _ATTRIBUTES[name if colon else "key"]
        found = {key for key, spec in specs.items() if any(fnmatch.fnmatchcase(each, pattern) for each in values(spec))}
        if not found:
            known = sorted({each for spec in specs.values() for each in values(spec)})
            shown = ", ".join(known[:20]) or f"no asset has a {name}"
            raise UsageError(
                f"no asset is selected by {token.text!r}\n{self.pointed(token.at)}", right=f"one of: {shown}"
            )
        return found

    def state(self, token: _Token) -> set[str]:
        answer = self.states.get(token.text)
        if answer is None:
            raise self.wrong(f"what is {token.text} is only known with a database", token.at)
        return answer() & set(self.index.specs)

    def pointed(self, at: int) -> str:
        return f"    {self.text}\n    {' ' * at}^"

    def wrong(self, what: str, at: int) -> UsageError:
        return UsageError(f"the selection is not valid: {what}\n{self.pointed(at)}")
