"""Rules of Oracle that PostgreSQL does not have, each with the error that Oracle gives.

`examined` looks at a statement's text, `check_binds` at the values that come with it. The rules are those that a program
which writes to Oracle runs into; they follow the SQL Language Reference and the Error Messages guide.
"""

import functools
import re
from typing import NamedTuple

import names
from seerdb.server.backend import BackendError

# Names of PostgreSQL end here; a longer one would be cut silently.
POSTGRES_NAME_BYTES = 63
# Standard-sized types (MAX_STRING_SIZE = STANDARD).
VARCHAR2_BYTES, RAW_BYTES = 4000, 2000
_SIZE_LIMITS = {'VARCHAR2': 4000, 'VARCHAR': 4000, 'CHAR': 2000, 'NVARCHAR2': 2000, 'NCHAR': 1000, 'RAW': 2000}
_COLUMNS_MAX = 1000
_LOBS = {'CLOB', 'NCLOB', 'BLOB', 'BFILE', 'LONG'}
_TYPES = _LOBS | set(_SIZE_LIMITS) | set(
    'NUMBER FLOAT REAL DOUBLE INTEGER INT SMALLINT DECIMAL DEC NUMERIC BINARY_FLOAT BINARY_DOUBLE DATE TIMESTAMP '
    'INTERVAL ROWID UROWID XMLTYPE JSON CHARACTER NATIONAL BOOLEAN'.split()
)
# V$RESERVED_WORDS where RESERVED = 'Y', as far as they are words.
RESERVED = frozenset(
    """ACCESS ADD ALL ALTER AND ANY AS ASC AUDIT BETWEEN BY CHAR CHECK CLUSTER COLUMN COLUMN_VALUE COMMENT COMPRESS
    CONNECT CREATE CURRENT DATE DECIMAL DEFAULT DELETE DESC DISTINCT DROP ELSE EXCLUSIVE EXISTS FILE FLOAT FOR FROM GRANT
    GROUP HAVING IDENTIFIED IMMEDIATE IN INCREMENT INDEX INITIAL INSERT INTEGER INTERSECT INTO IS LEVEL LIKE LOCK LONG
    MAXEXTENTS MINUS MLSLABEL MODE MODIFY NESTED_TABLE_ID NOAUDIT NOCOMPRESS NOT NOWAIT NULL NUMBER OF OFFLINE ON ONLINE
    OPTION OR ORDER PCTFREE PRIOR PUBLIC RAW RENAME RESOURCE REVOKE ROW ROWID ROWNUM ROWS SELECT SESSION SET SHARE SIZE
    SMALLINT START SUCCESSFUL SYNONYM SYSDATE TABLE THEN TO TRIGGER UID UNION UNIQUE UPDATE USER VALIDATE VALUES VARCHAR
    VARCHAR2 VIEW WHENEVER WHERE WITH""".split()
)
_TABLE_CONSTRAINTS = {'CONSTRAINT', 'PRIMARY', 'UNIQUE', 'CHECK', 'FOREIGN', 'SUPPLEMENTAL', 'REF'}

_TOKEN = re.compile(
    r"""(?P<text>[nN]?'(?:[^']|'')*')|(?P<quoted>"[^"]*")|(?P<comment>--[^\n]*|/\*.*?\*/)"""
    r"""|(?P<word>[^\W\d][\w$#]*)|(?P<number>\d+(?:\.\d+)?)|(?P<bind>:\s*\w+)|(?P<mark>\S)""",
    re.DOTALL,
)




class Token(NamedTuple):
    """A piece of a statement; a word is in upper case, a quoted name without its quotes."""

    kind: str
    text: str
    start: int
    end: int

    def is_name(self) -> bool:
        return self.kind in ('word', 'quoted')


class Examined(NamedTuple):
    """A statement that broke no rule, as it goes on to the translation."""

    sql: str
    verb: str
    sets_session: bool
    # How long a SELECT ... FOR UPDATE waits for its rows, if it says so.
    wait_s: int | None


def refuse(code: int, message: str) -> None:
    raise BackendError(message, ora_code=code)


@functools.lru_cache(maxsize=512)
def examined(sql: str, name_bytes: int) -> Examined:
    """Holds a statement's text to the rules; names may have `name_bytes`, 30 before release 12.2 and 128 since."""
    tokens = _tokens(sql)
    words = [token.text for token in tokens[:4] if token.kind == 'word']
    verb = words[0] if words else ''
    if verb not in ('BEGIN', 'DECLARE'):
        _check_names(tokens, name_bytes)
    if verb in ('CREATE', 'ALTER') and 'TABLE' in words:
        _check_columns(tokens)
    wait_s = None
    if verb == 'SELECT' and [token.text for token in tokens[-4:-1]] == ['FOR', 'UPDATE', 'WAIT']:
        wait_s = int(tokens[-1].text)
        sql, tokens = sql[: tokens[-2].start], tokens[:-2]
    changes = [*_folded(tokens), *_empty_values(verb, tokens)]
    if verb == 'MERGE':
        changes += _check_merge(tokens)
    # From the end on, so that the places of the others stay right; an alias that is dropped needs no small letters.
    for start, (end, text) in sorted({token.start: (token.end, text) for token, text in changes}.items(), reverse=True):
        sql = sql[:start] + text + sql[end:]
    return Examined(sql, verb, words[:2] == ['ALTER', 'SESSION'], wait_s)


def check_binds(verb: str, rows) -> None:
    """A long value may only be inserted or assigned: in a MERGE or a condition it is a LONG in the wrong place."""
    if verb not in ('MERGE', 'DELETE', 'SELECT'):
        return
    for number, row in enumerate(rows):
        for value in row:
            value = getattr(value, 'value', value)
            if isinstance(value, str):
                long = len(value) * 4 > VARCHAR2_BYTES and len(value.encode()) > VARCHAR2_BYTES
            else:
                long = isinstance(value, (bytes, bytearray)) and len(value) > VARCHAR2_BYTES
            if long:
                raise BackendError(
                    'can bind a LONG value only for insert into a LONG column', ora_code=1461, rowcount=number
                )


def _tokens(sql: str) -> list[Token]:
    found = []
    for match in _TOKEN.finditer(sql):
        kind, text = match.lastgroup, match.group()
        if kind == 'comment':
            continue
        if kind == 'word':
            text = text.upper()
        elif kind == 'quoted':
            text = text[1:-1]
        found.append(Token(kind, text, match.start(), match.end()))
    return found


def _check_names(tokens: list[Token], name_bytes: int) -> None:
    for token in tokens:
        if not token.is_name():
            continue
        size = len(token.text.encode())
        if size == 0:
            refuse(1741, 'illegal zero-length identifier')
        if size > name_bytes:
            refuse(972, f'identifier {token.text[:name_bytes]}... is too long')
        if size > POSTGRES_NAME_BYTES:
            refuse(3001, f'unimplemented feature: the stand-in has no names over {POSTGRES_NAME_BYTES} bytes')


def _folded(tokens: list[Token]) -> list[tuple[Token, str]]:
    """Quoted names as PostgreSQL gets them."""
    quoted = (token for token in tokens if token.kind == 'quoted')
    return [(token, f'"{names.folded(token.text)}"') for token in quoted]


def _empty_values(verb: str, tokens: list[Token]) -> list[tuple[Token, str]]:
    """Empty literals that are a column's value or compared with one: Oracle has no empty string. Binds have none either."""
    if verb not in ('INSERT', 'UPDATE', 'MERGE', 'DELETE', 'SELECT'):
        return []
    found = []
    depth, values = 0, None
    for at, token in enumerate(tokens):
        before = tokens[at - 1].text if at > 0 else ''
        if token.kind == 'word' and token.text == 'VALUES':
            values = depth + 1
        elif token.kind == 'mark':
            depth += (token.text == '(') - (token.text == ')')
        elif token.text == "''" and token.kind == 'text':
            is_value = depth == values and before in ('(', ',') and tokens[at + 1].text in (')', ',')
            if is_value or before in ('=', '>', '<'):
                found.append((token, 'NULL'))
    return found


def _check_columns(tokens: list[Token]) -> None:
    kinds: dict[str, str] = {}
    keys: list[str] = []
    for item in _definitions(tokens):
        first = item[0]
        if first.kind == 'word' and first.text in _TABLE_CONSTRAINTS:
            keys += _key_columns(item)
        elif first.is_name():
            if first.text in kinds:
                refuse(957, f'"{first.text}": duplicate column name')
            if first.kind == 'word' and first.text in RESERVED:
                refuse(904, f'"{first.text}": invalid identifier')
            if first.kind == 'quoted' and names.FOLDED.fullmatch(first.text):
                refuse(3001, f'unimplemented feature: the stand-in has no column "{first.text}" beside {first.text.upper()}')
            kinds[first.text] = _column_type(item)
            if any(token.kind == 'word' and token.text in ('PRIMARY', 'UNIQUE') for token in item[1:]):
                keys.append(first.text)
    if len(kinds) > _COLUMNS_MAX:
        refuse(1792, f'maximum number of columns in a table or view is {_COLUMNS_MAX}')
    for column in keys:
        kind = kinds.get(column, '')
        if kind in _LOBS:
            refuse(2329, 'column of datatype LOB cannot be unique or a primary key')
        if kind == 'TIMESTAMP WITH TIME ZONE':
            refuse(2329, 'column of datatype TIME/TIMESTAMP WITH TIME ZONE cannot be unique or a primary key')


def _definitions(tokens: list[Token]) -> list[list[Token]]:
    """What stands between the commas of the first parentheses."""
    items: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if token.text == '(' and token.kind == 'mark':
            depth += 1
            if depth == 1:
                continue
        elif token.text == ')' and token.kind == 'mark':
            depth -= 1
            if depth == 0:
                break
        elif token.text == ',' and depth == 1:
            items.append([])
            continue
        if depth > 0:
            items[-1].append(token)
    return [item for item in items if item]


def _key_columns(item: list[Token]) -> list[str]:
    words = [token.text for token in item if token.kind == 'word']
    if 'PRIMARY' not in words and 'UNIQUE' not in words:
        return []
    return [column[0].text for column in _definitions(item)]


def _column_type(item: list[Token]) -> str:
    """The type's name in a column's definition, after its sizes were checked."""
    if len(item) < 2:
        refuse(2263, 'need to specify the datatype for this column')
    name, sizes = item[1], item[2:]
    if name.kind != 'word' or name.text not in _TYPES:
        refuse(902, 'invalid datatype')
    bracketed = len(sizes) > 1 and sizes[0].text == '('
    size = sizes[1].text if bracketed else None
    number = int(size) if size is not None and size.isdigit() else None
    if name.text in _SIZE_LIMITS:
        if number is None and name.text not in ('CHAR', 'NCHAR'):
            refuse(906, 'missing left parenthesis')
        if number == 0:
            refuse(1723, 'zero-length columns are not allowed')
        if number is not None and number > _SIZE_LIMITS[name.text]:
            refuse(910, 'specified length too long for its datatype')
    elif name.text == 'NUMBER' and bracketed:
        if size != '*' and not 1 <= (number or 0) <= 38:
            refuse(1727, 'numeric precision specifier is out of range (1 to 38)')
        if len(sizes) > 4 and sizes[2].text == ',':
            negative = sizes[3].text == '-'
            scale = sizes[4 if negative else 3].text
            if not scale.isdigit() or not -84 <= int(scale) * (-1 if negative else 1) <= 127:
                refuse(1728, 'numeric scale specifier is out of range (-84 to 127)')
    elif name.text in ('TIMESTAMP', 'INTERVAL'):
        for at, token in enumerate(sizes[:-1]):
            if token.text == '(' and sizes[at + 1].text.isdigit() and int(sizes[at + 1].text) > 9:
                refuse(30088, 'datetime/interval precision is out of range')
        words = [token.text for token in sizes if token.kind == 'word']
        if words[:3] == ['WITH', 'TIME', 'ZONE']:
            return 'TIMESTAMP WITH TIME ZONE'
    return name.text


def _check_merge(tokens: list[Token]) -> list[tuple[Token, str]]:
    """Columns of the ON clause may not be updated. Gives the target's alias before assigned columns, to be dropped: Oracle
    allows `SET t.c = s.c`, PostgreSQL does not.
    """
    words = [token.text if token.kind in ('word', 'mark') else '' for token in tokens]
    using = words.index('USING') if 'USING' in words else 0
    target = tokens[using - 1].text if using > 0 else ''
    joined = set()
    if 'ON' in words[using:]:
        at = words.index('ON', using)
        until = words.index('WHEN', at) if 'WHEN' in words[at:] else len(words)
        joined = {tokens[n + 2].text for n in range(at, until - 2) if _qualified(tokens, n, target)}
    drop = []
    if 'SET' in words:
        at = words.index('SET') + 1
        depth, assigned = 0, True
        while at < len(tokens) and not (depth == 0 and words[at] in ('WHEN', 'WHERE')):
            if words[at] == '(':
                depth += 1
            elif words[at] == ')':
                depth -= 1
            elif words[at] == ',' and depth == 0:
                assigned = True
            elif assigned and tokens[at].is_name():
                qualified = at + 2 < len(tokens) and _qualified(tokens, at, target)
                column = tokens[at + 2 if qualified else at].text
                if column in joined:
                    refuse(38104, f'Columns referenced in the ON Clause cannot be updated: "{target}"."{column}"')
                if qualified:
                    # The alias and the dot.
                    drop += [(tokens[at], ''), (tokens[at + 1], '')]
                assigned = False
            at += 1
    return drop


def _qualified(tokens: list[Token], at: int, qualifier: str) -> bool:
    """Whether `qualifier.name` stands there."""
    owner, dot, name = tokens[at : at + 3]
    return owner.is_name() and owner.text == qualifier and dot.text == '.' and name.is_name()
