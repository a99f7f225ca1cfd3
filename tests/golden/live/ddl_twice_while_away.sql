-- only: mariadb, mysql
CREATE TABLE t (id INT PRIMARY KEY, a INT);
-- lode: start
INSERT INTO t VALUES (1, 1);
-- lode: wait
-- lode: stop
ALTER TABLE t ADD COLUMN b INT;
INSERT INTO t VALUES (2, 2, 2);
ALTER TABLE t ADD COLUMN c INT;
INSERT INTO t VALUES (3, 3, 3, 3);
-- lode: start
