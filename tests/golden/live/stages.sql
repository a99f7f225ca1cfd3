CREATE TABLE orders (id BIGINT UNSIGNED PRIMARY KEY, state VARCHAR(10), qty INT, price DECIMAL(20,10), note TEXT);
-- lode: start
INSERT INTO orders VALUES (18446744073709551615, 'paid', 3, 33.3333333333, 'a'), (2, 'new', 100, 1, 'b'), (3, 'paid', 1, 0.0000000001, 'c');
UPDATE orders SET state = 'paid' WHERE id = 2;
UPDATE orders SET state = 'gone' WHERE id = 3;
UPDATE orders SET qty = 300 WHERE id = 18446744073709551615;
UPDATE orders SET qty = 1 WHERE id = 2;
