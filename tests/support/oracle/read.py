"""Reads an Oracle server's rows for tests, with Oracle's own thin driver for Python: a client that shares no code with
lode or with the stand-in for the client library.

Takes a line of JSON per request on its input, {"dsn", "user", "password", "sql"}, and answers with a line each:
{"rows": [[text or null, ...], ...]} or {"error": text}. Changes are committed.
"""

import datetime
import json
import sys

import oracledb


def main() -> None:
    oracledb.defaults.fetch_lobs = False
    for line in sys.stdin:
        try:
            answer = {'rows': rows(**json.loads(line))}
        except oracledb.Error as error:
            answer = {'error': str(error)}
        print(json.dumps(answer), flush=True)


def rows(dsn: str, user: str, password: str, sql: str) -> list[list[str | None]]:
    # A session of its own, so that nothing is left of an earlier one's transaction or of a server that was killed.
    with oracledb.connect(dsn=dsn, user=user, password=password) as connection, connection.cursor() as cursor:
        cursor.outputtypehandler = exact
        cursor.execute(sql)
        found = [[text(value) for value in row] for row in cursor] if cursor.description else []
        connection.commit()
    return found


def exact(cursor, column):
    """NUMBER as text: a float of Python does not hold 38 digits."""
    if column.type_code is oracledb.DB_TYPE_NUMBER:
        return cursor.var(str, arraysize=cursor.arraysize)
    return None


def text(value) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.hex().upper()
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return interval(value)
    return repr(value)


def interval(value: datetime.timedelta) -> str:
    """As Oracle writes it: +34 22:59:59.000000."""
    sign, value = ('-', -value) if value < datetime.timedelta() else ('+', value)
    hours, seconds = divmod(value.seconds, 3600)
    return f'{sign}{value.days:02} {hours:02}:{seconds // 60:02}:{seconds % 60:02}.{value.microseconds:06}'


main()
