CREATE TABLE t (id INT PRIMARY KEY, a INT UNSIGNED DEFAULT 5, b VARCHAR(10), c TEXT, d INT NOT NULL DEFAULT 7);
CREATE TABLE bare (a INT, b INT);
-- lode: start
SET SESSION binlog_row_image = 'MINIMAL';
INSERT INTO t (id, a, d) VALUES (1, 5, 7);
INSERT INTO t VALUES (2, 4294967295, 'two', 'text', 1), (3, NULL, NULL, NULL, 3);
UPDATE t SET b = 'one' WHERE id = 1;
UPDATE t SET b = NULL WHERE id = 2;
UPDATE t SET id = 9 WHERE id = 3;
INSERT INTO bare VALUES (1, 2), (3, 4), (NULL, 5);
UPDATE bare SET b = 6 WHERE a = 1;
DELETE FROM bare WHERE a IS NULL;
SET SESSION binlog_row_image = 'NOBLOB';
UPDATE t SET a = 8 WHERE id = 2;
UPDATE t SET c = 'other' WHERE id = 1;
SET SESSION binlog_row_image = 'FULL';
UPDATE t SET d = 0 WHERE id = 9;
