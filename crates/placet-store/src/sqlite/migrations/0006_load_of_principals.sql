-- How much each principal has waiting for people, and how often it asked them, by the minute: counted while it changes,
-- because counting requests at every call costs the more the more of them there are.

CREATE TABLE principal_waiting (
    principal TEXT    PRIMARY KEY CHECK (length(principal) = 30),
    pending   INTEGER NOT NULL CHECK (pending >= 0)
) STRICT, WITHOUT ROWID;
CREATE TABLE principal_asked (
    principal TEXT    NOT NULL CHECK (length(principal) = 30),
    minute    INTEGER NOT NULL CHECK (minute >= 0),
    reviews   INTEGER NOT NULL CHECK (reviews >= 1),
    PRIMARY KEY (principal, minute)
) STRICT, WITHOUT ROWID;

INSERT INTO principal_waiting (principal, pending)
    SELECT principal, count(*) FROM request WHERE status = 'pending' GROUP BY principal;
INSERT INTO principal_asked (principal, minute, reviews)
    SELECT principal, created_at / 60000, count(*) FROM request WHERE reviewed = 1 GROUP BY 1, 2;

CREATE TRIGGER request_begins_to_wait AFTER INSERT ON request WHEN NEW.status = 'pending'
BEGIN
    INSERT INTO principal_waiting (principal, pending) VALUES (NEW.principal, 1)
        ON CONFLICT (principal) DO UPDATE SET pending = pending + 1;
END;
CREATE TRIGGER request_waits_no_more AFTER UPDATE OF status ON request
WHEN OLD.status = 'pending' AND NEW.status <> 'pending'
BEGIN
    UPDATE principal_waiting SET pending = pending - 1 WHERE principal = NEW.principal;
END;
-- Nobody asks for what is older than an hour.
CREATE TRIGGER request_asks_people AFTER INSERT ON request WHEN NEW.reviewed = 1
BEGIN
    INSERT INTO principal_asked (principal, minute, reviews) VALUES (NEW.principal, NEW.created_at / 60000, 1)
        ON CONFLICT (principal, minute) DO UPDATE SET reviews = reviews + 1;
    DELETE FROM principal_asked WHERE principal = NEW.principal AND minute < NEW.created_at / 60000 - 60;
END;
