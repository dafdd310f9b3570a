-- Times are microseconds since the Unix epoch, money is fen, booleans are 0 and 1.

CREATE TABLE users (
    id          BIGINT PRIMARY KEY,
    nickname    TEXT   NOT NULL,
    avatar_url  TEXT   NOT NULL,
    unionid     TEXT,
    phone       TEXT,
    email       TEXT,
    created_at  BIGINT NOT NULL,
    -- The older record of the same person. The row stays so that old ids and the ledger keep their meaning.
    merged_into BIGINT REFERENCES users (id)
);
CREATE UNIQUE INDEX users_unionid ON users (unionid);
CREATE INDEX users_merged_into ON users (merged_into) WHERE merged_into IS NOT NULL;

CREATE TABLE merges (
    younger_id BIGINT PRIMARY KEY REFERENCES users (id),
    older_id   BIGINT NOT NULL REFERENCES users (id),
    reason     TEXT   NOT NULL,
    merged_at  BIGINT NOT NULL
);

CREATE TABLE identities (
    app_id     TEXT   NOT NULL,
    openid     TEXT   NOT NULL,
    user_id    BIGINT NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, openid)
);
CREATE INDEX identities_user ON identities (user_id);
CREATE INDEX identities_openid ON identities (openid);

CREATE TABLE sessions (
    token_hash  BYTEA  PRIMARY KEY,
    chain_id    TEXT   NOT NULL,
    user_id     BIGINT NOT NULL REFERENCES users (id),
    expires_at  BIGINT NOT NULL,
    replaced_at BIGINT
);
CREATE INDEX sessions_chain ON sessions (chain_id);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE email_confirmations (
    user_id       BIGINT PRIMARY KEY REFERENCES users (id),
    email         TEXT   NOT NULL,
    code_hash     BYTEA  NOT NULL,
    expires_at    BIGINT NOT NULL,
    sent_at       BIGINT NOT NULL,
    attempts_left BIGINT NOT NULL CONSTRAINT email_confirmations_attempts_left_not_negative CHECK (attempts_left >= 0)
);

-- The ledger. Every table leads with the account, and no charge touches a row shared between accounts.

CREATE TABLE accounts (
    id           BIGINT PRIMARY KEY REFERENCES users (id),
    balance      BIGINT NOT NULL CONSTRAINT accounts_balance_not_negative CHECK (balance >= 0),
    entry_count  BIGINT NOT NULL CONSTRAINT accounts_entry_count_not_negative CHECK (entry_count >= 0),
    charge_count BIGINT NOT NULL CONSTRAINT accounts_charge_count_within_entries CHECK (charge_count >= 0 AND charge_count <= entry_count),
    lot_count    BIGINT NOT NULL CONSTRAINT accounts_lot_count_not_negative CHECK (lot_count >= 0)
);

CREATE TABLE lots (
    account_id     BIGINT NOT NULL REFERENCES accounts (id),
    number         BIGINT NOT NULL CONSTRAINT lots_number_positive CHECK (number > 0),
    source         TEXT   NOT NULL CONSTRAINT lots_source_known CHECK (source IN ('purchase', 'gift', 'merge')),
    order_id       TEXT,
    -- Chosen by the operator, so that a repeated gift is given once.
    gift_key       TEXT,
    origin_account BIGINT,
    origin_lot     BIGINT,
    points         BIGINT NOT NULL CONSTRAINT lots_points_positive CHECK (points > 0),
    remaining      BIGINT NOT NULL,
    expires_at     BIGINT,
    granted_at     BIGINT NOT NULL,
    PRIMARY KEY (account_id, number),
    CONSTRAINT lots_remaining_within_points CHECK (remaining >= 0 AND remaining <= points),
    CONSTRAINT lots_order_of_purchase CHECK ((source = 'purchase') = (order_id IS NOT NULL)),
    CONSTRAINT lots_key_of_gift CHECK ((source = 'gift') = (gift_key IS NOT NULL)),
    CONSTRAINT lots_account_of_merge CHECK ((source = 'merge') = (origin_account IS NOT NULL)),
    CONSTRAINT lots_lot_of_merge CHECK ((source = 'merge') = (origin_lot IS NOT NULL))
);
CREATE UNIQUE INDEX lots_one_grant_per_order ON lots (order_id);
CREATE UNIQUE INDEX lots_one_gift_per_key ON lots (gift_key);
CREATE UNIQUE INDEX lots_one_move_per_lot ON lots (origin_account, origin_lot);
CREATE INDEX lots_open ON lots (account_id) WHERE remaining > 0;
CREATE INDEX lots_open_expiry ON lots (expires_at) WHERE remaining > 0 AND expires_at IS NOT NULL;

CREATE TABLE entries (
    account_id    BIGINT NOT NULL REFERENCES accounts (id),
    number        BIGINT NOT NULL CONSTRAINT entries_number_positive CHECK (number > 0),
    kind          TEXT   NOT NULL CONSTRAINT entries_kind_known CHECK (kind IN ('grant', 'charge', 'expiry', 'merge_out')),
    points        BIGINT NOT NULL,
    balance_after BIGINT NOT NULL CONSTRAINT entries_balance_not_negative CHECK (balance_after >= 0),
    at            BIGINT NOT NULL,
    lot_number    BIGINT,
    charge_number BIGINT CONSTRAINT entries_charge_number_positive CHECK (charge_number > 0),
    api_key_id    TEXT,
    title         TEXT   NOT NULL,
    description   TEXT,
    PRIMARY KEY (account_id, number),
    CONSTRAINT entries_points_sign CHECK ((kind = 'grant') = (points > 0) AND points <> 0),
    CONSTRAINT entries_lot_of_grant CHECK ((kind = 'grant') = (lot_number IS NOT NULL)),
    CONSTRAINT entries_number_of_charge CHECK ((kind = 'charge') = (charge_number IS NOT NULL)),
    CONSTRAINT entries_key_of_charge CHECK ((kind = 'charge') = (api_key_id IS NOT NULL))
);
CREATE UNIQUE INDEX entries_charge_number ON entries (account_id, charge_number);

CREATE TABLE draws (
    account_id   BIGINT NOT NULL,
    entry_number BIGINT NOT NULL,
    lot_number   BIGINT NOT NULL,
    points       BIGINT NOT NULL CONSTRAINT draws_points_positive CHECK (points > 0),
    PRIMARY KEY (account_id, entry_number, lot_number),
    FOREIGN KEY (account_id, entry_number) REFERENCES entries (account_id, number),
    FOREIGN KEY (account_id, lot_number) REFERENCES lots (account_id, number)
);

CREATE TABLE packages (
    id                 TEXT   PRIMARY KEY,
    name               TEXT   NOT NULL,
    points             BIGINT NOT NULL CONSTRAINT packages_points_positive CHECK (points > 0),
    price_fen          BIGINT NOT NULL CONSTRAINT packages_price_fen_positive CHECK (price_fen > 0),
    original_price_fen BIGINT NOT NULL CONSTRAINT packages_original_price_not_below_price CHECK (original_price_fen >= price_fen),
    is_hot             BIGINT NOT NULL CONSTRAINT packages_is_hot_boolean CHECK (is_hot IN (0, 1)),
    description        TEXT   NOT NULL,
    on_sale            BIGINT NOT NULL CONSTRAINT packages_on_sale_boolean CHECK (on_sale IN (0, 1)),
    position           BIGINT NOT NULL,
    validity_days      BIGINT CONSTRAINT packages_validity_days_positive CHECK (validity_days > 0)
);

CREATE TABLE orders (
    id               TEXT   PRIMARY KEY,
    user_id          BIGINT NOT NULL REFERENCES users (id),
    package_id       TEXT   NOT NULL,
    package_name     TEXT   NOT NULL,
    points           BIGINT NOT NULL CONSTRAINT orders_points_positive CHECK (points > 0),
    price_fen        BIGINT NOT NULL CONSTRAINT orders_price_fen_positive CHECK (price_fen > 0),
    validity_days    BIGINT CONSTRAINT orders_validity_days_positive CHECK (validity_days > 0),
    channel          TEXT   NOT NULL CONSTRAINT orders_channel_known CHECK (channel IN ('wechat_jsapi', 'alipay_page')),
    payer_openid     TEXT,
    state            TEXT   NOT NULL CONSTRAINT orders_state_known CHECK (state IN ('created', 'waiting', 'delivered', 'closed')),
    created_at       BIGINT NOT NULL,
    payable_until    BIGINT NOT NULL,
    prepay_id        TEXT,
    transaction_id   TEXT,
    paid_at          BIGINT,
    closed_at        BIGINT,
    paid_after_close BIGINT NOT NULL CONSTRAINT orders_paid_after_close_boolean CHECK (paid_after_close IN (0, 1)),
    -- When the provider was last asked on demand.
    queried_at       BIGINT,
    CONSTRAINT orders_delivered_is_paid CHECK ((state = 'delivered') = (transaction_id IS NOT NULL)),
    CONSTRAINT orders_payment_whole CHECK ((transaction_id IS NULL) = (paid_at IS NULL))
);
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
    first_at       BIGINT NOT NULL,
    last_at        BIGINT NOT NULL,
    times          BIGINT NOT NULL,
    PRIMARY KEY (channel, transaction_id, order_id)
);

CREATE TABLE api_keys (
    id           TEXT   PRIMARY KEY,
    user_id      BIGINT NOT NULL REFERENCES users (id),
    name         TEXT   NOT NULL,
    key_hash     BYTEA  NOT NULL,
    active       BIGINT NOT NULL CONSTRAINT api_keys_active_boolean CHECK (active IN (0, 1)),
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    last_used_at BIGINT,
    deleted_at   BIGINT
);
CREATE UNIQUE INDEX api_keys_hash ON api_keys (key_hash);
CREATE INDEX api_keys_user ON api_keys (user_id, created_at, id);

CREATE TABLE service_credentials (
    id          TEXT   PRIMARY KEY,
    name        TEXT   NOT NULL,
    secret_hash BYTEA  NOT NULL,
    created_at  BIGINT NOT NULL,
    revoked_at  BIGINT
);
CREATE UNIQUE INDEX service_credentials_hash ON service_credentials (secret_hash);

-- A charge that was made for an idempotency key; its answer is the entry.
CREATE TABLE charge_requests (
    credential_id   TEXT   NOT NULL REFERENCES service_credentials (id),
    idempotency_key TEXT   NOT NULL,
    input_hash      BYTEA  NOT NULL,
    account_id      BIGINT NOT NULL,
    entry_number    BIGINT NOT NULL,
    PRIMARY KEY (credential_id, idempotency_key),
    FOREIGN KEY (account_id, entry_number) REFERENCES entries (account_id, number)
);

CREATE TABLE qr_logins (
    ticket       TEXT   PRIMARY KEY,
    browser_hash BYTEA  NOT NULL,
    expires_at   BIGINT NOT NULL,
    openid       TEXT,
    user_id      BIGINT REFERENCES users (id),
    -- The web session was handed to the browser that asked for the ticket.
    session_given BIGINT NOT NULL CONSTRAINT qr_logins_session_given_boolean CHECK (session_given IN (0, 1)),
    CONSTRAINT qr_logins_scan_whole CHECK ((openid IS NULL) = (user_id IS NULL))
);
CREATE INDEX qr_logins_expiry ON qr_logins (expires_at);

-- Messages of the official account that were handled, with the answer to give to a repetition.
CREATE TABLE handled_messages (
    message_key TEXT   PRIMARY KEY,
    reply       TEXT   NOT NULL,
    handled_at  BIGINT NOT NULL
);
CREATE INDEX handled_messages_age ON handled_messages (handled_at);

-- One row an app: the token all nodes share, and until when one of them fetches the next one.
CREATE TABLE access_tokens (
    app_id      TEXT   PRIMARY KEY,
    version     BIGINT NOT NULL CONSTRAINT access_tokens_version_not_negative CHECK (version >= 0),
    token       TEXT,
    expires_at  BIGINT,
    lease_until BIGINT NOT NULL,
    CONSTRAINT access_tokens_token_whole CHECK ((token IS NULL) = (expires_at IS NULL))
);

-- Follow-up work. A claim moves run_at to the end of its lease; asking for the work again ends the claim.
CREATE TABLE jobs (
    kind       TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    payload    TEXT   NOT NULL,
    run_at     BIGINT NOT NULL,
    leased_until BIGINT,
    attempts   BIGINT NOT NULL CONSTRAINT jobs_attempts_not_negative CHECK (attempts >= 0),
    last_error TEXT,
    -- Given up after its last attempt.
    failed_at  BIGINT,
    PRIMARY KEY (kind, subject)
);
CREATE INDEX jobs_due ON jobs (run_at) WHERE failed_at IS NULL;

CREATE TABLE notices (
    id       TEXT   PRIMARY KEY,
    content  TEXT   NOT NULL,
    start_at BIGINT NOT NULL,
    end_at   BIGINT NOT NULL,
    CONSTRAINT notices_end_after_start CHECK (end_at > start_at)
);

-- At most one row.
CREATE TABLE maintenance (
    id              BIGINT PRIMARY KEY CONSTRAINT maintenance_one_row CHECK (id = 1),
    message         TEXT   NOT NULL,
    ends_at         BIGINT,
    charges_stopped BIGINT NOT NULL CONSTRAINT maintenance_charges_stopped_boolean CHECK (charges_stopped IN (0, 1))
);
