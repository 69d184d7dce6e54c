-- The clock. Everything written before `synced` is on the disk and survives a power cut.
CREATE TABLE time (
  id INTEGER PRIMARY KEY CHECK (id = 1), clock_id TEXT NOT NULL, clock_offset REAL NOT NULL,
  last REAL NOT NULL, synced REAL NOT NULL
) STRICT;
INSERT INTO time VALUES (1, '', 0, 0, 0);

-- `boot`: the boot of the machine in which the quota key was opened last.
CREATE TABLE quotas (
  id INTEGER PRIMARY KEY, host TEXT NOT NULL, tenant TEXT NOT NULL, application TEXT NOT NULL,
  boot TEXT NOT NULL DEFAULT '',
  UNIQUE (host, tenant, application)
) STRICT;

-- A call counts until one window length after `ends`. For a running call, `ends` is the end of its lease.
CREATE TABLE calls (
  quota INTEGER NOT NULL, window TEXT NOT NULL, ticket TEXT NOT NULL, ends REAL NOT NULL,
  PRIMARY KEY (quota, window, ticket)
) STRICT, WITHOUT ROWID;
CREATE INDEX calls_by_end ON calls (quota, window, ends);

-- A window is blocked after the service answered 429.
CREATE TABLE window_blocks (
  quota INTEGER NOT NULL, window TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (quota, window)
) STRICT, WITHOUT ROWID;

-- Processes with waiters, and when each must ask again to keep its places.
CREATE TABLE queue_owners (
  quota INTEGER NOT NULL, window TEXT NOT NULL, owner TEXT NOT NULL, until REAL NOT NULL,
  PRIMARY KEY (quota, window, owner)
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: a position is never used again, so the order of arrival is kept.
CREATE TABLE queue (
  position INTEGER PRIMARY KEY AUTOINCREMENT, quota INTEGER NOT NULL, window TEXT NOT NULL,
  ticket TEXT NOT NULL, owner TEXT NOT NULL, slot_request TEXT, UNIQUE (quota, window, ticket)
) STRICT;
CREATE INDEX queue_by_position ON queue (quota, window, position);

-- A machine has at most one session. `posted` is when a POST was sent.
CREATE TABLE slots (
  quota INTEGER NOT NULL, machine TEXT NOT NULL, correlation TEXT, action TEXT, ticket TEXT,
  until REAL NOT NULL, lease REAL NOT NULL, posted REAL, PRIMARY KEY (quota, machine)
) STRICT, WITHOUT ROWID;

-- `posted`: 1 if a POST may have reached the service.
CREATE TABLE intents (
  quota INTEGER NOT NULL, machine TEXT NOT NULL, correlation TEXT NOT NULL, commands TEXT NOT NULL,
  comment TEXT NOT NULL, created REAL NOT NULL, posted INTEGER NOT NULL DEFAULT 0, action TEXT,
  lease_token TEXT, lease_until REAL, PRIMARY KEY (quota, machine, correlation)
) STRICT, WITHOUT ROWID;
CREATE INDEX intents_by_age ON intents (created);

-- `seen`: when the status was read from the service.
CREATE TABLE cached_statuses (
  quota INTEGER NOT NULL, action TEXT NOT NULL, seen REAL NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (quota, action)
) STRICT, WITHOUT ROWID;
CREATE INDEX cached_statuses_by_age ON cached_statuses (seen);
