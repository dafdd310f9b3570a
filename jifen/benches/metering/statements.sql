-- What the bench does behind the mall's back. A heading names each statement, and the engine where it is for one alone.

-- balances
SELECT CAST(SUM(balance) AS BIGINT) FROM accounts;

-- give the session to user 1
UPDATE sessions SET user_id = 1;

-- bytes, sqlite
SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size();
-- bytes, postgres
SELECT pg_database_size(current_database());

-- before filling, sqlite
PRAGMA busy_timeout = 10000; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; PRAGMA cache_size = -1000000;
-- after filling, sqlite
PRAGMA journal_mode = WAL;
-- after filling, postgres
SELECT setval('entry_positions', (SELECT MAX(position) FROM entries)); VACUUM ANALYZE; CHECKPOINT;

-- users, sqlite
INSERT INTO users (id, nickname, avatar_url, created_at) VALUES (?1, ?2, ?3, ?4);
-- users, postgres
COPY users (id, nickname, avatar_url, created_at) FROM STDIN;

-- api_keys, sqlite
INSERT INTO api_keys (id, user_id, name, active, is_test, created_at, expires_at, ip_ranges, scopes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9);
-- api_keys, postgres
COPY api_keys (id, user_id, name, active, is_test, created_at, expires_at, ip_ranges, scopes) FROM STDIN;

-- entries, sqlite
INSERT INTO entries (position, account_id, number, kind, points, balance_after, held_after, at, charge_number, lot_number, api_key_id, title, request_key, request_hash)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14);
-- entries, postgres
COPY entries (position, account_id, number, kind, points, balance_after, held_after, at, charge_number, lot_number, api_key_id, title, request_key, request_hash) FROM STDIN;

-- accounts, sqlite
INSERT INTO accounts (id, user_id, balance, held, entry_count, charge_count, lot_count, front_lot, front_remaining, front_held, tail, tail_usage, has_capped_keys)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13);
-- accounts, postgres
COPY accounts (id, user_id, balance, held, entry_count, charge_count, lot_count, front_lot, front_remaining, front_held, tail, tail_usage, has_capped_keys) FROM STDIN;

-- lots, sqlite
INSERT INTO lots (account_id, number, source, gift_key, points, remaining, held, granted_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8);
-- lots, postgres
COPY lots (account_id, number, source, gift_key, points, remaining, held, granted_at) FROM STDIN;

-- entry_blocks, sqlite
INSERT INTO entry_blocks (account_id, block, charges_before, positions) VALUES (?1, ?2, ?3, ?4);
-- entry_blocks, postgres
COPY entry_blocks (account_id, block, charges_before, positions) FROM STDIN;

-- request_keys, sqlite
INSERT INTO request_keys (account_id, fingerprint, position) VALUES (?1, ?2, ?3);
-- request_keys, postgres
COPY request_keys (account_id, fingerprint, position) FROM STDIN;

-- usage_days, sqlite
INSERT INTO usage_days (account_id, day, api_key_id, title, charges, points) VALUES (?1, ?2, ?3, ?4, ?5, ?6);
-- usage_days, postgres
COPY usage_days (account_id, day, api_key_id, title, charges, points) FROM STDIN;
