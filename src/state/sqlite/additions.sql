-- Added to files of the same version that do not have them.
CREATE INDEX IF NOT EXISTS intents_by_action ON intents (quota, action COLLATE NOCASE);

-- Quota keys whose comments can't be relied on.
CREATE TABLE IF NOT EXISTS unreliable_comments (quota INTEGER PRIMARY KEY) STRICT;

-- Whether the file was held against the service's list since something may have changed it.
-- `file`: which file it was then. `lost`: when it was found that memory had been lost.
CREATE TABLE IF NOT EXISTS store_checks (
  quota INTEGER PRIMARY KEY, file TEXT NOT NULL, checked INTEGER NOT NULL, lost REAL
) STRICT;

-- Actions that the list showed and the store did not know.
CREATE TABLE IF NOT EXISTS listed_actions (
  quota INTEGER NOT NULL, action TEXT NOT NULL COLLATE NOCASE, seen REAL NOT NULL,
  PRIMARY KEY (quota, action)
) STRICT, WITHOUT ROWID;
