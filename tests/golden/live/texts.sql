CREATE TABLE texts (
  id INT PRIMARY KEY, c CHAR(10) CHARACTER SET utf8mb4, c3 CHAR(255) CHARACTER SET utf8mb3, cl CHAR(5) CHARACTER SET latin1,
  v VARCHAR(20) CHARACTER SET utf8mb4, vl VARCHAR(300) CHARACTER SET latin1, va VARCHAR(20) CHARACTER SET ascii,
  vb VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, t TEXT CHARACTER SET utf8mb4, tl TINYTEXT CHARACTER SET latin1,
  mt MEDIUMTEXT, lt LONGTEXT CHARACTER SET utf8mb3, b BINARY(6), vbin VARBINARY(300), tb TINYBLOB, bl BLOB, mb MEDIUMBLOB,
  lb LONGBLOB, e ENUM('small','it''s','a,b','Größe') CHARACTER SET latin1, s SET('x','y','z') CHARACTER SET utf8mb4
);
CREATE TABLE `odd ``names` (`a b` VARCHAR(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, `select` INT, `日本` TEXT);
-- lode: start
INSERT INTO texts VALUES
  (1, 'abc', 'ü€', 'äß', '🦀 crab', 'naïve €', 'plain', 'Bin', 'line\nbreak\t"q"', 'é', 'medium', 'long', 'ab\0\0', 'a\0b',
   x'00FF10', x'FF', x'C328', '', 'Größe', 'x,z'),
  (2, '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', 'a,b', ''),
  (3, 'trail  ', 'x', 'y', 'keep  ', REPEAT('é', 300), 'z', 'z', REPEAT('日本', 100), 'x', REPEAT('m', 70000),
   REPEAT('ä', 70000), 'abcdef', REPEAT('x', 300), 'z', REPEAT('y', 1000), REPEAT('z', 70000), REPEAT('\0', 300000), 'small', 'x,y,z'),
  (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (5, 'NULL', '007', '1e5', 'a\\b''c', '<&>', '%s', '\r\n', '\0', '''', '-', '.', '\0\0\0\0\0\0', ' ', ' ', '0x', '\\', '"', 'it''s', 'y');
UPDATE texts SET v = 'longer than it was', t = NULL, bl = REPEAT('w', 60000) WHERE id = 1;
INSERT INTO `odd ``names` VALUES ('k', 1, 'x'), ('K', 2, 'y'), ('k2', 3, NULL), ('', 4, '');
UPDATE `odd ``names` SET `a b` = 'moved' WHERE `a b` = 'K';
DELETE FROM `odd ``names` WHERE `a b` = '';
