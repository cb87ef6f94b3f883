-- A log that begins anew after a restored database keeps its entries and gets another origin, and with it another key.
ALTER TABLE log_head ADD COLUMN epoch INTEGER NOT NULL DEFAULT 1 CHECK (epoch >= 1);
DROP TRIGGER log_head_grows;
CREATE TRIGGER log_head_grows BEFORE UPDATE ON log_head
WHEN NEW.key_store IS NOT OLD.key_store OR NEW.size < OLD.size OR NEW.last_time < OLD.last_time
  OR NEW.epoch NOT IN (OLD.epoch, OLD.epoch + 1)
  OR (NEW.origin IS NOT OLD.origin) <> (NEW.epoch IS NOT OLD.epoch)
BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;

-- When people were asked, and when that ended and how: for numbers over many requests, without opening any of them.
CREATE TABLE review (
    request    BLOB    PRIMARY KEY REFERENCES request (id),
    asked_at   INTEGER NOT NULL,
    decided_at INTEGER,
    result     TEXT    CHECK (result IN ('granted', 'denied', 'expired', 'cancelled', 'refused')),
    CHECK ((decided_at IS NULL) = (result IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX review_decided ON review (decided_at, result, asked_at) WHERE decided_at IS NOT NULL;
INSERT INTO review (request, asked_at, decided_at, result)
    SELECT id, created_at, CASE WHEN status = 'pending' THEN NULL ELSE updated_at END,
           CASE WHEN status IN ('denied', 'expired', 'cancelled', 'refused') THEN status
                WHEN status <> 'pending' THEN 'granted' END
    FROM request WHERE reviewed = 1;

-- Which guards ask, and for whom: words of the policy.
CREATE TABLE review_word (
    request  BLOB    NOT NULL REFERENCES review (request),
    kind     TEXT    NOT NULL CHECK (kind IN ('guard', 'role')),
    word     TEXT    NOT NULL,
    asked_at INTEGER NOT NULL,
    PRIMARY KEY (request, kind, word)
) STRICT, WITHOUT ROWID;
CREATE INDEX review_word_asked ON review_word (kind, asked_at, word);

CREATE INDEX request_ended ON request (updated_at, status)
    WHERE status NOT IN ('pending', 'granted', 'executing');
