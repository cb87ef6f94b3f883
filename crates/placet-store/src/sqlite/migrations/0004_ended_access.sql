-- Sessions and API tokens that ended before their time: whose they were, and nothing that lets anybody in.
-- Kept until they would have ended by themselves.

CREATE TABLE ended_access (
    hash       BLOB    PRIMARY KEY CHECK (length(hash) = 32),
    kind       TEXT    NOT NULL CHECK (kind IN ('session', 'token')),
    id         BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    person     BLOB    NOT NULL REFERENCES person (id),
    why        TEXT    NOT NULL CHECK (why IN ('signed_out', 'invited', 'disabled', 'revoked')),
    ended_at   INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    CONSTRAINT ended_before_its_time CHECK (ended_at < expires_at)
) STRICT, WITHOUT ROWID;
CREATE INDEX ended_access_expiry ON ended_access (expires_at);

CREATE TRIGGER ended_access_never_changes BEFORE UPDATE ON ended_access
BEGIN SELECT RAISE(ABORT, 'what ended stays ended'); END;
CREATE TRIGGER session_stays_ended BEFORE INSERT ON session
WHEN EXISTS (SELECT 1 FROM ended_access WHERE hash = NEW.secret_hash)
BEGIN SELECT RAISE(ABORT, 'what ended stays ended'); END;
CREATE TRIGGER person_token_stays_ended BEFORE INSERT ON person_token
WHEN EXISTS (SELECT 1 FROM ended_access WHERE hash = NEW.token_hash)
BEGIN SELECT RAISE(ABORT, 'what ended stays ended'); END;
