-- only: mysql
CREATE TABLE t (id INT PRIMARY KEY, c JSON);
-- lode: start
INSERT INTO t VALUES (1, '{"a": 1, "b": "a long enough text, so that a part of it is worth it"}');
SET SESSION binlog_row_value_options = 'PARTIAL_JSON';
UPDATE t SET c = JSON_SET(c, '$.a', 2);
