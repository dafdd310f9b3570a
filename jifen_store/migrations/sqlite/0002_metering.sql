-- Metering. A charge writes the end of one list that all accounts share and one row of its account: a commit of many accounts
-- then changes few pages (see ARCHITECTURE.md, "Layout of the ledger").

-- The row of an account is its state after its last entry.
CREATE TABLE new_accounts (
    id               INTEGER PRIMARY KEY,
    -- A user has an account of the user's own number and, for test keys, one of that number negated.
    user_id          INTEGER NOT NULL REFERENCES users (id),
    balance          INTEGER NOT NULL CONSTRAINT accounts_balance_not_negative CHECK (balance >= 0),
    held             INTEGER NOT NULL,
    entry_count      INTEGER NOT NULL CONSTRAINT accounts_entry_count_not_negative CHECK (entry_count >= 0),
    charge_count     INTEGER NOT NULL CONSTRAINT accounts_charge_count_within_entries CHECK (charge_count >= 0 AND charge_count <= entry_count),
    lot_count        INTEGER NOT NULL CONSTRAINT accounts_lot_count_not_negative CHECK (lot_count >= 0),
    -- The lot drawn on next, where it is known: what is left and held of it is true here and may be out of date in lots.
    front_lot        INTEGER,
    front_remaining  INTEGER,
    front_held       INTEGER,
    front_expires_at INTEGER,
    -- The entries after the last whole block: 16 bytes each, the position and the fingerprint of the request.
    tail             BLOB NOT NULL,
    -- What was spent by them, a line for each day, key and title (see ledger/tail_usage.rs).
    tail_usage       BLOB NOT NULL,
    -- Some key of it has a cap, so what its keys spend is counted in key_spending.
    has_capped_keys  INTEGER NOT NULL CONSTRAINT accounts_has_capped_keys_boolean CHECK (has_capped_keys IN (0, 1)),
    -- The account it was merged into: it is empty since, and stays so.
    merged_into      INTEGER REFERENCES new_accounts (id),
    CONSTRAINT accounts_merged_empty CHECK (merged_into IS NULL OR (merged_into <> id AND balance = 0)),
    CONSTRAINT accounts_held_within_balance CHECK (held >= 0 AND held <= balance),
    CONSTRAINT accounts_number_of_user CHECK (id = user_id OR id = -user_id),
    CONSTRAINT accounts_front_whole CHECK ((front_lot IS NULL) = (front_remaining IS NULL) AND (front_lot IS NULL) = (front_held IS NULL)),
    CONSTRAINT accounts_front_within_balance CHECK (front_lot IS NULL OR (front_held >= 0 AND front_held <= front_remaining AND front_remaining <= balance)),
    CONSTRAINT accounts_tail_whole CHECK (length(tail) = 16 * (entry_count % 32)),
    CONSTRAINT accounts_tail_usage_of_tail CHECK (length(tail) > 0 OR length(tail_usage) = 0)
) STRICT;

CREATE TABLE new_lots (
    account_id     INTEGER NOT NULL REFERENCES new_accounts (id),
    number         INTEGER NOT NULL CONSTRAINT lots_number_positive CHECK (number > 0),
    source         TEXT   NOT NULL CONSTRAINT lots_source_known CHECK (source IN ('purchase', 'gift', 'merge', 'refund')),
    order_id       TEXT,
    -- Chosen by the operator, so that a repeated gift is given once.
    gift_key       TEXT,
    -- The lot that was moved here (merge), or the charge that was refunded (refund: the entry's number).
    origin_account INTEGER,
    origin_lot     INTEGER,
    origin_charge  INTEGER,
    points         INTEGER NOT NULL CONSTRAINT lots_points_positive CHECK (points > 0),
    remaining      INTEGER NOT NULL,
    held           INTEGER NOT NULL,
    expires_at     INTEGER,
    granted_at     INTEGER NOT NULL,
    PRIMARY KEY (account_id, number),
    CONSTRAINT lots_remaining_within_points CHECK (remaining >= 0 AND remaining <= points),
    CONSTRAINT lots_held_within_remaining CHECK (held >= 0 AND held <= remaining),
    CONSTRAINT lots_order_of_purchase CHECK ((source = 'purchase') = (order_id IS NOT NULL)),
    CONSTRAINT lots_key_of_gift CHECK ((source = 'gift') = (gift_key IS NOT NULL)),
    CONSTRAINT lots_account_of_origin CHECK ((source IN ('merge', 'refund')) = (origin_account IS NOT NULL)),
    CONSTRAINT lots_lot_of_merge CHECK ((source = 'merge') = (origin_lot IS NOT NULL)),
    CONSTRAINT lots_charge_of_refund CHECK ((source = 'refund') = (origin_charge IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- Every movement of every account, in the order they were written.
CREATE TABLE new_entries (
    position      INTEGER PRIMARY KEY,
    -- Without a reference to it, which would be looked up for each row: whoever writes here has locked the account.
    account_id    INTEGER NOT NULL,
    -- 1, 2, 3 … within the account.
    number        INTEGER NOT NULL CONSTRAINT entries_number_positive CHECK (number > 0),
    -- Charges come first here and below: for a list of three or more SQLite builds a table each time it is looked at.
    kind          TEXT   NOT NULL CONSTRAINT entries_kind_known CHECK (kind = 'charge' OR kind IN ('grant', 'refund', 'hold', 'extend', 'release', 'expiry', 'merge_out')),
    points        INTEGER NOT NULL,
    balance_after INTEGER NOT NULL CONSTRAINT entries_balance_not_negative CHECK (balance_after >= 0),
    held_after    INTEGER NOT NULL,
    at            INTEGER NOT NULL,
    charge_number INTEGER CONSTRAINT entries_charge_number_positive CHECK (charge_number > 0),
    -- The lot that was granted, or the only one that was drawn on, given back to or held; of several, there are draws.
    lot_number    INTEGER,
    -- The hold's entry (of its end, and of its capture), or the charge's (of its refund, with the account it was in); of a hold that
    -- came by a merge, the one it was there.
    origin_account INTEGER,
    origin_entry  INTEGER,
    -- What a hold has set aside after it was made or extended, and when it ends by itself.
    hold_points   INTEGER,
    hold_expires_at INTEGER,
    api_key_id    TEXT,
    tariff_id     INTEGER,
    units         INTEGER,
    title         TEXT   NOT NULL,
    description   TEXT,
    -- Names the request that caused it within the account, and what was asked for.
    request_key   BLOB,
    request_hash  BLOB,
    CONSTRAINT entries_held_within_balance CHECK (held_after >= 0 AND held_after <= balance_after),
    CONSTRAINT entries_points_sign CHECK (
        CASE WHEN kind = 'charge' THEN points <= 0 WHEN kind IN ('grant', 'refund') THEN points > 0 WHEN kind IN ('hold', 'extend', 'release') THEN points = 0 ELSE points <= 0 END),
    CONSTRAINT entries_points_of_hold CHECK ((kind IN ('hold', 'extend')) = (hold_points IS NOT NULL)),
    CONSTRAINT entries_end_of_hold CHECK ((kind IN ('hold', 'extend')) = (hold_expires_at IS NOT NULL)),
    CONSTRAINT entries_number_of_charge CHECK ((kind = 'charge') = (charge_number IS NOT NULL)),
    CONSTRAINT entries_key_of_charge CHECK (kind <> 'charge' OR api_key_id IS NOT NULL),
    CONSTRAINT entries_request_whole CHECK ((request_key IS NULL) = (request_hash IS NULL))
) STRICT;

-- Where the entries of an account are, 32 a row.
CREATE TABLE entry_blocks (
    account_id     INTEGER NOT NULL,
    -- Entries 32 × block + 1 to 32 × block + 32.
    block          INTEGER NOT NULL CONSTRAINT entry_blocks_block_not_negative CHECK (block >= 0),
    -- Charges among the entries before the block.
    charges_before INTEGER NOT NULL,
    -- Eight bytes each, big-endian.
    positions      BLOB NOT NULL CONSTRAINT entry_blocks_whole CHECK (length(positions) = 256),
    PRIMARY KEY (account_id, block)
) STRICT, WITHOUT ROWID;
CREATE INDEX entry_blocks_charges ON entry_blocks (account_id, charges_before, block);

-- Requests of the entries in whole blocks; those of the others are in the account's tail.
CREATE TABLE request_keys (
    account_id  INTEGER NOT NULL,
    -- Both halves of the request key in one (exclusive or), never zeros. It finds candidates; the key in the entry decides.
    fingerprint BLOB NOT NULL CONSTRAINT request_keys_fingerprint_whole CHECK (length(fingerprint) = 8),
    position    INTEGER NOT NULL,
    PRIMARY KEY (account_id, fingerprint, position)
) STRICT, WITHOUT ROWID;

-- What was spent by the entries in whole blocks. Days are China's.
CREATE TABLE usage_days (
    account_id INTEGER NOT NULL,
    day        INTEGER NOT NULL,
    api_key_id TEXT   NOT NULL,
    title      TEXT   NOT NULL,
    charges    INTEGER NOT NULL CONSTRAINT usage_days_charges_not_negative CHECK (charges >= 0),
    -- Less what was given back on that day.
    points     INTEGER NOT NULL,
    PRIMARY KEY (account_id, day, api_key_id, title)
) STRICT, WITHOUT ROWID;

CREATE TABLE new_draws (
    account_id   INTEGER NOT NULL,
    entry_number INTEGER NOT NULL,
    lot_number   INTEGER NOT NULL,
    points       INTEGER NOT NULL CONSTRAINT draws_points_positive CHECK (points > 0),
    PRIMARY KEY (account_id, entry_number, lot_number),
    FOREIGN KEY (account_id, lot_number) REFERENCES new_lots (account_id, number)
) STRICT, WITHOUT ROWID;

-- Points set aside for a call whose price is not known yet. Its number is that of its entry.
CREATE TABLE holds (
    account_id   INTEGER NOT NULL REFERENCES new_accounts (id),
    entry_number INTEGER NOT NULL,
    points       INTEGER NOT NULL CONSTRAINT holds_points_positive CHECK (points > 0),
    created_at   INTEGER NOT NULL,
    state        TEXT   NOT NULL CONSTRAINT holds_state_known CHECK (state IN ('held', 'captured', 'released', 'expired', 'moved')),
    expires_at   INTEGER NOT NULL,
    api_key_id   TEXT   NOT NULL,
    tariff_id    INTEGER,
    title        TEXT   NOT NULL,
    description  TEXT,
    -- The hold it was in an account that was merged into this one, where its state is 'moved'.
    origin_account INTEGER,
    origin_entry INTEGER,
    -- The entry that ended it.
    end_entry    INTEGER,
    -- What was asked for beyond what could be taken, when it was captured.
    shortfall    INTEGER CONSTRAINT holds_shortfall_not_negative CHECK (shortfall >= 0),
    PRIMARY KEY (account_id, entry_number),
    CONSTRAINT holds_origin_whole CHECK ((origin_account IS NULL) = (origin_entry IS NULL)),
    CONSTRAINT holds_end_whole CHECK ((state = 'held') = (end_entry IS NULL)),
    CONSTRAINT holds_shortfall_of_capture CHECK ((state = 'captured') = (shortfall IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX holds_open ON holds (account_id) WHERE state = 'held';
CREATE INDEX holds_due ON holds (expires_at) WHERE state = 'held';
CREATE UNIQUE INDEX holds_one_move_per_hold ON holds (origin_account, origin_entry) WHERE origin_account IS NOT NULL;

-- From which lots a hold's points will be taken.
CREATE TABLE hold_lots (
    account_id   INTEGER NOT NULL,
    entry_number INTEGER NOT NULL,
    lot_number   INTEGER NOT NULL,
    points       INTEGER NOT NULL CONSTRAINT hold_lots_points_positive CHECK (points > 0),
    PRIMARY KEY (account_id, entry_number, lot_number),
    FOREIGN KEY (account_id, entry_number) REFERENCES holds (account_id, entry_number),
    FOREIGN KEY (account_id, lot_number) REFERENCES new_lots (account_id, number)
) STRICT, WITHOUT ROWID;

-- Charges of which something was given back.
CREATE TABLE charge_refunds (
    account_id   INTEGER NOT NULL,
    entry_number INTEGER NOT NULL,
    charged      INTEGER NOT NULL,
    refunded     INTEGER NOT NULL CONSTRAINT charge_refunds_within_charge CHECK (refunded > 0 AND refunded <= charged),
    PRIMARY KEY (account_id, entry_number)
) STRICT, WITHOUT ROWID;

INSERT INTO new_accounts (id, user_id, balance, held, entry_count, charge_count, lot_count, tail, tail_usage, has_capped_keys, merged_into)
SELECT id, id, balance, 0, entry_count, charge_count, lot_count, zeroblob(16 * (entry_count % 32)), zeroblob(0), 0,
    (SELECT older_id FROM merges WHERE younger_id = accounts.id) FROM accounts;

INSERT INTO new_lots (account_id, number, source, order_id, gift_key, origin_account, origin_lot, points, remaining, held, expires_at, granted_at)
SELECT account_id, number, source, order_id, gift_key, origin_account, origin_lot, points, remaining, 0, expires_at, granted_at FROM lots;

INSERT INTO new_entries (position, account_id, number, kind, points, balance_after, held_after, at, charge_number, lot_number, api_key_id, title,
    description, request_key, request_hash)
SELECT ROW_NUMBER() OVER (ORDER BY e.at, e.account_id, e.number), e.account_id, e.number, e.kind, e.points, e.balance_after, 0, e.at, e.charge_number,
    COALESCE(e.lot_number, (SELECT MAX(d.lot_number) FROM draws d WHERE d.account_id = e.account_id AND d.entry_number = e.number HAVING COUNT(*) = 1)),
    e.api_key_id, e.title, e.description,
    substr(sha256(CAST(r.credential_id || '/' || r.idempotency_key AS BLOB)), 1, 16), substr(r.input_hash, 1, 8)
FROM entries e LEFT JOIN charge_requests r ON r.account_id = e.account_id AND r.entry_number = e.number;

CREATE INDEX new_entries_number ON new_entries (account_id, number);

INSERT INTO new_draws (account_id, entry_number, lot_number, points)
SELECT d.account_id, d.entry_number, d.lot_number, d.points FROM draws d
WHERE (SELECT COUNT(*) FROM draws o WHERE o.account_id = d.account_id AND o.entry_number = d.entry_number) > 1;

INSERT INTO entry_blocks (account_id, block, charges_before, positions)
SELECT o.account_id, o.block,
    (SELECT COUNT(*) FROM entries b WHERE b.account_id = o.account_id AND b.number <= o.block * 32 AND b.charge_number IS NOT NULL), unhex(group_concat(printf('%016x', o.position), '' ORDER BY o.number))
FROM (SELECT e.account_id, e.number, e.position, (e.number - 1) / 32 AS block FROM new_entries e JOIN accounts a ON a.id = e.account_id
    WHERE e.number <= a.entry_count / 32 * 32) o
GROUP BY o.account_id, o.block;

INSERT INTO request_keys (account_id, fingerprint, position)
SELECT e.account_id, request_fingerprint(e.request_key), e.position FROM new_entries e JOIN accounts a ON a.id = e.account_id
WHERE e.request_key IS NOT NULL AND e.number <= a.entry_count / 32 * 32;

INSERT INTO usage_days (account_id, day, api_key_id, title, charges, points)
SELECT e.account_id, (e.at + 28800000000) / 86400000000, e.api_key_id, e.title, COUNT(*), -SUM(e.points)
FROM new_entries e JOIN accounts a ON a.id = e.account_id
WHERE e.kind = 'charge' AND e.number <= a.entry_count / 32 * 32
GROUP BY 1, 2, 3, 4;

UPDATE new_accounts SET tail = (
    SELECT unhex(group_concat(printf('%016x', e.position) || hex(COALESCE(request_fingerprint(e.request_key), zeroblob(8))), '' ORDER BY e.number))
    FROM new_entries e WHERE e.account_id = new_accounts.id AND e.number > new_accounts.entry_count / 32 * 32)
WHERE entry_count % 32 > 0;

UPDATE new_accounts SET tail_usage = COALESCE((
    SELECT unhex(group_concat(printf('%08x%02x%016x%04x%04x', u.day, u.charges, u.points, length(CAST(u.api_key_id AS BLOB)), length(CAST(u.title AS BLOB)))
        || hex(u.api_key_id || u.title), '' ORDER BY u.first))
    FROM (SELECT (e.at + 28800000000) / 86400000000 AS day, e.api_key_id, e.title, COUNT(*) AS charges, -SUM(e.points) AS points, MIN(e.number) AS first
        FROM new_entries e WHERE e.account_id = new_accounts.id AND e.kind = 'charge' AND e.number > new_accounts.entry_count / 32 * 32
        GROUP BY 1, 2, 3) u), zeroblob(0))
WHERE entry_count % 32 > 0;

DROP INDEX new_entries_number;
DROP TABLE charge_requests;
DROP TABLE draws;
DROP TABLE entries;
DROP TABLE lots;
DROP TABLE accounts;
ALTER TABLE new_accounts RENAME TO accounts;
ALTER TABLE new_lots RENAME TO lots;
ALTER TABLE new_entries RENAME TO entries;
ALTER TABLE new_draws RENAME TO draws;
CREATE INDEX accounts_user ON accounts (user_id);
CREATE UNIQUE INDEX lots_one_grant_per_order ON lots (order_id) WHERE order_id IS NOT NULL;
CREATE UNIQUE INDEX lots_one_gift_per_key ON lots (gift_key) WHERE gift_key IS NOT NULL;
CREATE UNIQUE INDEX lots_one_move_per_lot ON lots (origin_account, origin_lot) WHERE origin_lot IS NOT NULL;
CREATE INDEX lots_open ON lots (account_id) WHERE remaining > 0;
CREATE INDEX lots_open_expiry ON lots (expires_at) WHERE remaining > 0 AND expires_at IS NOT NULL;

-- What a route costs. A change is a new row, so that an entry keeps the tariff it was charged under.
CREATE TABLE tariffs (
    id              INTEGER PRIMARY KEY,
    -- `*` for every method.
    method          TEXT   NOT NULL,
    -- `/v1/ocr`, `/v1/files/*`.
    path            TEXT   NOT NULL,
    version         INTEGER NOT NULL CONSTRAINT tariffs_version_positive CHECK (version > 0),
    title           TEXT   NOT NULL,
    points_per_call INTEGER NOT NULL CONSTRAINT tariffs_points_per_call_not_negative CHECK (points_per_call >= 0),
    -- Millionths of a point for so many units.
    unit_micropoints INTEGER NOT NULL CONSTRAINT tariffs_unit_micropoints_not_negative CHECK (unit_micropoints >= 0),
    units_priced    INTEGER NOT NULL CONSTRAINT tariffs_units_priced_positive CHECK (units_priced > 0),
    points_min      INTEGER NOT NULL CONSTRAINT tariffs_points_min_not_negative CHECK (points_min >= 0),
    created_at      INTEGER NOT NULL,
    -- From then on a later version, or none, is in force.
    retired_at      INTEGER,
    UNIQUE (method, path, version),
    CONSTRAINT tariffs_never_free CHECK (points_per_call > 0 OR points_min > 0)
) STRICT;
CREATE UNIQUE INDEX tariffs_one_in_force ON tariffs (method, path) WHERE retired_at IS NULL;

-- API keys: what they may do, and a secret that can be replaced.
CREATE TABLE new_api_keys (
    id           TEXT   PRIMARY KEY,
    user_id      INTEGER NOT NULL REFERENCES users (id),
    name         TEXT   NOT NULL,
    active       INTEGER NOT NULL CONSTRAINT api_keys_active_boolean CHECK (active IN (0, 1)),
    is_test      INTEGER NOT NULL CONSTRAINT api_keys_is_test_boolean CHECK (is_test IN (0, 1)),
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    deleted_at   INTEGER,
    -- The last four characters of the secret before its checksum, to tell keys apart; unknown for the oldest.
    hint         TEXT,
    daily_cap    INTEGER CONSTRAINT api_keys_daily_cap_positive CHECK (daily_cap > 0),
    monthly_cap  INTEGER CONSTRAINT api_keys_monthly_cap_positive CHECK (monthly_cap > 0),
    total_cap    INTEGER CONSTRAINT api_keys_total_cap_positive CHECK (total_cap > 0),
    rate_requests INTEGER CONSTRAINT api_keys_rate_requests_positive CHECK (rate_requests > 0),
    rate_seconds INTEGER CONSTRAINT api_keys_rate_seconds_positive CHECK (rate_seconds > 0),
    -- `10.0.0.0/8 2001:db8::/32`; empty for everywhere.
    ip_ranges    TEXT   NOT NULL,
    -- `POST /v1/ocr, * /v1/files/*`; empty for every route.
    scopes       TEXT   NOT NULL,
    CONSTRAINT api_keys_rate_whole CHECK ((rate_requests IS NULL) = (rate_seconds IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE api_key_secrets (
    secret_hash BLOB   PRIMARY KEY,
    api_key_id  TEXT   NOT NULL REFERENCES new_api_keys (id),
    -- A replaced secret is good until then.
    valid_until INTEGER
) STRICT, WITHOUT ROWID;

-- What a key with a cap has spent and holds; a row for each such key.
CREATE TABLE key_spending (
    api_key_id   TEXT   PRIMARY KEY REFERENCES new_api_keys (id),
    account_id   INTEGER NOT NULL,
    -- The day and the month (year × 12 + month − 1) the points below are of. China's.
    day          INTEGER NOT NULL,
    day_points   INTEGER NOT NULL CONSTRAINT key_spending_day_points_not_negative CHECK (day_points >= 0),
    month        INTEGER NOT NULL,
    month_points INTEGER NOT NULL CONSTRAINT key_spending_month_points_not_negative CHECK (month_points >= 0),
    total_points INTEGER NOT NULL CONSTRAINT key_spending_total_points_not_negative CHECK (total_points >= 0)
) STRICT, WITHOUT ROWID;

INSERT INTO new_api_keys (id, user_id, name, active, is_test, created_at, expires_at, last_used_at, deleted_at, ip_ranges, scopes)
SELECT id, user_id, name, active, 0, created_at, expires_at, last_used_at, deleted_at, '', '' FROM api_keys;
INSERT INTO api_key_secrets (secret_hash, api_key_id) SELECT key_hash, id FROM api_keys;
DROP TABLE api_keys;
ALTER TABLE new_api_keys RENAME TO api_keys;
CREATE INDEX api_keys_user ON api_keys (user_id, created_at, id);
CREATE INDEX api_key_secrets_key ON api_key_secrets (api_key_id);
CREATE INDEX key_spending_account ON key_spending (account_id);

-- What a gateway may do (`verify charge hold refund`) and how often it may ask.
ALTER TABLE service_credentials ADD COLUMN scopes TEXT NOT NULL DEFAULT 'verify charge hold refund';
ALTER TABLE service_credentials ADD COLUMN rate_requests INTEGER;
ALTER TABLE service_credentials ADD COLUMN rate_seconds INTEGER;
