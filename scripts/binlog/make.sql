-- A small shop, recorded as a binlog: see make.sh. Run it with mariadb --abort-source-on-error.
CREATE DATABASE shop CHARACTER SET utf8mb4;
USE shop;
SET time_zone = '+00:00';

CREATE TABLE customers (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name VARCHAR(60) NOT NULL,
  email VARCHAR(120) NOT NULL,
  city VARCHAR(40) CHARACTER SET latin1,
  newsletter BOOLEAN NOT NULL DEFAULT FALSE,
  born DATE,
  created_at TIMESTAMP(3) NOT NULL,
  UNIQUE KEY by_email (email)
);

CREATE TABLE orders (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  customer_id INT UNSIGNED NOT NULL,
  tenant SMALLINT NOT NULL,
  state ENUM('new', 'paid', 'sent', 'returned') NOT NULL DEFAULT 'new',
  total DECIMAL(12,2) NOT NULL DEFAULT 0,
  weight_kg FLOAT,
  options SET('gift', 'express', 'insured') NOT NULL DEFAULT '',
  note TEXT,
  ordered_at DATETIME(6) NOT NULL,
  updated_at TIMESTAMP(6) NOT NULL,
  KEY by_customer (customer_id)
);

CREATE TABLE order_items (
  order_id BIGINT UNSIGNED NOT NULL,
  line TINYINT UNSIGNED NOT NULL,
  sku CHAR(8) NOT NULL,
  quantity MEDIUMINT NOT NULL,
  price DECIMAL(10,2) NOT NULL,
  barcode BINARY(6),
  PRIMARY KEY (order_id, line)
);

INSERT INTO customers (name, email, city, newsletter, born, created_at)
SELECT CONCAT(ELT(1 + seq MOD 8, 'Ada', 'Björn', 'Chloé', '大輔', 'Edith', 'Frida', 'Gus', 'Hana'), ' ',
              ELT(1 + seq MOD 5, 'Keller', 'Núñez', 'O''Brien', '佐藤', 'Weiß')),
       CONCAT('customer', seq, '@example.test'), ELT(1 + seq MOD 4, 'Zürich', 'Málaga', 'Köln', NULL), seq MOD 3 = 0,
       IF(seq MOD 7 = 0, NULL, DATE '1960-01-01' + INTERVAL seq * 371 DAY),
       TIMESTAMP '2026-01-01 08:00:00.125' + INTERVAL seq HOUR
FROM seq_1_to_40;

DELIMITER //
CREATE PROCEDURE place_orders(IN first INT, IN last INT)
BEGIN
  DECLARE n INT DEFAULT first;
  WHILE n <= last DO
    START TRANSACTION;
    INSERT INTO orders (id, customer_id, tenant, weight_kg, options, note, ordered_at, updated_at)
    VALUES (n, 1 + n * 7 MOD 40, n MOD 5, IF(n MOD 6 = 0, NULL, n * 0.37), n MOD 8,
            IF(n MOD 4 = 0, CONCAT('Leave at door ', n, ' – danke! 🎁'), NULL),
            TIMESTAMP '2026-02-01 09:00:00.000250' + INTERVAL n * 13 MINUTE,
            TIMESTAMP '2026-02-01 09:00:00.000250' + INTERVAL n * 13 MINUTE);
    INSERT INTO order_items
    SELECT n, seq, CONCAT('SKU', LPAD(n * seq MOD 97, 5, '0')), 1 + (n + seq) MOD 4,
           ROUND(1.99 + (n * seq * 31 MOD 5000) / 100, 2), UNHEX(LPAD(HEX(n * 1000 + seq), 12, '0'))
    FROM seq_1_to_4 WHERE seq <= 1 + n MOD 4;
    UPDATE orders SET total = (SELECT SUM(quantity * price) FROM order_items WHERE order_id = n) WHERE id = n;
    COMMIT;
    SET n = n + 1;
  END WHILE;
END//
DELIMITER ;

CALL place_orders(1, 26);
UPDATE orders SET state = 'paid', updated_at = TIMESTAMP '2026-02-02 00:00:00.5' WHERE id <= 20;
UPDATE orders SET state = 'sent', updated_at = TIMESTAMP '2026-02-02 12:00:00' WHERE id MOD 3 = 0 AND state = 'paid';

FLUSH BINARY LOGS;

CALL place_orders(27, 38);
UPDATE orders SET state = 'returned', note = NULL, updated_at = TIMESTAMP '2026-02-03 10:00:00' WHERE id IN (3, 12, 18);
START TRANSACTION;
DELETE FROM order_items WHERE order_id IN (7, 19, 30);
DELETE FROM orders WHERE id IN (7, 19, 30);
COMMIT;
UPDATE customers SET email = 'ada.keller@example.test', newsletter = TRUE WHERE id = 8;
DELETE FROM customers WHERE id NOT IN (SELECT customer_id FROM orders);
UPDATE order_items SET line = 9 WHERE order_id = 38 AND line = 1;
