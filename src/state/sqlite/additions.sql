-- Added to files of the same version that do not have them.
CREATE INDEX IF NOT EXISTS intents_by_action ON intents (quota, action COLLATE NOCASE);

-- Quota keys whose comments can't be relied on.
CREATE TABLE IF NOT EXISTS unreliable_comments (quota INTEGER PRIMARY KEY) STRICT;
