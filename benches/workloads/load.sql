-- Stored procedures that make the loads, all of them on the server and the same every time. Each is called with the
-- number of changes. They need MariaDB's sequence engine.

-- 100 inserts a statement, one statement a transaction.
CREATE PROCEDURE load_small(n INT)
BEGIN
  DECLARE i INT DEFAULT 0;
  WHILE i < n DO
    INSERT INTO sbtest1
      SELECT i + seq, (seq * 7919 + i) MOD 1000003,
        CONCAT(REPEAT(CONCAT(LPAD((seq * 104729 + i) MOD 99999989, 11, '0'), '-'), 9), '12345678901'),
        CONCAT(REPEAT(CONCAT(LPAD((seq * 15485863 + i) MOD 99999971, 11, '0'), '-'), 4), '12345678901')
      FROM seq_1_to_100;
    COMMIT;
    SET i = i + 100;
  END WHILE;
END;

-- 40 % inserts, 40 % updates, 20 % deletes; one row a statement, ten statements a transaction.
CREATE PROCEDURE load_mixed(n INT)
BEGIN
  DECLARE i, op INT DEFAULT 0;
  DECLARE newest, deleted, chosen BIGINT DEFAULT 0;
  DECLARE prose TEXT DEFAULT 'The quick brown fox jumps over the lazy dog 0123456789. ';
  WHILE i < n DO
    START TRANSACTION;
    SET op = 0;
    WHILE op < 10 DO
      IF op IN (0, 2, 4, 6) THEN
        SET newest = newest + 1;
        INSERT INTO wide VALUES (
          newest, i MOD 100, i MOD 60000, -(i MOD 8000000), i * 17, i * 1000003, i / 7, i / 3, i / 11,
          DATE_ADD('2020-01-01', INTERVAL (i MOD 2000) DAY),
          DATE_ADD('2024-01-01 00:00:00.123456', INTERVAL i SECOND),
          DATE_ADD('2024-01-01 00:00:00.123', INTERVAL i SECOND),
          SEC_TO_TIME(i MOD 80000), 1990 + (i MOD 60), LPAD(HEX(i * 2654435761), 32, '0'),
          CONCAT('customer name ', i, ' of some street ', i * 31, ', some city, country number ', i MOD 200),
          CONCAT('https://example.test/path/', LEFT(SHA2(i, 256), 32), '/item?id=', i, '&session=',
            LEFT(SHA2(i + 1, 256), 32)),
          CONCAT(prose, i), UNHEX(SHA2(i, 256)), 1 + (i MOD 4));
      ELSEIF op IN (1, 3, 5, 7) THEN
        SET chosen = deleted + 1 + ((i * 7919) MOD (newest - deleted));
        UPDATE wide
        SET c_int = i, c_dec = c_dec + 1.5, c_ts = DATE_ADD('2025-01-01', INTERVAL i SECOND),
          c_v1 = CONCAT('updated customer ', i, ' of ', newest, ' moved to another street ', i MOD 997),
          c_enum = 1 + ((i + 1) MOD 4)
        WHERE id = chosen;
      ELSE
        SET deleted = deleted + 1;
        DELETE FROM wide WHERE id = deleted;
      END IF;
      SET op = op + 1;
      SET i = i + 1;
    END WHILE;
    COMMIT;
  END WHILE;
END;

-- One transaction.
CREATE PROCEDURE load_huge(n INT)
BEGIN
  INSERT INTO sbtest1
    SELECT seq, (seq * 7919) MOD 1000003,
      CONCAT(REPEAT(CONCAT(LPAD((seq * 104729) MOD 99999989, 11, '0'), '-'), 9), '12345678901'),
      CONCAT(REPEAT(CONCAT(LPAD((seq * 15485863) MOD 99999971, 11, '0'), '-'), 4), '12345678901')
    FROM seq_1_to_100000000 LIMIT n;
  COMMIT;
END;
