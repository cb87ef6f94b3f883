-- What came out of executions, kept for a while for those who come for it.
CREATE TABLE delivery (
    request BLOB    PRIMARY KEY REFERENCES request (id),
    at      INTEGER NOT NULL CHECK (at >= 0),
    sealed  BLOB    NOT NULL
) STRICT;
CREATE INDEX delivery_age ON delivery (at);
