-- Times are microseconds since the Unix epoch, money is fen, booleans are 0 and 1.

CREATE TABLE users (
    id          INTEGER PRIMARY KEY,
    nickname    TEXT   NOT NULL,
    avatar_url  TEXT   NOT NULL,
    unionid     TEXT,
    phone       TEXT,
    email       TEXT,
    created_at  INTEGER NOT NULL,
    -- The older record of the same person. The row stays so that old ids and the ledger keep their meaning.
    merged_into INTEGER REFERENCES users (id)
) STRICT;
CREATE UNIQUE INDEX users_unionid ON users (unionid);
CREATE INDEX users_merged_into ON users (merged_into) WHERE merged_into IS NOT NULL;

CREATE TABLE merges (
    younger_id INTEGER PRIMARY KEY REFERENCES users (id),
    older_id   INTEGER NOT NULL REFERENCES users (id),
    reason     TEXT   NOT NULL,
    merged_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE identities (
    app_id     TEXT   NOT NULL,
    openid     TEXT   NOT NULL,
    user_id    INTEGER NOT NULL REFERENCES users (id),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (app_id, openid)
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_user ON identities (user_id);
CREATE INDEX identities_openid ON identities (openid);

CREATE TABLE sessions (
    token_hash  BLOB   PRIMARY KEY,
    chain_id    TEXT   NOT NULL,
    user_id     INTEGER NOT NULL REFERENCES users (id),
    expires_at  INTEGER NOT NULL,
    replaced_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_chain ON sessions (chain_id);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE email_confirmations (
    user_id       INTEGER PRIMARY KEY REFERENCES users (id),
    email         TEXT   NOT NULL,
    code_hash     BLOB   NOT NULL,
    expires_at    INTEGER NOT NULL,
    sent_at       INTEGER NOT NULL,
    attempts_left INTEGER NOT NULL CONSTRAINT email_confirmations_attempts_left_not_negative CHECK (attempts_left >= 0)
) STRICT;

-- The ledger. Every table leads with the account, and no charge touches a row shared between accounts.

CREATE TABLE accounts (
    id           INTEGER PRIMARY KEY REFERENCES users (id),
    balance      INTEGER NOT NULL CONSTRAINT accounts_balance_not_negative CHECK (balance >= 0),
    entry_count  INTEGER NOT NULL CONSTRAINT accounts_entry_count_not_negative CHECK (entry_count >= 0),
    charge_count INTEGER NOT NULL CONSTRAINT accounts_charge_count_within_entries CHECK (charge_count >= 0 AND charge_count <= entry_count),
    lot_count    INTEGER NOT NULL CONSTRAINT accounts_lot_count_not_negative CHECK (lot_count >= 0)
) STRICT;

CREATE TABLE lots (
    account_id     INTEGER NOT NULL REFERENCES accounts (id),
    number         INTEGER NOT NULL CONSTRAINT lots_number_positive CHECK (number > 0),
    source         TEXT   NOT NULL CONSTRAINT lots_source_known CHECK (source IN ('purchase', 'gift', 'merge')),
    order_id       TEXT,
    -- Chosen by the operator, so that a repeated gift is given once.
    gift_key       TEXT,
    origin_account INTEGER,
    origin_lot     INTEGER,
    points         INTEGER NOT NULL CONSTRAINT lots_points_positive CHECK (points > 0),
    remaining      INTEGER NOT NULL,
    expires_at     INTEGER,
    granted_at     INTEGER NOT NULL,
    PRIMARY KEY (account_id, number),
    CONSTRAINT lots_remaining_within_points CHECK (remaining >= 0 AND remaining <= points),
    CONSTRAINT lots_order_of_purchase CHECK ((source = 'purchase') = (order_id IS NOT NULL)),
    CONSTRAINT lots_key_of_gift CHECK ((source = 'gift') = (gift_key IS NOT NULL)),
    CONSTRAINT lots_account_of_merge CHECK ((source = 'merge') = (origin_account IS NOT NULL)),
    CONSTRAINT lots_lot_of_merge CHECK ((source = 'merge') = (origin_lot IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX lots_one_grant_per_order ON lots (order_id);
CREATE UNIQUE INDEX lots_one_gift_per_key ON lots (gift_key);
CREATE UNIQUE INDEX lots_one_move_per_lot ON lots (origin_account, origin_lot);
CREATE INDEX lots_open ON lots (account_id) WHERE remaining > 0;
CREATE INDEX lots_open_expiry ON lots (expires_at) WHERE remaining > 0 AND expires_at IS NOT NULL;

CREATE TABLE entries (
    account_id    INTEGER NOT NULL REFERENCES accounts (id),
    number        INTEGER NOT NULL CONSTRAINT entries_number_positive CHECK (number > 0),
    kind          TEXT   NOT NULL CONSTRAINT entries_kind_known CHECK (kind IN ('grant', 'charge', 'expiry', 'merge_out')),
    points        INTEGER NOT NULL,
    balance_after INTEGER NOT NULL CONSTRAINT entries_balance_not_negative CHECK (balance_after >= 0),
    at            INTEGER NOT NULL,
    lot_number    INTEGER,
    charge_number INTEGER CONSTRAINT entries_charge_number_positive CHECK (charge_number > 0),
    api_key_id    TEXT,
    title         TEXT   NOT NULL,
    description   TEXT,
    PRIMARY KEY (account_id, number),
    CONSTRAINT entries_points_sign CHECK ((kind = 'grant') = (points > 0) AND points <> 0),
    CONSTRAINT entries_lot_of_grant CHECK ((kind = 'grant') = (lot_number IS NOT NULL)),
    CONSTRAINT entries_number_of_charge CHECK ((kind = 'charge') = (charge_number IS NOT NULL)),
    CONSTRAINT entries_key_of_charge CHECK ((kind = 'charge') = (api_key_id IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX entries_charge_number ON entries (account_id, charge_number);

CREATE TABLE draws (
    account_id   INTEGER NOT NULL,
    entry_number INTEGER NOT NULL,
    lot_number   INTEGER NOT NULL,
    points       INTEGER NOT NULL CONSTRAINT draws_points_positive CHECK (points > 0),
    PRIMARY KEY (account_id, entry_number, lot_number),
    FOREIGN KEY (account_id, entry_number) REFERENCES entries (account_id, number),
    FOREIGN KEY (account_id, lot_number) REFERENCES lots (account_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE packages (
    id                 TEXT   PRIMARY KEY,
    name               TEXT   NOT NULL,
    points             INTEGER NOT NULL CONSTRAINT packages_points_positive CHECK (points > 0),
    price_fen          INTEGER NOT NULL CONSTRAINT packages_price_fen_positive CHECK (price_fen > 0),
    original_price_fen INTEGER NOT NULL CONSTRAINT packages_original_price_not_below_price CHECK (original_price_fen >= price_fen),
    is_hot             INTEGER NOT NULL CONSTRAINT packages_is_hot_boolean CHECK (is_hot IN (0, 1)),
    description        TEXT   NOT NULL,
    on_sale            INTEGER NOT NULL CONSTRAINT packages_on_sale_boolean CHECK (on_sale IN (0, 1)),
    position           INTEGER NOT NULL,
    validity_days      INTEGER CONSTRAINT packages_validity_days_positive CHECK (validity_days > 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE orders (
    id               TEXT   PRIMARY KEY,
    user_id          INTEGER NOT NULL REFERENCES users (id),
    package_id       TEXT   NOT NULL,
    package_name     TEXT   NOT NULL,
    points           INTEGER NOT NULL CONSTRAINT orders_points_positive CHECK (points > 0),
    price_fen        INTEGER NOT NULL CONSTRAINT orders_price_fen_positive CHECK (price_fen > 0),
    validity_days    INTEGER CONSTRAINT orders_validity_days_positive CHECK (validity_days > 0),
    channel          TEXT   NOT NULL CONSTRAINT orders_channel_known CHECK (channel IN ('wechat_jsapi', 'alipay_page')),
    payer_openid     TEXT,
    state            TEXT   NOT NULL CONSTRAINT orders_state_known CHECK (state IN ('created', 'waiting', 'delivered', 'closed')),
    created_at       INTEGER NOT NULL,
    payable_until    INTEGER NOT NULL,
    prepay_id        TEXT,
    transaction_id   TEXT,
    paid_at          INTEGER,
    closed_at        INTEGER,
    paid_after_close INTEGER NOT NULL CONSTRAINT orders_paid_after_close_boolean CHECK (paid_after_close IN (0, 1)),
    -- When the provider was last asked on demand.
    queried_at       INTEGER,
    CONSTRAINT orders_delivered_is_paid CHECK ((state = 'delivered') = (transaction_id IS NOT NULL)),
    CONSTRAINT orders_payment_whole CHECK ((transaction_id IS NULL) = (paid_at IS NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX orders_one_per_transaction ON orders (channel, transaction_id);
CREATE UNIQUE INDEX orders_one_open ON orders (user_id, package_id, channel) WHERE state IN ('created', 'waiting');
CREATE INDEX orders_user ON orders (user_id, created_at, id);
CREATE INDEX orders_created ON orders (created_at, id);

-- Verified payments that could not be booked: money the operator has to look at.
CREATE TABLE payment_incidents (
    channel        TEXT   NOT NULL,
    transaction_id TEXT   NOT NULL,
    order_id       TEXT   NOT NULL,
    reason         TEXT   NOT NULL,
    first_at       INTEGER NOT NULL,
    last_at        INTEGER NOT NULL,
    times          INTEGER NOT NULL,
    PRIMARY KEY (channel, transaction_id, order_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id           TEXT   PRIMARY KEY,
    user_id      INTEGER NOT NULL REFERENCES users (id),
    name         TEXT   NOT NULL,
    key_hash     BLOB   NOT NULL,
    active       INTEGER NOT NULL CONSTRAINT api_keys_active_boolean CHECK (active IN (0, 1)),
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    deleted_at   INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX api_keys_hash ON api_keys (key_hash);
CREATE INDEX api_keys_user ON api_keys (user_id, created_at, id);

CREATE TABLE service_credentials (
    id          TEXT   PRIMARY KEY,
    name        TEXT   NOT NULL,
    secret_hash BLOB   NOT NULL,
    created_at  INTEGER NOT NULL,
    revoked_at  INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX service_credentials_hash ON service_credentials (secret_hash);

-- A charge that was made for an idempotency key; its answer is the entry.
CREATE TABLE charge_requests (
    credential_id   TEXT   NOT NULL REFERENCES service_credentials (id),
    idempotency_key TEXT   NOT NULL,
    input_hash      BLOB   NOT NULL,
    account_id      INTEGER NOT NULL,
    entry_number    INTEGER NOT NULL,
    PRIMARY KEY (credential_id, idempotency_key),
    FOREIGN KEY (account_id, entry_number) REFERENCES entries (account_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE qr_logins (
    ticket       TEXT   PRIMARY KEY,
    browser_hash BLOB   NOT NULL,
    expires_at   INTEGER NOT NULL,
    openid       TEXT,
    user_id      INTEGER REFERENCES users (id),
    -- The web session was handed to the browser that asked for the ticket.
    session_given INTEGER NOT NULL CONSTRAINT qr_logins_session_given_boolean CHECK (session_given IN (0, 1)),
    CONSTRAINT qr_logins_scan_whole CHECK ((openid IS NULL) = (user_id IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX qr_logins_expiry ON qr_logins (expires_at);

-- Messages of the official account that were handled, with the answer to give to a repetition.
CREATE TABLE handled_messages (
    message_key TEXT   PRIMARY KEY,
    reply       TEXT   NOT NULL,
    handled_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX handled_messages_age ON handled_messages (handled_at);

-- One row an app: the token all nodes share, and until when one of them fetches the next one.
CREATE TABLE access_tokens (
    app_id      TEXT   PRIMARY KEY,
    version     INTEGER NOT NULL CONSTRAINT access_tokens_version_not_negative CHECK (version >= 0),
    token       TEXT,
    expires_at  INTEGER,
    lease_until INTEGER NOT NULL,
    CONSTRAINT access_tokens_token_whole CHECK ((token IS NULL) = (expires_at IS NULL))
) STRICT, WITHOUT ROWID;

-- Follow-up work. A claim moves run_at to the end of its lease; asking for the work again ends the claim.
CREATE TABLE jobs (
    kind       TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    payload    TEXT   NOT NULL,
    run_at     INTEGER NOT NULL,
    leased_until INTEGER,
    attempts   INTEGER NOT NULL CONSTRAINT jobs_attempts_not_negative CHECK (attempts >= 0),
    last_error TEXT,
    -- Given up after its last attempt.
    failed_at  INTEGER,
    PRIMARY KEY (kind, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX jobs_due ON jobs (run_at) WHERE failed_at IS NULL;

CREATE TABLE notices (
    id       TEXT   PRIMARY KEY,
    content  TEXT   NOT NULL,
    start_at INTEGER NOT NULL,
    end_at   INTEGER NOT NULL,
    CONSTRAINT notices_end_after_start CHECK (end_at > start_at)
) STRICT, WITHOUT ROWID;

-- At most one row.
CREATE TABLE maintenance (
    id              INTEGER PRIMARY KEY CONSTRAINT maintenance_one_row CHECK (id = 1),
    message         TEXT   NOT NULL,
    ends_at         INTEGER,
    charges_stopped INTEGER NOT NULL CONSTRAINT maintenance_charges_stopped_boolean CHECK (charges_stopped IN (0, 1))
) STRICT;
