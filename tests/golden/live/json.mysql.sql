-- only: mysql
CREATE TABLE docs (id INT PRIMARY KEY, j JSON);
-- lode: start
INSERT INTO docs VALUES
  (1, '{"b": 1, "a": [1, -2, 3.5, 1.0, true, false, null, "x\\"y\\\\z", {}, []], "Zoë": "\\u0001\\n"}'),
  (2, '18446744073709551615'), (3, '-9223372036854775808'), (4, '70000'), (5, '-70000'), (6, '5000000000'),
  (7, '1e20'), (8, '1.5e-9'), (9, '0.0000123'), (10, '123456789012345680000'), (11, 'null'), (12, '""'),
  (13, JSON_OBJECT('d', CAST('12.3400' AS DECIMAL(10,4)), 'n', CAST(-0.05 AS DECIMAL(5,2)))),
  (14, JSON_ARRAY(CAST('2024-02-29 12:34:56.789' AS DATETIME(3)), CAST('2024-02-29' AS DATE), CAST('-12:34:56' AS TIME))),
  (15, JSON_OBJECT('blob', x'00FF10', 'long', CAST(REPEAT('x', 100) AS BINARY), 'bit', b'101')),
  (16, JSON_ARRAY(REPEAT('long text ', 20000), 1, 70000, -5, 3000000000)),
  (17, NULL), (18, '[[[[[1]]]]]'), (19, '-0.0'), (20, '1e15'), (21, '100000000000000'), (22, '123456.789e3');
UPDATE docs SET j = JSON_SET(j, '$.a', 2.50) WHERE id = 1;
