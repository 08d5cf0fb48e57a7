"""Characters that people copy by hand: Crockford's base32, in which no two are taken for each other.

https://www.crockford.com/base32.html: the digits and the capitals without I, L, O and U; capitals do not matter, O is
read as 0, and I and L as 1. How the characters are grouped does not matter either.
"""

from roost.core.errors import UsageError

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
BITS = 5
COPY_HINT = "copy all that roost start printed; capitals do not matter, O is 0, and I and L are 1"

_FORGIVEN = str.maketrans({"O": "0", "I": "1", "L": "1"})
_BETWEEN = frozenset("-_.\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}\N{NON-BREAKING HYPHEN}")


def read(text: str, *, what: str, characters: int) -> str:
    """The `characters` in `text`, in capitals and ungrouped. UsageError, which never repeats the text, when it has
    others or another number of them; `what` is meant, such as "join code"."""
    kept = "".join(c for c in text if not c.isspace() and c not in _BETWEEN).upper().translate(_FORGIVEN)
    strange = sorted(set(kept) - set(ALPHABET))
    if strange:
        raise UsageError(f"{strange[0]!a} stands in no {what}", hint=COPY_HINT)
    if len(kept) != characters:
        raise UsageError(f"a {what} has {characters} letters and digits, not {len(kept)}", hint=COPY_HINT)
    return kept


def number(characters: str) -> int:
    """The number that `characters`, as `read` returns them, are in base 32."""
    found = 0
    for character in characters:
        found = (found << BITS) + ALPHABET.index(character)
    return found


def written(value: int, characters: int) -> str:
    """`value` in so many characters."""
    return "".join(ALPHABET[value >> BITS * place & 31] for place in reversed(range(characters)))


def grouped(characters: str, size: int) -> str:
    """The characters in groups of `size`, with a hyphen between."""
    return "-".join(characters[begin : begin + size] for begin in range(0, len(characters), size))
