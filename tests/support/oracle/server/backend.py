"""seerdb's PostgreSQL backend, held to Oracle's rules."""

import re

import rules
from seerdb.server.backend import BackendError
from seerdb.server.backends import postgres

# A character column in the definition of a table: its length and whether it counts characters.
_TEXT_DECLARED = re.compile(r'\s*(?:VARCHAR2?|CHAR)\s*\(\s*(\d+)\s*(CHAR|BYTE)?\s*\)', re.IGNORECASE)
_UTF8_BYTES_MAX = 4
_DDL = {'ALTER', 'COMMENT', 'CREATE', 'DROP', 'GRANT', 'RENAME', 'REVOKE', 'TRUNCATE'}

_with_raw_length_checks = postgres._with_raw_length_checks


class OracleRules(postgres.PostgresBackend):
    """A session's backend. One that presents a release before 12.2 has names of 30 bytes."""

    def execute(self, sql, binds=()):
        found = self._examined(sql, [binds])
        if found.verb in _DDL and not found.sets_session:
            # It commits what was done before even if it fails; seerdb commits after one that succeeds.
            self.commit()
        if found.wait_s is not None:
            return self._execute_waiting(found, binds)
        return super().execute(found.sql, binds)

    def _execute_waiting(self, found, binds):
        """A SELECT ... FOR UPDATE WAIT: PostgreSQL has such a time per transaction, not per statement."""
        self._conn.execute(f"SET LOCAL lock_timeout = '{found.wait_s}s'")
        try:
            return super().execute(found.sql, binds)
        except BackendError as error:
            if error.ora_code == 54:
                raise BackendError(
                    'resource busy; acquire with WAIT timeout expired', ora_code=30006
                ) from error
            raise
        finally:
            if not self._conn.closed:
                self._conn.execute('SET LOCAL lock_timeout = 0')

    def execute_many(self, sql, rows):
        return super().execute_many(self._examined(sql, rows).sql, rows)

    def execute_many_rowcounts(self, sql, rows, *args, **options):
        return super().execute_many_rowcounts(self._examined(sql, rows).sql, rows, *args, **options)

    def _examined(self, sql, rows):
        found = rules.examined(sql, 30 if self._release < (12, 2) else 128)
        rules.check_binds(found.verb, rows)
        return found

    def _record_quoted_names(self, statement):
        """Nothing: a quoted name of small letters stands for one of capitals, see `names`."""


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
        shown = [postgres._oracle_identifier_text(part).replace("'", "''") for part in (table.split('.')[-1], column)]
        check = (
            f'CONSTRAINT {_check_name(column)} CHECK (CASE WHEN octet_length({column}) > {length} THEN '
            f"sys.text_too_large({column}, {length}, '{shown[0]}', '{shown[1]}') ELSE true END)"
        )
        stop = end
        while stop > start and sql[stop - 1].isspace():
            stop -= 1
        sql = f'{sql[:stop]} {check}{sql[stop:]}'
    return sql


def _check_name(column: str) -> str:
    return postgres._raw_check_name(column).replace('ora_raw_len_', 'ora_text_len_')


def _database_gone():
    """What a client of Oracle is told when the database behind its session has crashed."""
    return BackendError('end-of-file on communication channel', ora_code=3113)


postgres._SQLSTATE_TO_ORA |= {'40P01': 60, '42701': 957}
postgres._ORA_MESSAGE |= {60: 'deadlock detected while waiting for resource', 957: 'duplicate column name'}
postgres._with_raw_length_checks = _with_length_checks
postgres._session_terminated = _database_gone
