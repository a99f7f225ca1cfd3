CREATE TABLE orders (id INT PRIMARY KEY, qty INT NOT NULL);
-- lode: start
INSERT INTO orders VALUES (1, 5);
-- lode: stop
-- lode: start
INSERT INTO orders VALUES (2, 0);
INSERT INTO orders VALUES (3, 10);
