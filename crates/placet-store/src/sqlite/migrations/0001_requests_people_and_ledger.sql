-- Requests, people, bundles, secrets and the ledger. What is personal stands in `sealed` columns.
-- Ids are the 16 bytes of a UUIDv7; times are milliseconds since 1970; a `mac` is HMAC-SHA-256 under a key that is
-- derived from the root key, where a plain hash could be guessed.

CREATE TABLE log_head (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    origin    TEXT    NOT NULL CHECK (length(origin) BETWEEN 1 AND 255),
    key_store BLOB    NOT NULL CHECK (length(key_store) = 16),
    size      INTEGER NOT NULL CHECK (size >= 0),
    frontier  BLOB    NOT NULL,
    last_time INTEGER NOT NULL CHECK (last_time >= 0)
) STRICT;

CREATE TRIGGER log_head_grows BEFORE UPDATE ON log_head
WHEN NEW.origin IS NOT OLD.origin OR NEW.key_store IS NOT OLD.key_store
  OR NEW.size < OLD.size OR NEW.last_time < OLD.last_time
BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;
CREATE TRIGGER log_head_stays BEFORE DELETE ON log_head
BEGIN SELECT RAISE(ABORT, 'the log stays'); END;

CREATE TABLE entry (
    idx     INTEGER PRIMARY KEY CHECK (idx >= 0),
    id      BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    time    INTEGER NOT NULL CHECK (time >= 0),
    kind    TEXT    NOT NULL,
    request BLOB    CHECK (request IS NULL OR length(request) = 16),
    body    BLOB    NOT NULL CHECK (length(body) BETWEEN 1 AND 65535)
) STRICT;
CREATE INDEX entry_request ON entry (request, idx) WHERE request IS NOT NULL;
CREATE INDEX entry_kind ON entry (kind, idx);

CREATE TRIGGER entry_follows BEFORE INSERT ON entry
WHEN NEW.idx IS NOT (SELECT coalesce(max(idx) + 1, 0) FROM entry)
  OR NEW.time < (SELECT coalesce(max(time), 0) FROM entry WHERE idx = NEW.idx - 1)
BEGIN SELECT RAISE(ABORT, 'an entry follows the last one'); END;
CREATE TRIGGER entry_never_changes BEFORE UPDATE ON entry
BEGIN SELECT RAISE(ABORT, 'entries never change'); END;
CREATE TRIGGER entry_stays BEFORE DELETE ON entry
BEGIN SELECT RAISE(ABORT, 'entries stay'); END;

CREATE TABLE disclosure (
    idx    INTEGER PRIMARY KEY REFERENCES entry (idx),
    sealed BLOB NOT NULL
) STRICT;

CREATE TABLE request (
    id         BLOB    PRIMARY KEY CHECK (length(id) = 16),
    version    INTEGER NOT NULL CHECK (version >= 1),
    principal  TEXT    NOT NULL CHECK (length(principal) = 30),
    status     TEXT    NOT NULL CHECK (status IN ('pending', 'granted', 'executing', 'succeeded', 'failed', 'unknown',
                                                  'refused', 'denied', 'expired', 'cancelled', 'lapsed')),
    reviewed   INTEGER NOT NULL CHECK (reviewed IN (0, 1)),
    resolved   INTEGER NOT NULL CHECK (resolved IN (0, 1)),
    twin_mac   BLOB    NOT NULL CHECK (length(twin_mac) = 32),
    short_code TEXT    NOT NULL CHECK (length(short_code) = 9),
    execution  BLOB    UNIQUE CHECK (execution IS NULL OR length(execution) = 16),
    deadline   INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    sealed     BLOB    NOT NULL,
    CONSTRAINT open_has_a_deadline CHECK ((status IN ('pending', 'granted', 'executing')) = (deadline IS NOT NULL)),
    CONSTRAINT executed_has_an_execution
        CHECK ((status IN ('executing', 'succeeded', 'failed', 'unknown')) = (execution IS NOT NULL)),
    CONSTRAINT people_were_asked CHECK (status NOT IN ('pending', 'expired') OR reviewed = 1),
    CONSTRAINT only_unknown_is_resolved CHECK (resolved = 0 OR status = 'unknown'),
    CONSTRAINT updated_after_created CHECK (updated_at >= created_at)
) STRICT;
CREATE UNIQUE INDEX request_open_code ON request (short_code) WHERE status IN ('pending', 'granted', 'executing');
CREATE INDEX request_code ON request (short_code, id);
CREATE INDEX request_status ON request (status, id);
CREATE INDEX request_principal ON request (principal, status, id);
CREATE INDEX request_twin ON request (twin_mac, id) WHERE reviewed = 1 OR status = 'unknown';
CREATE INDEX request_deadline ON request (deadline, id) WHERE deadline IS NOT NULL;

CREATE TRIGGER request_is_what_was_asked BEFORE UPDATE ON request
WHEN NEW.id IS NOT OLD.id OR NEW.principal IS NOT OLD.principal OR NEW.twin_mac IS NOT OLD.twin_mac
  OR NEW.short_code IS NOT OLD.short_code OR NEW.created_at IS NOT OLD.created_at
  OR NEW.version IS NOT OLD.version + 1
  OR (OLD.reviewed = 1 AND NEW.reviewed = 0)
  OR (OLD.execution IS NOT NULL AND NEW.execution IS NOT OLD.execution)
BEGIN SELECT RAISE(ABORT, 'a request stays what was asked'); END;
CREATE TRIGGER request_lives_forward BEFORE UPDATE ON request
WHEN NOT CASE OLD.status
    WHEN 'pending'   THEN NEW.status IN ('pending', 'granted', 'denied', 'expired', 'cancelled', 'refused')
    WHEN 'granted'   THEN NEW.status IN ('granted', 'executing', 'lapsed', 'denied', 'cancelled', 'refused')
    WHEN 'executing' THEN NEW.status IN ('succeeded', 'failed', 'unknown')
    WHEN 'unknown'   THEN NEW.status = 'unknown' AND OLD.resolved = 0 AND NEW.resolved = 1
    ELSE 0
END
BEGIN SELECT RAISE(ABORT, 'this state does not lead to that one'); END;

CREATE TABLE vote (
    request BLOB    NOT NULL REFERENCES request (id),
    seq     INTEGER NOT NULL CHECK (seq >= 0),
    person  BLOB    NOT NULL CHECK (length(person) = 16),
    round   INTEGER NOT NULL CHECK (round >= 1),
    sealed  BLOB    NOT NULL,
    PRIMARY KEY (request, seq),
    CONSTRAINT one_vote_a_round UNIQUE (request, person, round)
) STRICT;
CREATE TRIGGER vote_never_changes BEFORE UPDATE ON vote
BEGIN SELECT RAISE(ABORT, 'votes never change'); END;
CREATE TRIGGER vote_stays BEFORE DELETE ON vote
BEGIN SELECT RAISE(ABORT, 'votes stay'); END;

CREATE TABLE idempotency_key (
    mac     BLOB    PRIMARY KEY CHECK (length(mac) = 32),
    request BLOB    NOT NULL REFERENCES request (id),
    at      INTEGER NOT NULL,
    sealed  BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_key_age ON idempotency_key (at);

CREATE TABLE card (
    mac     BLOB PRIMARY KEY CHECK (length(mac) = 32),
    request BLOB NOT NULL REFERENCES request (id),
    sealed  BLOB NOT NULL
) STRICT;

CREATE TABLE directory_head (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL CHECK (epoch >= 0)
) STRICT;
INSERT INTO directory_head (id, epoch) VALUES (1, 0);

CREATE TABLE person (
    id           BLOB    PRIMARY KEY CHECK (length(id) = 16),
    active       INTEGER NOT NULL CHECK (active IN (0, 1)),
    operator_uid INTEGER UNIQUE CHECK (operator_uid IS NULL OR operator_uid >= 0),
    sealed       BLOB    NOT NULL
) STRICT;

CREATE TABLE agent (
    id         BLOB    PRIMARY KEY CHECK (length(id) = 16),
    sponsor    BLOB    NOT NULL REFERENCES person (id),
    name_mac   BLOB    NOT NULL CHECK (length(name_mac) = 32),
    token_hash BLOB    NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    credential INTEGER NOT NULL CHECK (credential >= 0),
    active     INTEGER NOT NULL CHECK (active IN (0, 1)),
    sealed     BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX agent_active_name ON agent (name_mac) WHERE active = 1;
CREATE TRIGGER agent_credential_grows BEFORE UPDATE ON agent
WHEN NEW.credential < OLD.credential
  OR (NEW.token_hash IS NOT OLD.token_hash AND NEW.credential = OLD.credential)
BEGIN SELECT RAISE(ABORT, 'a new token counts the credential up'); END;

CREATE TABLE directory_group (
    name TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64)
) STRICT, WITHOUT ROWID;
CREATE TABLE membership (
    member  BLOB NOT NULL CHECK (length(member) = 16),
    "group" TEXT NOT NULL REFERENCES directory_group (name),
    PRIMARY KEY (member, "group")
) STRICT, WITHOUT ROWID;
CREATE INDEX membership_group ON membership ("group");

CREATE TABLE invitation (
    id          BLOB    PRIMARY KEY CHECK (length(id) = 16),
    person      BLOB    NOT NULL REFERENCES person (id),
    secret_hash BLOB    NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    expires_at  INTEGER NOT NULL,
    consumed_at INTEGER,
    sealed      BLOB    NOT NULL
) STRICT;
CREATE INDEX invitation_person ON invitation (person);
CREATE TRIGGER invitation_is_used_once BEFORE UPDATE ON invitation
WHEN OLD.consumed_at IS NOT NULL OR NEW.person IS NOT OLD.person OR NEW.secret_hash IS NOT OLD.secret_hash
  OR NEW.expires_at IS NOT OLD.expires_at
BEGIN SELECT RAISE(ABORT, 'a sign-in link is used once'); END;

CREATE TABLE session (
    id          BLOB    PRIMARY KEY CHECK (length(id) = 16),
    person      BLOB    NOT NULL REFERENCES person (id),
    secret_hash BLOB    NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    expires_at  INTEGER NOT NULL,
    sealed      BLOB    NOT NULL
) STRICT;
CREATE INDEX session_person ON session (person);

CREATE TABLE person_token (
    id         BLOB    PRIMARY KEY CHECK (length(id) = 16),
    person     BLOB    NOT NULL REFERENCES person (id),
    token_hash BLOB    NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    expires_at INTEGER NOT NULL,
    sealed     BLOB    NOT NULL
) STRICT;
CREATE INDEX person_token_person ON person_token (person);

-- A version that was given once is never given again: requests pin `name@version`.
CREATE TABLE secret (
    name   TEXT    PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 255),
    newest INTEGER NOT NULL CHECK (newest >= 1),
    set_at INTEGER NOT NULL,
    live   INTEGER NOT NULL CHECK (live IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE TRIGGER secret_versions_grow BEFORE UPDATE ON secret WHEN NEW.newest < OLD.newest
BEGIN SELECT RAISE(ABORT, 'a version of a secret is given once'); END;
CREATE TRIGGER secret_stays BEFORE DELETE ON secret
BEGIN SELECT RAISE(ABORT, 'a version of a secret is given once'); END;
CREATE TABLE secret_version (
    name    TEXT    NOT NULL REFERENCES secret (name),
    version INTEGER NOT NULL CHECK (version >= 1),
    sealed  BLOB    NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;

CREATE TABLE bundle (
    digest BLOB PRIMARY KEY CHECK (length(digest) = 32)
) STRICT, WITHOUT ROWID;
CREATE TABLE bundle_file (
    digest BLOB NOT NULL REFERENCES bundle (digest),
    path   TEXT NOT NULL,
    bytes  BLOB NOT NULL,
    PRIMARY KEY (digest, path)
) STRICT;
CREATE TRIGGER bundle_never_changes BEFORE UPDATE ON bundle_file
BEGIN SELECT RAISE(ABORT, 'a bundle never changes'); END;
CREATE TABLE bundle_activation (
    epoch  INTEGER PRIMARY KEY CHECK (epoch >= 1),
    digest BLOB    NOT NULL REFERENCES bundle (digest),
    at     INTEGER NOT NULL
) STRICT;
CREATE TRIGGER bundle_activation_stays BEFORE DELETE ON bundle_activation
BEGIN SELECT RAISE(ABORT, 'activations stay'); END;
CREATE TRIGGER bundle_activation_never_changes BEFORE UPDATE ON bundle_activation
BEGIN SELECT RAISE(ABORT, 'activations never change'); END;
