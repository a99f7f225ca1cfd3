CREATE TABLE pairs (a INT, b VARCHAR(5), v INT, PRIMARY KEY (b, a));
CREATE TABLE bare (a INT, b VARCHAR(5));
CREATE TABLE nicks (id INT PRIMARY KEY, nick VARCHAR(10) UNIQUE);
-- lode: start
INSERT INTO pairs VALUES (1, 'x', 1), (2, 'x', 2), (1, 'y', 3);
UPDATE pairs SET v = v + 10;
UPDATE pairs SET a = 7 WHERE a = 2;
DELETE FROM pairs WHERE b = 'y';
INSERT INTO bare VALUES (1, 'x'), (1, 'x'), (NULL, NULL), (2, 'y');
DELETE FROM bare WHERE a = 1 LIMIT 1;
UPDATE bare SET b = 'z' WHERE a IS NULL;
INSERT INTO nicks VALUES (1, 'ann'), (2, 'bob'), (3, NULL);
UPDATE nicks SET nick = 'tmp' WHERE id = 1;
UPDATE nicks SET nick = 'ann' WHERE id = 2;
UPDATE nicks SET nick = 'bob' WHERE id = 1;
REPLACE INTO nicks VALUES (9, 'bob');
INSERT INTO nicks VALUES (9, 'x') ON DUPLICATE KEY UPDATE nick = 'nine';
