-- The tables of the benches, for MariaDB. Each load has them in a database of its own.

-- Small rows, as sysbench has them.
CREATE TABLE sbtest1 (
  id BIGINT NOT NULL PRIMARY KEY,
  k INT NOT NULL DEFAULT 0,
  c CHAR(120) NOT NULL DEFAULT '',
  pad CHAR(60) NOT NULL DEFAULT ''
) ENGINE = InnoDB DEFAULT CHARSET = latin1;

-- Rows of about 500 bytes with most of the types that applications use.
CREATE TABLE wide (
  id BIGINT NOT NULL PRIMARY KEY,
  c_tiny TINYINT,
  c_small SMALLINT UNSIGNED,
  c_med MEDIUMINT,
  c_int INT,
  c_big BIGINT UNSIGNED,
  c_dec DECIMAL(18, 4),
  c_float FLOAT,
  c_double DOUBLE,
  c_date DATE,
  c_dt DATETIME(6),
  c_ts TIMESTAMP(3) NULL,
  c_time TIME(3),
  c_year YEAR,
  c_char CHAR(32),
  c_v1 VARCHAR(120),
  c_v2 VARCHAR(200),
  c_text TEXT,
  c_bin VARBINARY(64),
  c_enum ENUM('new', 'open', 'closed', 'gone')
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- One row a transaction, to measure how long a commit is on its way.
CREATE TABLE lat (
  id BIGINT NOT NULL PRIMARY KEY,
  note VARCHAR(100) NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
