-- What was recorded of executions, beside their requests. It is personal, so it is sealed; it never changes, and like
-- everything sealed it is erased by destroying its key.

CREATE TABLE recording (
    execution BLOB PRIMARY KEY CHECK (length(execution) = 16),
    request   BLOB NOT NULL REFERENCES request (id),
    sealed    BLOB NOT NULL
) STRICT;
CREATE TRIGGER recording_never_changes BEFORE UPDATE ON recording
BEGIN SELECT RAISE(ABORT, 'a recording never changes'); END;
