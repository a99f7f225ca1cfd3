-- only: mysql
CREATE TABLE t (id INT PRIMARY KEY, c VECTOR(2));
-- lode: start
INSERT INTO t VALUES (1, STRING_TO_VECTOR('[1,2]'));
