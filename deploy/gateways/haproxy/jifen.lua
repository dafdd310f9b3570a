-- Asks Jifen whether a call may pass, charges it, and gives the points back when the API failed. Loaded by jifen.cfg, for
-- HAProxy 2.6 and newer.
--
-- From the environment of HAProxy:
--     JIFEN_CREDENTIAL        the service credential of this gateway, `sk_…`, with the scopes `charge` and `refund`; or
--     JIFEN_CREDENTIAL_FILE   a file that holds it, read once, before HAProxy gives up its rights
--     JIFEN_WHEN_DOWN         what happens to calls while Jifen cannot be reached or answers 5xx:
--                                 closed   they are refused with 503 (unless this is set)
--                                 open     they pass, uncharged and with keys unchecked: the API sees them without
--                                          X-Jifen-User and X-Jifen-Charge

-- The front end of jifen.cfg that leads to Jifen, with its health checks, retries and TLS.
local JIFEN = "abns@" .. (os.getenv("JIFEN_SOCKET") or "jifen")
local TIMEOUT_MILLISECONDS = 5000

-- What the API learns, by the name of the variable that keeps it for the answer.
local FOR_UPSTREAM = { "X-Jifen-User", "X-Jifen-Key", "X-Jifen-Charge", "X-Jifen-Points", "X-Jifen-Balance" }
-- What the caller is told about a refusal.
local FOR_CALLER = {
    "Content-Type", "Cache-Control", "WWW-Authenticate", "Retry-After", "RateLimit", "RateLimit-Policy",
    "X-Request-Id", "X-Jifen-Reason", "X-Jifen-Limit", "X-Jifen-Balance",
}
local BUSY = '{"type":"urn:jifen:problem:busy","status":503,"code":"busy"}'

local function credential()
    local secret = os.getenv("JIFEN_CREDENTIAL")
    local path = os.getenv("JIFEN_CREDENTIAL_FILE")
    if not secret and path then
        local file = assert(io.open(path, "r"))
        secret = file:read("l")
        file:close()
    end
    if not secret or secret == "" then
        error("JIFEN_CREDENTIAL or JIFEN_CREDENTIAL_FILE must give the service credential of this gateway")
    end
    return secret
end

local function is_open()
    local choice = os.getenv("JIFEN_WHEN_DOWN") or "closed"
    if choice ~= "closed" and choice ~= "open" then
        error("JIFEN_WHEN_DOWN must be closed or open, not " .. choice)
    end
    return choice == "open"
end

local CREDENTIAL = credential()
local OPEN_WHEN_DOWN = is_open()

-- The first value of a header: HAProxy keeps a table from 0 for each name in lower case.
local function header(headers, name)
    local values = headers and headers[name:lower()]
    return values and values[0]
end

-- What Jifen is asked. Of the caller's headers only those that hold the key.
local function question(txn)
    local headers = txn.http:req_get_headers()
    local question = {
        ["x-jifen-credential"] = { CREDENTIAL },
        ["x-forwarded-method"] = { txn.sf:method() },
        ["x-forwarded-uri"] = { txn.sf:pathq() },
        ["x-real-ip"] = { txn.sf:src() },
        -- Made by HAProxy, `unique-id-format` in jifen.cfg: the idempotency key of the charge.
        ["x-request-id"] = { txn.sf:unique_id() },
        ["x-jifen-units"] = { txn:get_var("txn.jifen_units") or "1" },
    }
    for _, name in ipairs({ "authorization", "x-api-key", "accept-language" }) do
        local value = header(headers, name)
        if value then
            question[name] = { value }
        end
    end
    return question
end

local function refuse(txn, status, headers, body)
    local reply = txn:reply({ status = status })
    for _, name in ipairs(FOR_CALLER) do
        local value = header(headers, name)
        if value then
            reply:add_header(name, value)
        end
    end
    reply:set_body(body or "")
    txn:done(reply)
end

-- `http-request lua.jifen_authorize`
core.register_action("jifen_authorize", { "http-req" }, function(txn)
    local answer = core.httpclient():get({
        url = "http://jifen/api/v2/metering/authorize?for=haproxy",
        dst = JIFEN,
        headers = question(txn),
        timeout = TIMEOUT_MILLISECONDS,
    })
    -- HAProxy itself answers 502, 503 or 504 in the place of a Jifen that does not.
    local status = answer and answer.status or 503
    if status == 200 then
        for _, name in ipairs(FOR_UPSTREAM) do
            txn.http:req_set_header(name, header(answer.headers, name) or "")
        end
        txn:set_var("txn.jifen_charge", header(answer.headers, "x-jifen-charge") or "")
        txn:set_var("txn.jifen_ratelimit", header(answer.headers, "ratelimit") or "")
        txn:set_var("txn.jifen_ratelimit_policy", header(answer.headers, "ratelimit-policy") or "")
    elseif status >= 500 and OPEN_WHEN_DOWN then
        txn:Warning("jifen: answered " .. status .. ", a call passes uncharged")
    elseif status >= 500 then
        local retry_after = header(answer and answer.headers, "retry-after")
        refuse(txn, 503, {
            ["content-type"] = { [0] = "application/problem+json" },
            ["retry-after"] = retry_after and { [0] = retry_after },
            ["x-jifen-reason"] = { [0] = "busy" },
        }, BUSY)
    else
        refuse(txn, status, answer.headers, answer.body)
    end
end)

-- Gives back what was charged for a request. Of the same charge and key it happens once.
local function refund(charge, request_id)
    local body = '{"chargeId":"' .. charge .. '","reason":"upstream failed"}'
    local answer = core.httpclient():post({
        url = "http://jifen/api/v2/metering/refunds",
        dst = JIFEN,
        headers = {
            ["x-jifen-credential"] = { CREDENTIAL },
            ["content-type"] = { "application/json" },
            ["content-length"] = { tostring(#body) },
            ["idempotency-key"] = { "refund-" .. request_id },
        },
        body = body,
        timeout = TIMEOUT_MILLISECONDS,
    })
    if not answer or answer.status ~= 200 then
        core.Warning("jifen: charge " .. charge .. " of a failed call was not refunded: " .. tostring(answer and answer.status))
    end
end

-- `filter lua.jifen_refund`: sees the end of every request, also of one that HAProxy answered itself because the API could
-- not be reached, and of one it did not answer at all: when the API closes a connection that was used before, HAProxy
-- closes the caller's, as HTTP allows, and he asks again. A caller who hangs up while the API is at work pays, unless
-- `option abortonclose` is set.
local Refund = { id = "jifen refund", flags = filter.FLT_CFG_FL_HTX }
Refund.__index = Refund

function Refund:new()
    return setmetatable({}, Refund)
end

function Refund:start_analyze()
end

function Refund:end_analyze(txn, channel)
    local charge = txn:get_var("txn.jifen_charge")
    if not channel:is_resp() or not charge or charge == "" then
        return
    end
    local status = tonumber(txn:get_var("txn.jifen_api_status"))
    if not status or status >= 500 or txn:get_var("txn.jifen_refund") == "true" then
        local request_id = txn.sf:unique_id()
        -- In a task of its own: the answer to the caller does not wait for it.
        core.register_task(function()
            refund(charge, request_id)
        end)
    end
end

core.register_filter("jifen_refund", Refund, function(refund)
    return refund
end)
