-- only: mariadb, mariadb_full
CREATE TABLE t (id INT PRIMARY KEY);
-- lode: start
INSERT INTO t VALUES (1);
-- lode: wait
ALTER TABLE t ADD COLUMN c TEXT COMPRESSED;
INSERT INTO t VALUES (2, 'x');
