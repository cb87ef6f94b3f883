-- Enforcement points outside of placet's own process, with credentials of their own.

CREATE TABLE pep (
    id         BLOB    PRIMARY KEY CHECK (length(id) = 16),
    kind       TEXT    NOT NULL CHECK (kind IN ('command', 'mcp')),
    sponsor    BLOB    NOT NULL REFERENCES person (id),
    name_mac   BLOB    NOT NULL CHECK (length(name_mac) = 32),
    token_hash BLOB    NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    credential INTEGER NOT NULL CHECK (credential >= 0),
    active     INTEGER NOT NULL CHECK (active IN (0, 1)),
    sealed     BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX pep_active_name ON pep (name_mac) WHERE active = 1;
CREATE TRIGGER pep_credential_grows BEFORE UPDATE ON pep
WHEN NEW.credential < OLD.credential
  OR (NEW.token_hash IS NOT OLD.token_hash AND NEW.credential = OLD.credential)
BEGIN SELECT RAISE(ABORT, 'a new token counts the credential up'); END;
CREATE TRIGGER pep_stays_what_it_is BEFORE UPDATE ON pep WHEN NEW.kind IS NOT OLD.kind
BEGIN SELECT RAISE(ABORT, 'an enforcement point keeps its kind'); END;
