"""`UserError` is the exception that users are meant to read; two functions help to word its message."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake outside the code (config, data, environment); its one-line message says what is wrong, where and what to do."""


def one_line(text: object) -> str:
    """Return the text as one line: line breaks become spaces, and other control characters become question marks."""
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "?" for letter in str(text))


def did_you_mean(name: object, valid: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the valid name nearest to `name`, else the list of valid names."""
    valid = list(valid)
    near = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.65)
    if near:
        return f" (did you mean {near[0]!r}?)"
    return f" (valid: {', '.join(valid)})" if valid else ""
