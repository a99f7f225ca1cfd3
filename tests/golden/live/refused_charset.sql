-- only: mysql
CREATE TABLE t (id INT PRIMARY KEY, c VARCHAR(5) CHARACTER SET gbk);
-- lode: start
INSERT INTO t VALUES (1, 'x');
