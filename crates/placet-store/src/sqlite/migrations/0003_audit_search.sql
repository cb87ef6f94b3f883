-- An index for questions about requests, made of entries and remade from them. A fact is "this request has this token";
-- a token is half an HMAC of what is known (an action, who asked, a resource, who voted), so that nothing personal
-- stands here. Facts of a generation that is being built are written beside those of the one that answers.

CREATE TABLE search_generation (
    gen   INTEGER PRIMARY KEY CHECK (gen >= 1),
    state TEXT    NOT NULL UNIQUE CHECK (state IN ('active', 'building')),
    -- The longest time in milliseconds between a request's id and a step of its life.
    life  INTEGER NOT NULL CHECK (life >= 0)
) STRICT;
-- With entries that are older than the index there is no active generation yet: the store makes one when it opens.
INSERT INTO search_generation (gen, state, life)
SELECT 1, 'active', 0 WHERE NOT EXISTS (SELECT 1 FROM entry);

CREATE TABLE search_fact (
    gen     INTEGER NOT NULL,
    token   BLOB    NOT NULL CHECK (length(token) = 16),
    request BLOB    NOT NULL CHECK (length(request) = 16),
    PRIMARY KEY (gen, token, request)
) STRICT, WITHOUT ROWID;

-- Lists of reviews pass over what policy decided alone.
CREATE INDEX request_reviewed ON request (status, id) WHERE reviewed = 1;
