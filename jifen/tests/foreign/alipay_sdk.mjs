// The official Alipay SDK for Node.js does what a task says; the test tells it on standard input and reads the outcome from
// standard output, both JSON. Exit status 0: everything the SDK checked was right.
//   node alipay_sdk.mjs TASK FOLDER_WITH_NODE_MODULES
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

const [task, folder] = process.argv.slice(2);
const require = createRequire(join(folder, 'package.json'));
const { AlipaySdk } = require('alipay-sdk');

// Nothing here takes seconds; a provider that never answers must not hold up the tests.
setTimeout(() => assert.fail('out of time'), 60_000).unref();

const tasks = {
  // Are these parameters signed by the owner of that key? Requests and notifications are signed by the same rule.
  verify({ publicKey, signed }) {
    const receiver = new AlipaySdk({ appId: 'any', privateKey: 'any', alipayPublicKey: publicKey });
    return signed.map(parameters => receiver.checkNotifySignV2(parameters));
  },

  // A notification as Alipay makes it, which the SDK itself takes for Alipay's.
  notification({ kit, alipayPrivateKey, parameters }) {
    const { signatureV3 } = require(join(folder, 'node_modules/alipay-sdk/dist/commonjs/util.js'));
    const covered = Object.keys(parameters).sort().map(name => `${name}=${parameters[name]}`).join('&');
    const notification = { ...parameters, sign: signatureV3(covered, alipayPrivateKey), sign_type: 'RSA2' };
    assert(merchant(kit).checkNotifySignV2(notification));
    return { body: new URLSearchParams(notification).toString() };
  },

  async calls({ kit, sandbox }) {
    await payments(kit, sandbox, merchant(kit, { gateway: `${sandbox}/gateway.do` }));
    await payments(kit, sandbox, merchant(kit, { gateway: `${sandbox}/gateway.do`, ...certificates(kit) }));
    return {};
  },
};

function merchant(kit, more) {
  return new AlipaySdk({
    appId: kit.alipay_app_id,
    privateKey: kit.alipay_app_private_key,
    keyType: 'PKCS8',
    alipayPublicKey: kit.alipay_public_key,
    ...more,
  });
}

function certificates(kit) {
  return {
    alipayPublicKey: undefined,
    appCertContent: kit.alipay_app_certificate,
    alipayPublicCertContent: kit.alipay_certificate,
    alipayRootCertContent: kit.alipay_root_certificates,
  };
}

// The life of two orders: one paid and refunded, one closed.
async function payments(kit, sandbox, sdk) {
  const inbox = await notifications(sdk);
  const call = async (method, bizContent) => {
    const answer = await sdk.exec(method, { bizContent }, { validateSign: true });
    assert.equal(answer.code, '10000', `${method}: ${JSON.stringify(answer)}`);
    return answer;
  };
  const control = async (path, method, body) => {
    const answer = await fetch(`${sandbox}/sandbox/api${path}`, {
      method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
    });
    assert(answer.ok, `${path}: ${answer.status} ${await answer.clone().text()}`);
    return answer.json();
  };

  const paid = await openCashier(sdk, inbox.url, 'POST');
  const unknown = await sdk.exec('alipay.trade.query', { bizContent: { outTradeNo: paid } }, { validateSign: true });
  assert.deepEqual([unknown.code, unknown.subCode], ['40004', 'ACQ.TRADE_NOT_EXIST']);
  await control(`/alipay/transactions/${paid}/pay`, 'POST', {});
  const trade = await call('alipay.trade.query', { outTradeNo: paid });
  assert.deepEqual([trade.tradeStatus, trade.totalAmount], ['TRADE_SUCCESS', '12.34']);

  await control('/outbox/flush', 'POST', {});
  const told = inbox.received.find(notification => notification.out_trade_no === paid);
  assert.deepEqual([told?.trade_status, told?.total_amount, told?.seller_id], ['TRADE_SUCCESS', '12.34', kit.alipay_seller_id]);
  const attempts = (await control('/notifications', 'GET')).filter(one => JSON.stringify(one).includes(paid));
  assert(attempts.every(one => one.attempts.every(attempt => attempt.accepted)), JSON.stringify(attempts));

  const refund = await call('alipay.trade.refund', { outTradeNo: paid, refundAmount: '2.34', outRequestNo: 'part-1' });
  assert.deepEqual([refund.fundChange, refund.refundFee], ['Y', '2.34']);
  const refunded = await call('alipay.trade.fastpay.refund.query', { outTradeNo: paid, outRequestNo: 'part-1' });
  assert.deepEqual([refunded.refundStatus, refunded.refundAmount], ['REFUND_SUCCESS', '2.34']);

  const unpaid = await openCashier(sdk, inbox.url, 'GET');
  await control(`/alipay/transactions/${unpaid}/login`, 'POST', {});
  assert.equal((await call('alipay.trade.query', { outTradeNo: unpaid })).tradeStatus, 'WAIT_BUYER_PAY');
  await call('alipay.trade.close', { outTradeNo: unpaid });
  assert.equal((await call('alipay.trade.query', { outTradeNo: unpaid })).tradeStatus, 'TRADE_CLOSED');

  await control('/alipay/settings', 'PATCH', { bill_at_once: true });
  const billDate = trade.sendPayDate.slice(0, 10);
  const bill = await call('alipay.data.dataservice.bill.downloadurl.query', { billType: 'trade', billDate });
  const archive = Buffer.from(await (await fetch(bill.billDownloadUrl)).arrayBuffer());
  assert.equal(archive.subarray(0, 2).toString(), 'PK');
  inbox.close();
}

// Does what a browser does with the form or link of a page payment; returns the order's number.
async function openCashier(sdk, notifyUrl, method) {
  const outTradeNo = `sdk${crypto.randomUUID().replaceAll('-', '').slice(0, 24)}`;
  const page = sdk.pageExecute('alipay.trade.page.pay', method, {
    notifyUrl,
    bizContent: { outTradeNo, productCode: 'FAST_INSTANT_TRADE_PAY', subject: '积分 "100" + 1%', totalAmount: '12.34' },
  });
  let answer;
  if (method === 'GET') {
    answer = await fetch(page, { redirect: 'manual' });
  } else {
    const unescape = value => value.replaceAll('&quot;', '"');
    const [, action] = page.match(/action="([^"]*)"/);
    const fields = [...page.matchAll(/name="([^"]*)" value="([^"]*)"/g)].map(([, name, value]) => [name, unescape(value)]);
    answer = await fetch(action, { method: 'POST', body: new URLSearchParams(fields), redirect: 'manual' });
  }
  assert.equal(answer.status, 302, (await answer.text()).match(/<main>.*<\/main>/s)?.[0]);
  assert.match(answer.headers.get('location'), /cashier/);
  return outTradeNo;
}

// A merchant's server: takes what the SDK verifies.
async function notifications(sdk) {
  const received = [];
  const server = createServer(async (request, response) => {
    const notification = Object.fromEntries(new URLSearchParams(await text(request)));
    const authentic = sdk.checkNotifySignV2(notification);
    if (authentic) received.push(notification);
    response.end(authentic ? 'success' : 'failure');
  });
  await new Promise(ready => server.listen(0, '127.0.0.1', ready));
  return { received, url: `http://127.0.0.1:${server.address().port}/notify`, close: () => server.close() };
}

const outcome = await tasks[task](JSON.parse(await text(process.stdin)));
process.stdout.write(JSON.stringify(outcome));
