-- `head`: the run's header as JSON. `stopped`: a stop request as JSON.
CREATE TABLE IF NOT EXISTS runs (
  id INTEGER PRIMARY KEY, quota INTEGER NOT NULL, run TEXT NOT NULL, head TEXT NOT NULL,
  stopped TEXT, created REAL NOT NULL, UNIQUE (quota, run)
) STRICT;

-- `worker`: the process that claimed the row. The claim holds while run_workers has a lease for it.
CREATE TABLE IF NOT EXISTS run_rows (
  run INTEGER NOT NULL, row INTEGER NOT NULL, machine TEXT NOT NULL, machine_id TEXT,
  commands INTEGER NOT NULL, parked INTEGER NOT NULL DEFAULT 0, parking INTEGER NOT NULL DEFAULT 0,
  first_submit REAL, worker TEXT,
  PRIMARY KEY (run, row)
) STRICT, WITHOUT ROWID;

-- The first row that named a machine. The other rows are duplicates.
CREATE TABLE IF NOT EXISTS run_machine_owners (
  run INTEGER NOT NULL, machine_id TEXT NOT NULL, row INTEGER NOT NULL,
  PRIMARY KEY (run, machine_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS run_workers (
  run INTEGER NOT NULL, worker TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (run, worker)
) STRICT, WITHOUT ROWID;

-- Numbered from 1 within a run, in the order they were stored.
CREATE TABLE IF NOT EXISTS run_outcomes (
  run INTEGER NOT NULL, number INTEGER NOT NULL, row INTEGER NOT NULL, outcome TEXT NOT NULL,
  PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS run_outcomes_by_row ON run_outcomes (run, row);

-- Apart from the outcomes, because results may be large.
CREATE TABLE IF NOT EXISTS run_results (
  run INTEGER NOT NULL, row INTEGER NOT NULL, result TEXT NOT NULL, PRIMARY KEY (run, row)
) STRICT;

-- Rows whose machine was not reached. `outcome`: that of the row if its machine is never reached.
-- `parked`: that of the row at that time.
CREATE TABLE IF NOT EXISTS run_unreached (
  run INTEGER NOT NULL, row INTEGER NOT NULL, parked INTEGER NOT NULL, since REAL NOT NULL,
  name TEXT NOT NULL, outcome TEXT NOT NULL, PRIMARY KEY (run, row)
) STRICT, WITHOUT ROWID;

-- Counted here, because a list of all runs must not read all outcomes. `last`: the last number that
-- was used; the outcome that had it may be withdrawn.
CREATE TABLE IF NOT EXISTS run_counts (
  run INTEGER PRIMARY KEY, last INTEGER NOT NULL, done INTEGER NOT NULL, ok INTEGER NOT NULL
) STRICT;
