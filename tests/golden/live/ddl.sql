CREATE TABLE t (id INT PRIMARY KEY, a INT);
-- lode: start
INSERT INTO t VALUES (1, 1);
-- lode: wait
ALTER TABLE t ADD COLUMN b VARCHAR(5) DEFAULT 'new';
INSERT INTO t VALUES (2, 2, 'two');
UPDATE t SET b = 'one' WHERE id = 1;
-- lode: wait
ALTER TABLE t ADD COLUMN first INT UNSIGNED FIRST;
INSERT INTO t VALUES (4294967295, 3, 3, 'three');
-- lode: wait
ALTER TABLE t DROP COLUMN a;
INSERT INTO t VALUES (4, 4, 'four');
-- lode: wait
ALTER TABLE t MODIFY b VARCHAR(50) CHARACTER SET latin1;
INSERT INTO t VALUES (5, 5, 'fünf and more');
-- lode: wait
TRUNCATE t;
INSERT INTO t VALUES (6, 6, 'six');
-- lode: wait
DROP TABLE t;
CREATE TABLE t (id INT PRIMARY KEY, b VARCHAR(5), c INT);
INSERT INTO t VALUES (7, 'seven', 7);
-- lode: wait
RENAME TABLE t TO old_t;
CREATE TABLE t (id INT PRIMARY KEY, c INT);
INSERT INTO t VALUES (8, 8);
