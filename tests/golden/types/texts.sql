CREATE TABLE texts (
  id INT PRIMARY KEY, c CHAR(10) CHARACTER SET utf8mb4, c3 CHAR(255) CHARACTER SET utf8mb3, cl CHAR(5) CHARACTER SET latin1,
  v VARCHAR(20) CHARACTER SET utf8mb4, vl VARCHAR(300) CHARACTER SET latin1, va VARCHAR(20) CHARACTER SET ascii,
  vb VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, t TEXT CHARACTER SET utf8mb4, tl TINYTEXT CHARACTER SET latin1,
  lt LONGTEXT CHARACTER SET utf8mb3, b BINARY(6), vbin VARBINARY(300), bl BLOB, tb TINYBLOB,
  e ENUM('small','it''s','a,b','Größe') CHARACTER SET latin1, s SET('x','y','z') CHARACTER SET utf8mb4, g GEOMETRY,
  l2 VARCHAR(10) CHARACTER SET latin1
);
INSERT INTO texts VALUES
  (1, 'abc', 'ü€', 'äß', '🦀 crab', 'naïve €', 'plain', 'Bin', 'line\nbreak\t"q"', 'é', 'long', 'ab\0\0', 'a\0b', x'00FF10', '', 'Größe', 'x,z',
   ST_GeomFromText('POINT(1 2)'), 'ÿþ'),
  (2, '', '', '', '', '', '', '', '', '', '', '', '', '', '', 'a,b', '', NULL, ''),
  (3, 'trail  ', 'x', 'y', 'keep  ', REPEAT('é', 300), 'z', 'z', REPEAT('日本', 100), 'x', REPEAT('ä', 70000), 'abcdef', REPEAT('x', 300),
   REPEAT('y', 1000), 'z', 'small', 'x,y,z', ST_GeomFromText('LINESTRING(0 0, 1 1)', 4326), 'z'),
  (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
