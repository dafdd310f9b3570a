-- Metering. A charge writes the end of one list that all accounts share and one row of its account: a commit of many accounts
-- then changes few pages (see ARCHITECTURE.md, "Layout of the ledger").

-- The row of an account is its state after its last entry. Half of each page is left free for its next versions.
ALTER TABLE accounts DROP CONSTRAINT accounts_id_fkey;
-- A user has an account of the user's own number and, for test keys, one of that number negated.
ALTER TABLE accounts ADD COLUMN user_id BIGINT REFERENCES users (id);
ALTER TABLE accounts ADD COLUMN held BIGINT NOT NULL DEFAULT 0;
-- The lot drawn on next, where it is known: what is left and held of it is true here and may be out of date in lots.
ALTER TABLE accounts ADD COLUMN front_lot BIGINT;
ALTER TABLE accounts ADD COLUMN front_remaining BIGINT;
ALTER TABLE accounts ADD COLUMN front_held BIGINT;
ALTER TABLE accounts ADD COLUMN front_expires_at BIGINT;
-- The entries after the last whole block: 16 bytes each, the position and the fingerprint of the request.
ALTER TABLE accounts ADD COLUMN tail BYTEA NOT NULL DEFAULT '';
-- What was spent by them, a line for each day, key and title (see ledger/tail_usage.rs).
ALTER TABLE accounts ADD COLUMN tail_usage BYTEA NOT NULL DEFAULT '';
-- Some key of it has a cap, so what its keys spend is counted in key_spending.
ALTER TABLE accounts ADD COLUMN has_capped_keys BIGINT NOT NULL DEFAULT 0 CONSTRAINT accounts_has_capped_keys_boolean CHECK (has_capped_keys IN (0, 1));
-- The account it was merged into: it is empty since, and stays so.
ALTER TABLE accounts ADD COLUMN merged_into BIGINT REFERENCES accounts (id);
UPDATE accounts SET user_id = id, merged_into = (SELECT older_id FROM merges WHERE younger_id = id);
ALTER TABLE accounts
    SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05),
    ALTER COLUMN user_id SET NOT NULL,
    ALTER COLUMN held DROP DEFAULT,
    ALTER COLUMN tail DROP DEFAULT,
    ALTER COLUMN tail_usage DROP DEFAULT,
    ALTER COLUMN has_capped_keys DROP DEFAULT,
    ALTER COLUMN tail SET STORAGE PLAIN,
    ALTER COLUMN tail_usage SET STORAGE EXTERNAL,
    ADD CONSTRAINT accounts_merged_empty CHECK (merged_into IS NULL OR (merged_into <> id AND balance = 0)),
    ADD CONSTRAINT accounts_held_within_balance CHECK (held >= 0 AND held <= balance),
    ADD CONSTRAINT accounts_number_of_user CHECK (id = user_id OR id = -user_id),
    ADD CONSTRAINT accounts_front_whole CHECK ((front_lot IS NULL) = (front_remaining IS NULL) AND (front_lot IS NULL) = (front_held IS NULL)),
    ADD CONSTRAINT accounts_front_within_balance CHECK (front_lot IS NULL OR (front_held >= 0 AND front_held <= front_remaining AND front_remaining <= balance));
CREATE INDEX accounts_user ON accounts (user_id);

-- The lot that was moved here (merge), or the charge that was refunded (refund: the entry's number).
ALTER TABLE lots ADD COLUMN origin_charge BIGINT;
ALTER TABLE lots ADD COLUMN held BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lots
    ALTER COLUMN held DROP DEFAULT,
    DROP CONSTRAINT lots_source_known,
    DROP CONSTRAINT lots_account_of_merge,
    ADD CONSTRAINT lots_source_known CHECK (source IN ('purchase', 'gift', 'merge', 'refund')),
    ADD CONSTRAINT lots_held_within_remaining CHECK (held >= 0 AND held <= remaining),
    ADD CONSTRAINT lots_account_of_origin CHECK ((source IN ('merge', 'refund')) = (origin_account IS NOT NULL)),
    ADD CONSTRAINT lots_charge_of_refund CHECK ((source = 'refund') = (origin_charge IS NOT NULL));

-- Every movement of every account, in the order they were written.
CREATE SEQUENCE entry_positions;
CREATE TABLE new_entries (
    position      BIGINT NOT NULL,
    -- Without a reference to it, which would be looked up for each row: whoever writes here has locked the account.
    account_id    BIGINT NOT NULL,
    -- 1, 2, 3 … within the account.
    number        BIGINT NOT NULL CONSTRAINT entries_number_positive CHECK (number > 0),
    -- Charges come first here and below: for a list of three or more SQLite builds a table each time it is looked at.
    kind          TEXT   NOT NULL CONSTRAINT entries_kind_known CHECK (kind = 'charge' OR kind IN ('grant', 'refund', 'hold', 'extend', 'release', 'expiry', 'merge_out')),
    points        BIGINT NOT NULL,
    balance_after BIGINT NOT NULL CONSTRAINT entries_balance_not_negative CHECK (balance_after >= 0),
    held_after    BIGINT NOT NULL,
    at            BIGINT NOT NULL,
    charge_number BIGINT CONSTRAINT entries_charge_number_positive CHECK (charge_number > 0),
    -- The lot that was granted, or the only one that was drawn on, given back to or held; of several, there are draws.
    lot_number    BIGINT,
    -- The hold's entry (of its end, and of its capture), or the charge's (of its refund, with the account it was in); of a hold that
    -- came by a merge, the one it was there.
    origin_account BIGINT,
    origin_entry  BIGINT,
    -- What a hold has set aside after it was made or extended, and when it ends by itself.
    hold_points   BIGINT,
    hold_expires_at BIGINT,
    api_key_id    TEXT,
    tariff_id     BIGINT,
    units         BIGINT,
    title         TEXT   NOT NULL,
    description   TEXT,
    -- Names the request that caused it within the account, and what was asked for.
    request_key   BYTEA,
    request_hash  BYTEA,
    CONSTRAINT entries_held_within_balance CHECK (held_after >= 0 AND held_after <= balance_after),
    CONSTRAINT entries_points_sign CHECK (
        CASE WHEN kind = 'charge' THEN points <= 0 WHEN kind IN ('grant', 'refund') THEN points > 0 WHEN kind IN ('hold', 'extend', 'release') THEN points = 0 ELSE points <= 0 END),
    CONSTRAINT entries_points_of_hold CHECK ((kind IN ('hold', 'extend')) = (hold_points IS NOT NULL)),
    CONSTRAINT entries_end_of_hold CHECK ((kind IN ('hold', 'extend')) = (hold_expires_at IS NOT NULL)),
    CONSTRAINT entries_number_of_charge CHECK ((kind = 'charge') = (charge_number IS NOT NULL)),
    CONSTRAINT entries_key_of_charge CHECK (kind <> 'charge' OR api_key_id IS NOT NULL),
    CONSTRAINT entries_request_whole CHECK ((request_key IS NULL) = (request_hash IS NULL)),
    PRIMARY KEY (position, account_id)
);

-- Where the entries of an account are, 32 a row.
CREATE TABLE entry_blocks (
    account_id     BIGINT NOT NULL,
    -- Entries 32 × block + 1 to 32 × block + 32.
    block          BIGINT NOT NULL CONSTRAINT entry_blocks_block_not_negative CHECK (block >= 0),
    -- Charges among the entries before the block.
    charges_before BIGINT NOT NULL,
    -- Eight bytes each, big-endian.
    positions      BYTEA NOT NULL CONSTRAINT entry_blocks_whole CHECK (length(positions) = 256),
    PRIMARY KEY (account_id, block)
);
CREATE INDEX entry_blocks_charges ON entry_blocks (account_id, charges_before, block);

-- Requests of the entries in whole blocks; those of the others are in the account's tail.
CREATE TABLE request_keys (
    account_id  BIGINT NOT NULL,
    -- Both halves of the request key in one (exclusive or), never zeros. It finds candidates; the key in the entry decides.
    fingerprint BYTEA NOT NULL CONSTRAINT request_keys_fingerprint_whole CHECK (length(fingerprint) = 8),
    position    BIGINT NOT NULL,
    PRIMARY KEY (account_id, fingerprint, position)
);
CREATE FUNCTION request_fingerprint(key BYTEA) RETURNS BYTEA LANGUAGE SQL IMMUTABLE RETURN int8send((
    ('x' || encode(substring(key FROM 1 FOR 8), 'hex'))::bit(64) # ('x' || encode(substring(key FROM 9 FOR 8), 'hex'))::bit(64))::bigint);

-- What was spent by the entries in whole blocks. Days are China's.
CREATE TABLE usage_days (
    account_id BIGINT NOT NULL,
    day        BIGINT NOT NULL,
    api_key_id TEXT   NOT NULL,
    title      TEXT   NOT NULL,
    charges    BIGINT NOT NULL CONSTRAINT usage_days_charges_not_negative CHECK (charges >= 0),
    -- Less what was given back on that day.
    points     BIGINT NOT NULL,
    PRIMARY KEY (account_id, day, api_key_id, title)
);

-- Points set aside for a call whose price is not known yet. Its number is that of its entry.
CREATE TABLE holds (
    account_id   BIGINT NOT NULL REFERENCES accounts (id),
    entry_number BIGINT NOT NULL,
    points       BIGINT NOT NULL CONSTRAINT holds_points_positive CHECK (points > 0),
    created_at   BIGINT NOT NULL,
    state        TEXT   NOT NULL CONSTRAINT holds_state_known CHECK (state IN ('held', 'captured', 'released', 'expired', 'moved')),
    expires_at   BIGINT NOT NULL,
    api_key_id   TEXT   NOT NULL,
    tariff_id    BIGINT,
    title        TEXT   NOT NULL,
    description  TEXT,
    -- The hold it was in an account that was merged into this one, where its state is 'moved'.
    origin_account BIGINT,
    origin_entry BIGINT,
    -- The entry that ended it.
    end_entry    BIGINT,
    -- What was asked for beyond what could be taken, when it was captured.
    shortfall    BIGINT CONSTRAINT holds_shortfall_not_negative CHECK (shortfall >= 0),
    PRIMARY KEY (account_id, entry_number),
    CONSTRAINT holds_origin_whole CHECK ((origin_account IS NULL) = (origin_entry IS NULL)),
    CONSTRAINT holds_end_whole CHECK ((state = 'held') = (end_entry IS NULL)),
    CONSTRAINT holds_shortfall_of_capture CHECK ((state = 'captured') = (shortfall IS NOT NULL))
);
CREATE INDEX holds_open ON holds (account_id) WHERE state = 'held';
CREATE INDEX holds_due ON holds (expires_at) WHERE state = 'held';
CREATE UNIQUE INDEX holds_one_move_per_hold ON holds (origin_account, origin_entry) WHERE origin_account IS NOT NULL;

-- From which lots a hold's points will be taken.
CREATE TABLE hold_lots (
    account_id   BIGINT NOT NULL,
    entry_number BIGINT NOT NULL,
    lot_number   BIGINT NOT NULL,
    points       BIGINT NOT NULL CONSTRAINT hold_lots_points_positive CHECK (points > 0),
    PRIMARY KEY (account_id, entry_number, lot_number),
    FOREIGN KEY (account_id, entry_number) REFERENCES holds (account_id, entry_number),
    FOREIGN KEY (account_id, lot_number) REFERENCES lots (account_id, number)
);

-- Charges of which something was given back.
CREATE TABLE charge_refunds (
    account_id   BIGINT NOT NULL,
    entry_number BIGINT NOT NULL,
    charged      BIGINT NOT NULL,
    refunded     BIGINT NOT NULL CONSTRAINT charge_refunds_within_charge CHECK (refunded > 0 AND refunded <= charged),
    PRIMARY KEY (account_id, entry_number)
);

INSERT INTO new_entries (position, account_id, number, kind, points, balance_after, held_after, at, charge_number, lot_number, api_key_id, title,
    description, request_key, request_hash)
SELECT ROW_NUMBER() OVER (ORDER BY e.at, e.account_id, e.number), e.account_id, e.number, e.kind, e.points, e.balance_after, 0, e.at, e.charge_number,
    COALESCE(e.lot_number, (SELECT MAX(d.lot_number) FROM draws d WHERE d.account_id = e.account_id AND d.entry_number = e.number HAVING COUNT(*) = 1)),
    e.api_key_id, e.title, e.description,
    substring(sha256(convert_to(r.credential_id || '/' || r.idempotency_key, 'UTF8')) FROM 1 FOR 16), substring(r.input_hash FROM 1 FOR 8)
FROM entries e LEFT JOIN charge_requests r ON r.account_id = e.account_id AND r.entry_number = e.number;
SELECT setval('entry_positions', (SELECT MAX(position) FROM new_entries)) WHERE EXISTS (SELECT 1 FROM new_entries);
CREATE INDEX new_entries_number ON new_entries (account_id, number);
ANALYZE new_entries;

INSERT INTO entry_blocks (account_id, block, charges_before, positions)
SELECT o.account_id, o.block,
    (SELECT COUNT(*) FROM entries b WHERE b.account_id = o.account_id AND b.number <= o.block * 32 AND b.charge_number IS NOT NULL), decode(string_agg(lpad(to_hex(o.position), 16, '0'), '' ORDER BY o.number), 'hex')
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

UPDATE accounts SET tail = (
    SELECT decode(string_agg(lpad(to_hex(e.position), 16, '0') || COALESCE(encode(request_fingerprint(e.request_key), 'hex'), '0000000000000000'), '' ORDER BY e.number), 'hex')
    FROM new_entries e WHERE e.account_id = accounts.id AND e.number > accounts.entry_count / 32 * 32)
WHERE entry_count % 32 > 0;
DROP FUNCTION request_fingerprint;

UPDATE accounts SET tail_usage = COALESCE((
    SELECT decode(string_agg(lpad(to_hex(u.day), 8, '0') || lpad(to_hex(u.charges), 2, '0') || lpad(to_hex(u.points), 16, '0')
        || lpad(to_hex(octet_length(u.api_key_id)), 4, '0') || lpad(to_hex(octet_length(u.title)), 4, '0')
        || encode(convert_to(u.api_key_id || u.title, 'UTF8'), 'hex'), '' ORDER BY u.first), 'hex')
    FROM (SELECT (e.at + 28800000000) / 86400000000 AS day, e.api_key_id, e.title, COUNT(*) AS charges, CAST(-SUM(e.points) AS BIGINT) AS points,
            MIN(e.number) AS first
        FROM new_entries e WHERE e.account_id = accounts.id AND e.kind = 'charge' AND e.number > accounts.entry_count / 32 * 32
        GROUP BY 1, 2, 3) u), '')
WHERE entry_count % 32 > 0;
ALTER TABLE accounts
    ADD CONSTRAINT accounts_tail_whole CHECK (length(tail) = 16 * (entry_count % 32)),
    ADD CONSTRAINT accounts_tail_usage_of_tail CHECK (length(tail) > 0 OR length(tail_usage) = 0);

DROP INDEX new_entries_number;
DROP TABLE charge_requests;
ALTER TABLE draws DROP CONSTRAINT draws_account_id_entry_number_fkey;
DELETE FROM draws d WHERE (SELECT COUNT(*) FROM draws o WHERE o.account_id = d.account_id AND o.entry_number = d.entry_number) = 1;
DROP TABLE entries;
ALTER TABLE new_entries RENAME TO entries;
ALTER INDEX new_entries_pkey RENAME TO entries_pkey;

-- What a route costs. A change is a new row, so that an entry keeps the tariff it was charged under.
CREATE TABLE tariffs (
    id              BIGINT PRIMARY KEY,
    -- `*` for every method.
    method          TEXT   NOT NULL,
    -- `/v1/ocr`, `/v1/files/*`.
    path            TEXT   NOT NULL,
    version         BIGINT NOT NULL CONSTRAINT tariffs_version_positive CHECK (version > 0),
    title           TEXT   NOT NULL,
    points_per_call BIGINT NOT NULL CONSTRAINT tariffs_points_per_call_not_negative CHECK (points_per_call >= 0),
    -- Millionths of a point for so many units.
    unit_micropoints BIGINT NOT NULL CONSTRAINT tariffs_unit_micropoints_not_negative CHECK (unit_micropoints >= 0),
    units_priced    BIGINT NOT NULL CONSTRAINT tariffs_units_priced_positive CHECK (units_priced > 0),
    points_min      BIGINT NOT NULL CONSTRAINT tariffs_points_min_not_negative CHECK (points_min >= 0),
    created_at      BIGINT NOT NULL,
    -- From then on a later version, or none, is in force.
    retired_at      BIGINT,
    UNIQUE (method, path, version),
    CONSTRAINT tariffs_never_free CHECK (points_per_call > 0 OR points_min > 0)
);
CREATE UNIQUE INDEX tariffs_one_in_force ON tariffs (method, path) WHERE retired_at IS NULL;

-- API keys: what they may do, and a secret that can be replaced.
ALTER TABLE api_keys ADD COLUMN is_test BIGINT NOT NULL DEFAULT 0 CONSTRAINT api_keys_is_test_boolean CHECK (is_test IN (0, 1));
-- The last four characters of the secret before its checksum, to tell keys apart; unknown for the oldest.
ALTER TABLE api_keys ADD COLUMN hint TEXT;
ALTER TABLE api_keys ADD COLUMN daily_cap BIGINT CONSTRAINT api_keys_daily_cap_positive CHECK (daily_cap > 0);
ALTER TABLE api_keys ADD COLUMN monthly_cap BIGINT CONSTRAINT api_keys_monthly_cap_positive CHECK (monthly_cap > 0);
ALTER TABLE api_keys ADD COLUMN total_cap BIGINT CONSTRAINT api_keys_total_cap_positive CHECK (total_cap > 0);
ALTER TABLE api_keys ADD COLUMN rate_requests BIGINT CONSTRAINT api_keys_rate_requests_positive CHECK (rate_requests > 0);
ALTER TABLE api_keys ADD COLUMN rate_seconds BIGINT CONSTRAINT api_keys_rate_seconds_positive CHECK (rate_seconds > 0);
-- `10.0.0.0/8 2001:db8::/32`; empty for everywhere.
ALTER TABLE api_keys ADD COLUMN ip_ranges TEXT NOT NULL DEFAULT '';
-- `POST /v1/ocr, * /v1/files/*`; empty for every route.
ALTER TABLE api_keys ADD COLUMN scopes TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys
    ALTER COLUMN is_test DROP DEFAULT,
    ALTER COLUMN ip_ranges DROP DEFAULT,
    ALTER COLUMN scopes DROP DEFAULT,
    ADD CONSTRAINT api_keys_rate_whole CHECK ((rate_requests IS NULL) = (rate_seconds IS NULL));

CREATE TABLE api_key_secrets (
    secret_hash BYTEA   PRIMARY KEY,
    api_key_id  TEXT   NOT NULL REFERENCES api_keys (id),
    -- A replaced secret is good until then.
    valid_until BIGINT
);

-- What a key with a cap has spent and holds; a row for each such key.
CREATE TABLE key_spending (
    api_key_id   TEXT   PRIMARY KEY REFERENCES api_keys (id),
    account_id   BIGINT NOT NULL,
    -- The day and the month (year × 12 + month − 1) the points below are of. China's.
    day          BIGINT NOT NULL,
    day_points   BIGINT NOT NULL CONSTRAINT key_spending_day_points_not_negative CHECK (day_points >= 0),
    month        BIGINT NOT NULL,
    month_points BIGINT NOT NULL CONSTRAINT key_spending_month_points_not_negative CHECK (month_points >= 0),
    total_points BIGINT NOT NULL CONSTRAINT key_spending_total_points_not_negative CHECK (total_points >= 0)
);

INSERT INTO api_key_secrets (secret_hash, api_key_id) SELECT key_hash, id FROM api_keys;
ALTER TABLE api_keys DROP COLUMN key_hash;
CREATE INDEX api_key_secrets_key ON api_key_secrets (api_key_id);
CREATE INDEX key_spending_account ON key_spending (account_id);

-- What a gateway may do (`verify charge hold refund`) and how often it may ask.
ALTER TABLE service_credentials ADD COLUMN scopes TEXT NOT NULL DEFAULT 'verify charge hold refund';
ALTER TABLE service_credentials ADD COLUMN rate_requests BIGINT;
ALTER TABLE service_credentials ADD COLUMN rate_seconds BIGINT;
