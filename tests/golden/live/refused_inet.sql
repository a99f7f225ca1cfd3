-- only: mariadb, mariadb_full
CREATE TABLE t (id INT PRIMARY KEY, c INET6);
-- lode: start
INSERT INTO t VALUES (1, '::1');
