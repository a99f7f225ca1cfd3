-- only: mysql
CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v MEDIUMTEXT);
-- lode: start
SET SESSION binlog_transaction_compression = ON;
INSERT INTO t (v) VALUES (REPEAT('a', 100000)), ('b');
INSERT INTO t (v) SELECT v FROM t;
INSERT INTO t (v) SELECT v FROM t;
BEGIN;
UPDATE t SET v = 'short' WHERE id = 1;
DELETE FROM t WHERE id = 2;
COMMIT;
SET SESSION binlog_transaction_compression = OFF;
INSERT INTO t (v) VALUES ('plain');
