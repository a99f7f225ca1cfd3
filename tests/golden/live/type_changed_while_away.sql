-- only: mariadb, mysql
CREATE TABLE t (id INT PRIMARY KEY, a INT);
-- lode: start
INSERT INTO t VALUES (1, 1);
-- lode: wait
-- lode: stop
INSERT INTO t VALUES (2, 2);
ALTER TABLE t MODIFY a BIGINT;
INSERT INTO t VALUES (3, 3000000000);
-- lode: start
