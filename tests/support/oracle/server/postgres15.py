"""Fits seerdb's set-up statements, written for PostgreSQL 16 and orafce 4.17, to PostgreSQL 15 and orafce 4.1, and adds
what the rules and the dictionary need."""

from seerdb.server.backends import postgres

# `IS JSON` came with PostgreSQL 16.
_IS_JSON = """
CREATE SCHEMA IF NOT EXISTS sys;
CREATE OR REPLACE FUNCTION sys.pg15_is_json(value text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $body$
BEGIN
  IF value IS NULL THEN RETURN NULL; END IF;
  PERFORM value::json;
  RETURN true;
EXCEPTION WHEN others THEN RETURN false;
END $body$;
CREATE OR REPLACE FUNCTION sys.pg15_is_json(value bytea) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $body$
BEGIN
  RETURN sys.pg15_is_json(convert_from(value, 'UTF8'));
EXCEPTION WHEN others THEN RETURN false;
END $body$;
"""

# What the checks of character columns call for a value of too many bytes. seerdb takes the number from such a message.
_TEXT_TOO_LARGE = """
CREATE OR REPLACE FUNCTION sys.text_too_large(value text, bytes integer, tab text, col text)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $body$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'P0001', MESSAGE = format(
    'ORA-12899: value too large for column "%s"."%s"."%s" (actual: %s, maximum: %s)',
    upper(current_schema()), tab, col, octet_length(value), bytes);
END $body$;
"""


# Views of the dictionary that seerdb does not have, or that orafce has with PostgreSQL's versions.
_VIEWS = """
CREATE OR REPLACE VIEW sys.user_tab_comments AS
  SELECT table_name, table_type, comments FROM sys.all_tab_comments WHERE owner = sys.ora_owner(current_schema());
CREATE OR REPLACE VIEW sys.user_col_comments AS
  SELECT table_name, column_name, comments FROM sys.all_col_comments WHERE owner = sys.ora_owner(current_schema());
CREATE OR REPLACE VIEW sys.product_component_version AS
  SELECT 'Oracle Database (stand-in)'::varchar AS product, current_setting('seerdb.release')::varchar AS version,
    current_setting('seerdb.release')::varchar AS version_full, 'Production'::varchar AS status;
"""


def adapt() -> None:
    """Changes seerdb's statements; call it before a backend is made."""
    old = postgres._HELPER_FUNCTIONS_DDL
    new = old.replace('ELSE $1 IS JSON END', 'ELSE sys.pg15_is_json($1) END')
    if new == old:
        raise SystemExit('seerdb no longer asks for IS JSON: another version than the one this was written for')
    postgres._HELPER_FUNCTIONS_DDL = _IS_JSON + _TEXT_TOO_LARGE + new
    postgres._ORACLE_DICTIONARY_DDL += _VIEWS
    # A setting that this orafce does not know; any two-part name may be set.
    unknown, harmless = 'SET orafce.oracle_compatibility_date_limit', 'SET seerdb.oracle_compatibility_date_limit'
    for name, value in list(vars(postgres).items()):
        if isinstance(value, str) and unknown in value:
            setattr(postgres, name, value.replace(unknown, harmless))
