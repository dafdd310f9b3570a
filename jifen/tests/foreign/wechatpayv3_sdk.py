"""wechatpayv3, a WeChat Pay library for Python, does what a task says (see outcome.py)."""

import base64
import gzip
import http.server
import json
import re
import threading
import time
import uuid
from datetime import datetime, timedelta, timezone
from unittest import mock

import requests
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from wechatpayv3 import WeChatPay, WeChatPayType
from wechatpayv3.core import Core
from wechatpayv3.utils import build_authorization, load_private_key, rsa_sign

from outcome import equal, run

BEIJING = timezone(timedelta(hours=8))


def signatures(kit, requests, payment):
    """Signs again what the mall signed. RSA with PKCS#1 padding has no randomness: the signatures must be the same."""
    key = load_private_key(kit["merchant_private_key"])
    for request in requests:
        sent = dict(re.findall(r'(\w+)="([^"]*)"', request["authorization"]))
        with mock.patch("wechatpayv3.utils.time.time", return_value=int(sent["timestamp"])):
            ours = build_authorization(
                request["target"], request["method"], kit["mchid"], kit["merchant_certificate_serial"], key,
                data=request["body"], nonce_str=sent["nonce_str"])
        equal(request["authorization"].split(" ")[0], ours.split(" ")[0])
        equal(sent, dict(re.findall(r'(\w+)="([^"]*)"', ours)))
    signed = [kit["mini_program_appid"], payment["timeStamp"], payment["nonceStr"], payment["package"]]
    equal(payment["paySign"], merchant(kit, "http://nowhere.invalid").sign(signed))
    return {}


def notification(kit, wechat_pay_private_key, transaction):
    """A notification as WeChat Pay makes it, which the library itself takes for WeChat Pay's."""
    nonce = uuid.uuid4().hex[:12]
    sealed = AESGCM(kit["api_v3_key"].encode()).encrypt(nonce.encode(), json.dumps(transaction).encode(), b"transaction")
    body = json.dumps({
        "id": str(uuid.uuid4()),
        "create_time": datetime.now(BEIJING).isoformat(timespec="seconds"),
        "resource_type": "encrypt-resource",
        "event_type": "TRANSACTION.SUCCESS",
        "summary": "支付成功",
        "resource": {
            "original_type": "transaction",
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": base64.b64encode(sealed).decode(),
            "associated_data": "transaction",
            "nonce": nonce,
        },
    }, ensure_ascii=False)
    timestamp, signature_nonce = str(int(time.time())), uuid.uuid4().hex
    headers = {
        "Wechatpay-Serial": kit["wechat_pay_public_key_id"],
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": signature_nonce,
        "Wechatpay-Signature": rsa_sign(load_private_key(wechat_pay_private_key), f"{timestamp}\n{signature_nonce}\n{body}\n"),
        "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
    }
    equal(merchant(kit, "http://nowhere.invalid").callback(headers, body)["resource"], transaction)
    return {"headers": headers, "body": body}


def calls(kit, sandbox):
    payments(kit, sandbox, merchant(kit, sandbox), "public_key")
    # Without a public key the library downloads the platform certificates, and verifies by them.
    payments(kit, sandbox, merchant(kit, sandbox, by_certificate=True), "certificate")
    return {}


def merchant(kit, gateway, by_certificate=False):
    # The library has the address as a constant; nothing else of it is changed.
    Core._gate_way = property(lambda self: gateway, lambda self, constant: None)
    public_key = {} if by_certificate else {
        "public_key": kit["wechat_pay_public_key"],
        "public_key_id": kit["wechat_pay_public_key_id"],
    }
    return WeChatPay(
        wechatpay_type=WeChatPayType.MINIPROG, mchid=kit["mchid"], private_key=kit["merchant_private_key"],
        cert_serial_no=kit["merchant_certificate_serial"], appid=kit["mini_program_appid"], apiv3_key=kit["api_v3_key"],
        timeout=(5, 10), **public_key)


def payments(kit, sandbox, sdk, notification_key):
    """The life of two orders: one paid and refunded, one closed."""
    def ok(answer, status=200):
        assert answer[0] == status, answer
        return json.loads(answer[1]) if answer[1] else None

    def control(method, path, body=None):
        answer = requests.request(method, f"{sandbox}/sandbox/api{path}", json=body, timeout=10)
        assert answer.ok, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    control("PATCH", "/wechat-pay/settings", {"notification_key": notification_key, "bill_at_once": True})
    inbox = Inbox(sdk)
    paid = uuid.uuid4().hex
    person = control("GET", "/people/xiaoming")
    prepay = ok(sdk.pay(
        description="积分 100 点", out_trade_no=paid, amount={"total": 168, "currency": "CNY"}, notify_url=inbox.url,
        payer={"openid": person["mini_program_openid"]}))
    stamp, nonce, package = str(int(time.time())), uuid.uuid4().hex, f"prepay_id={prepay['prepay_id']}"
    control("POST", "/wechat-pay/request-payment", {
        "openid": person["mini_program_openid"], "timeStamp": stamp, "nonceStr": nonce, "package": package, "signType": "RSA",
        "paySign": sdk.sign([kit["mini_program_appid"], stamp, nonce, package]),
    })
    trade = ok(sdk.query(out_trade_no=paid))
    equal((trade["trade_state"], trade["amount"]["payer_total"]), ("SUCCESS", 168))
    equal(ok(sdk.query(transaction_id=trade["transaction_id"])), trade)
    control("POST", "/outbox/flush", {})
    equal([(one["event_type"], one["resource"]["transaction_id"]) for one in inbox.received],
          [("TRANSACTION.SUCCESS", trade["transaction_id"])])

    refund_number = uuid.uuid4().hex
    refund = ok(sdk.refund(
        out_refund_no=refund_number, out_trade_no=paid, amount={"refund": 68, "total": 168, "currency": "CNY"}, reason="多买了"))
    equal((refund["out_refund_no"], refund["amount"]["refund"]), (refund_number, 68))
    control("POST", f"/wechat-pay/refunds/{refund_number}/settle", {"status": "SUCCESS"})
    equal(ok(sdk.query_refund(refund_number))["status"], "SUCCESS")

    unpaid = uuid.uuid4().hex
    native = ok(sdk.pay(
        description="积分 100 点", out_trade_no=unpaid, amount={"total": 168, "currency": "CNY"}, notify_url=inbox.url,
        pay_type=WeChatPayType.NATIVE))
    assert native["code_url"].startswith("weixin://wxpay/"), native
    ok(sdk.close(unpaid), 204)
    equal(ok(sdk.query(out_trade_no=unpaid))["trade_state"], "CLOSED")

    bill = ok(sdk.trade_bill(bill_date=trade["success_time"][:10]))
    status, archive = sdk.download_bill(bill["download_url"])
    equal(status, 200)
    assert paid in gzip.decompress(archive).decode(), "the bill lacks the payment"
    inbox.close()


class Inbox:
    """A merchant's server: takes what the library verifies and decrypts."""

    def __init__(self, sdk):
        self.received = received = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                told = sdk.callback(self.headers, body)
                if told:
                    received.append(told)
                self.send_response(204 if told else 401)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/notify"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


if __name__ == "__main__":
    run({"signatures": signatures, "notification": notification, "calls": calls})
