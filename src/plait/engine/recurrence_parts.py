"""The parts of a recurrence rule: `FREQ=MONTHLY;BYDAY=-1FR`, checked one by one."""

from datetime import UTC, datetime, timedelta, tzinfo

FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
WHICH_DAYS = ("BYWEEKNO", "BYYEARDAY", "BYMONTHDAY", "BYDAY", "BYEASTER")
MOST_COUNT = 10_000
"""The largest COUNT."""
_NUMBERS = {
    "INTERVAL": (1, 1_000_000),
    "COUNT": (1, MOST_COUNT),
    "BYMONTH": (1, 12),
    "BYMONTHDAY": (-31, 31),
    "BYYEARDAY": (-366, 366),
    "BYWEEKNO": (-53, 53),
    "BYHOUR": (0, 23),
    "BYMINUTE": (0, 59),
    "BYSECOND": (0, 59),
    "BYSETPOS": (-366, 366),
    "BYEASTER": (-366, 366),
}
_ONE = frozenset({"INTERVAL", "COUNT"})
_WITH_ZERO = frozenset({"BYHOUR", "BYMINUTE", "BYSECOND", "BYEASTER"})
_ELSEWHERE = "DTSTART is `start`, RDATE is `| on_dates(...)`, EXDATE is `- on_dates(...)`"


def parts_of(text: str) -> dict[str, str]:
    """The parts of a rule by name. Raises ValueError that names the one which is wrong."""
    text = text.strip().upper().removeprefix("RRULE:")
    if any(word in text for word in ("DTSTART", "RDATE", "EXDATE", "EXRULE")):
        raise ValueError(f"it is one rule, and {_ELSEWHERE}")
    parts: dict[str, str] = {}
    for pair in text.strip(";").split(";"):
        name, equal, value = (piece.strip() for piece in pair.partition("="))
        if not equal or not value:
            raise ValueError(f"its part {pair!r} is not NAME=VALUE")
        if name in parts:
            raise ValueError(f"it has {name} twice")
        wanted = _wanted(name, value)
        if wanted:
            raise ValueError(f"its {name} is {value!r}, not {wanted}")
        parts[name] = value
    if "FREQ" not in parts:
        raise ValueError(f"it has no FREQ, which is one of {', '.join(FREQUENCIES)}")
    if "COUNT" in parts and "UNTIL" in parts:
        raise ValueError("it has both COUNT and UNTIL")
    _together(parts)
    return parts


def _together(parts: dict[str, str]) -> None:
    """Raise ValueError for parts that do not go with the frequency (RFC 5545, 3.3.10)."""
    frequency = parts["FREQ"]
    if frequency not in ("MONTHLY", "YEARLY") and any(
        term not in WEEKDAYS for term in parts.get("BYDAY", "MO").split(",")
    ):
        raise ValueError(f"its BYDAY is {parts['BYDAY']!r}; the n-th weekday goes with FREQ=MONTHLY or FREQ=YEARLY")
    if frequency == "WEEKLY" and "BYMONTHDAY" in parts:
        raise ValueError("BYMONTHDAY does not go with FREQ=WEEKLY; write FREQ=DAILY or FREQ=MONTHLY")
    if "BYWEEKNO" in parts and frequency != "YEARLY":
        raise ValueError(f"BYWEEKNO goes with FREQ=YEARLY, not with FREQ={frequency}")
    if "BYYEARDAY" in parts and frequency in ("DAILY", "WEEKLY", "MONTHLY"):
        raise ValueError(f"BYYEARDAY does not go with FREQ={frequency}; write FREQ=YEARLY")


def until_of(text: str, zone: tzinfo) -> datetime:
    """UNTIL as a wall: the last second of a day; a point in time in UTC as the zone shows it."""
    found = _date(text)
    assert found is not None  # it was checked
    if len(text) == 8:
        return found + timedelta(days=1) - timedelta(seconds=1)
    if text.endswith("Z"):
        return found.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None, fold=0)
    return found


def _wanted(name: str, value: str) -> str:
    """What the value of a part has to be, if it is something else."""
    if name == "FREQ":
        return "" if value in FREQUENCIES else f"one of {', '.join(FREQUENCIES)}"
    if name == "WKST":
        return "" if value in WEEKDAYS else f"one of {', '.join(WEEKDAYS)}"
    if name == "BYDAY":
        good = all(term[-2:] in WEEKDAYS and _is_ordinal(term[:-2]) for term in value.split(","))
        return "" if good else "weekdays such as MO,TU or -1FR (the last Friday)"
    if name == "UNTIL":
        return "" if _date(value) is not None else "a date such as 20261231 or 20261231T235959Z"
    if name not in _NUMBERS:
        known = ("FREQ", *_NUMBERS, "BYDAY", "UNTIL", "WKST")
        raise ValueError(f"there is no part {name!r}; the parts are {', '.join(known)}")
    low, high = _NUMBERS[name]
    terms = [value] if name in _ONE else value.split(",")
    if all(_is_number(term, low, high) and (int(term) or name in _WITH_ZERO) for term in terms):
        return ""
    return f"{low} to {high}" + ("" if low >= 0 or name in _WITH_ZERO else " without 0")


def _is_number(text: str, low: int, high: int) -> bool:
    digits = text[1:] if text[:1] in ("-", "+") else text
    return digits.isascii() and digits.isdigit() and len(digits) < 9 and low <= int(text) <= high


def _is_ordinal(text: str) -> bool:
    return text == "" or (_is_number(text, -53, 53) and int(text) != 0)


def _date(text: str) -> datetime | None:
    for form in ("%Y%m%d", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ"):
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007  its zone is seen to by `until_of`
        except ValueError:
            continue
    return None
