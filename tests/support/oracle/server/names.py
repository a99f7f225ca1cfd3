"""How names of Oracle become names of PostgreSQL.

Oracle folds a name without quotes to capitals, PostgreSQL to small letters, and "ORDERS" is the same as orders in Oracle
only. Here every name of capitals goes to PostgreSQL in small letters, with or without quotes, and a name of small letters
comes back in capitals. Other quoted names stay as they are; those of small letters only have no place of their own.

seerdb leaves quoted names as they are, and reserved words too, which are only names with quotes.
"""

import re

from seerdb.server.backends import postgres

FOLDED = re.compile(r'[a-z][a-z0-9_$#]*')
_CAPITALS = re.compile(r'[A-Z][A-Z0-9_$#]*')
_QUOTED = re.compile(r'"[^"]*"')
_UNLESS_RESERVED = re.compile(r" AND upper\(\$1\) <> ALL \(ARRAY\[[^\]]*'VARCHAR2'[^\]]*\]\)")

_translate_column_types = postgres._translate_column_types
_identifier_text = postgres._oracle_identifier_text


def folded(name: str) -> str:
    """A quoted name as PostgreSQL gets it."""
    return name.lower() if _CAPITALS.fullmatch(name) else name


def adapt() -> None:
    """Makes seerdb's dictionary, descriptions and messages show folded names in capitals."""
    changed = 0
    for constant, value in list(vars(postgres).items()):
        if isinstance(value, str) and _UNLESS_RESERVED.search(value):
            setattr(postgres, constant, _UNLESS_RESERVED.sub('', value))
            changed += 1
    if not changed:
        raise SystemExit('seerdb names columns in another way than the version that this was written for')
    postgres._oracle_column_name = _in_capitals
    postgres._oracle_identifier_text = lambda name: _in_capitals(_identifier_text(name))
    postgres._translate_column_types = _with_names_apart


def _in_capitals(name: str) -> str:
    return name.upper() if FOLDED.fullmatch(name) else name


def _with_names_apart(text: str) -> str:
    """seerdb's translation of column types, which takes a quoted name such as "DATE" for a type."""
    names = _QUOTED.findall(text)
    numbers = iter(range(len(names)))
    masked = _translate_column_types(_QUOTED.sub(lambda _: f'"\x01{next(numbers)}\x01"', text))
    return re.sub('"\x01(\\d+)\x01"', lambda number: names[int(number.group(1))], masked)
