"""An Oracle-like server for tests: Oracle's network protocol in front of a private PostgreSQL 15 with orafce.

The protocol and most of the SQL translation are seerdb's. What is added here makes it run on Debian's PostgreSQL 15 and
orafce (`postgres15`), lets thin clients log in as on a current server (`login`), keeps Oracle's names (`names`), and
holds statements to rules of Oracle that PostgreSQL does not have (`rules`, `backend`).

    python tests/support/oracle/server -c FILE.ini

The file is seerdb's: [server] host and port, [clients] user = password, [backend] type, conninfo, presents.
"""

import sys

import login
import names
import postgres15

postgres15.adapt()
names.adapt()
login.offer_sha512()

from backend import OracleRules  # noqa: E402  (the adaptions come first)
from seerdb.server.backends import postgres  # noqa: E402
from seerdb.server.launcher import main  # noqa: E402

postgres.PostgresBackend = OracleRules
sys.exit(main())
