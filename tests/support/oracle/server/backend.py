"""seerdb's PostgreSQL backend, held to Oracle's rules."""

import re

import rules
from seerdb.server.backends import postgres

# A character column in the definition of a table: its length and whether it counts characters.
_TEXT_DECLARED = re.compile(r'\s*(?:VARCHAR2?|CHAR)\s*\(\s*(\d+)\s*(CHAR|BYTE)?\s*\)', re.IGNORECASE)
_UTF8_BYTES_MAX = 4

_with_raw_length_checks = postgres._with_raw_length_checks


class OracleRules(postgres.PostgresBackend):
    """A session's backend. One that presents a release before 12.2 has names of 30 bytes."""

    def _examined(self, sql, rows):
        found = rules.examined(sql, 30 if self._release < (12, 2) else 128)
        rules.check_binds(found.verb, rows)
        return found.sql

    def execute(self, sql, binds=()):
        return super().execute(self._examined(sql, [binds]), binds)

    def execute_many(self, sql, rows):
        return super().execute_many(self._examined(sql, rows), rows)

    def execute_many_rowcounts(self, sql, rows, *args, **options):
        return super().execute_many_rowcounts(self._examined(sql, rows), rows, *args, **options)


def _with_length_checks(sql: str) -> str:
    """A CREATE TABLE with a check for every character column: PostgreSQL counts characters, Oracle bytes.

    VARCHAR2(n) holds n bytes, VARCHAR2(n CHAR) n characters and never more than 4000 bytes.
    """
    sql = _with_raw_length_checks(sql)
    parsed = postgres._ddl_column_spans(sql)
    if parsed is None:
        return sql
    table, spans, _modify = parsed
    for start, end in sorted(spans, reverse=True):
        name = postgres._COLUMN_NAME.match(sql, start, end)
        declared = name and _TEXT_DECLARED.match(sql, name.end(), end)
        if not declared:
            continue
        length, counted = int(declared.group(1)), (declared.group(2) or 'BYTE').upper()
        if counted == 'CHAR':
            if length * _UTF8_BYTES_MAX <= rules.VARCHAR2_BYTES:
                continue
            length = rules.VARCHAR2_BYTES
        column = name.group(1)
        owner = [postgres._oracle_identifier_text(part).replace("'", "''") for part in (table.split('.')[-1], column)]
        check = (
            f'CONSTRAINT {_check_name(column)} CHECK (coalesce(octet_length({column}), 0) <= {length} OR '
            f"sys.text_too_large({column}, {length}, '{owner[0]}', '{owner[1]}'))"
        )
        stop = end
        while stop > start and sql[stop - 1].isspace():
            stop -= 1
        sql = f'{sql[:stop]} {check}{sql[stop:]}'
    return sql


def _check_name(column: str) -> str:
    return postgres._raw_check_name(column).replace('ora_raw_len_', 'ora_text_len_')


postgres._with_raw_length_checks = _with_length_checks
