"""Answers that are calculations: a model writes which numbers to put together how, and the arithmetic is done here.

Small language models find the right numbers in a text far more often than they add, subtract and divide them rightly,
so they are taught to answer `= (44.1-56.7)/56.7*100 percent`, which is read as `-22.22 percent` (as in program-aided
answers: Gao et al. 2022, arXiv:2211.10435; the derivations of TAT-QA: Zhu et al. 2021, arXiv:2105.07624).
"""

import re

SIGN = "="
"""What an answer that is a calculation begins with."""
DECIMALS = 2
LONGEST = 400
"""Characters of a calculation; a longer one is not read."""

_TOKEN = re.compile(r"[\s$£€]*(?:(\d[\d,]*(?:\.\d+)?|\.\d+)(%?)|([-+*/()\[\]\u2212\u2013\u00d7\u00f7]))")
_MEANT = {"\u2212": "-", "\u2013": "-", "\u00d7": "*", "\u00f7": "/", "[": "(", "]": ")"}
_OPERATION = re.compile(r"[\d)\]%]\s*[-+*/\u2212\u2013\u00d7\u00f7]")
_SCALE = re.compile(r"[a-z]+")


class _Unreadable(Exception):
    pass


def calculate(expression: str) -> float | None:
    """The value of numbers under + - * / and parentheses; None for anything else, and for a division by zero.

    Numbers may have thousands separators and a currency sign; `5%` is 0.05. Nothing is evaluated but this grammar.
    """
    if len(expression) > LONGEST:
        return None
    try:
        reader = _Reader(_tokens(expression))
        value = reader.sum()
        reader.end()
    except (_Unreadable, ZeroDivisionError, OverflowError):
        return None
    return value


def done(answer: str) -> str:
    """The answer with its calculation done: `= (3-2)/2*100 percent` is `50 percent`.

    An answer that does not begin with `=`, or whose calculation cannot be read, stays as it is.
    """
    text = answer.strip()
    if not text.startswith(SIGN):
        return answer
    body = text.removeprefix(SIGN).strip()
    expression, _, unit = body.rpartition(" ")
    if not _SCALE.fullmatch(unit):
        expression, unit = body, ""
    value = calculate(expression)
    return answer if value is None else f"{plain(value)} {unit}".rstrip()


def plain(value: float) -> str:
    """A number to two decimals, without zeros at its end."""
    text = f"{value:.{DECIMALS}f}"
    text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def derived(expression: str, value: float) -> str:
    """The calculation that gives `value`, to two decimals: the expression, or its hundredfold; empty if neither does.

    The second is for percentages, whose derivations are written as shares.
    """
    found = calculate(expression)
    if found is None or not _OPERATION.search(expression):
        return ""
    compact = "".join(expression.split())
    for factor, written in ((1, compact), (100, f"{compact}*100" if _is_product(compact) else f"({compact})*100")):
        if abs(found * factor - value) < 0.0051:
            return written
    return ""


def _is_product(expression: str) -> bool:
    """Whether the whole can be multiplied by writing a factor after it: no sum outside of parentheses."""
    depth = 0
    for place, sign in enumerate(expression):
        depth += (sign in "([") - (sign in ")]")
        if place and not depth and sign in "+-\u2212\u2013":
            return False
    return True


def _tokens(text: str) -> list[float | str]:
    found: list[float | str] = []
    place = 0
    text = text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise _Unreadable
        number, percent, sign = match.groups()
        if sign:
            found.append(_MEANT.get(sign, sign))
        else:
            found.append(float(number.replace(",", "")) / (100 if percent else 1))
        place = match.end()
    return found


class _Reader:
    """Reads a sum of products of factors, from left to right."""

    def __init__(self, tokens: list[float | str]) -> None:
        self._tokens = tokens
        self._place = 0

    def _next(self, *wanted: str) -> str:
        token = self._tokens[self._place] if self._place < len(self._tokens) else ""
        if isinstance(token, str) and token in wanted:
            self._place += 1
            return token
        return ""

    def sum(self) -> float:
        value = self._product()
        while sign := self._next("+", "-"):
            value += self._product() if sign == "+" else -self._product()
        return value

    def _product(self) -> float:
        value = self._factor()
        while sign := self._next("*", "/"):
            value = value * self._factor() if sign == "*" else value / self._factor()
        return value

    def _factor(self) -> float:
        if sign := self._next("-", "+"):
            return -self._factor() if sign == "-" else self._factor()
        if self._next("("):
            value = self.sum()
            if not self._next(")"):
                raise _Unreadable
            return value
        token = self._tokens[self._place] if self._place < len(self._tokens) else ""
        if isinstance(token, str):
            raise _Unreadable
        self._place += 1
        return token

    def end(self) -> None:
        if self._place < len(self._tokens):
            raise _Unreadable
