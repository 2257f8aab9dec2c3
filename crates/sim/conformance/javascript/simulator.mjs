// The simulator as its ready file and its control API show it, and an endpoint for its notifications.

import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';

export const SCOPE = 'https://graph.microsoft.com/.default';
export const MAILBOX = 'support@contoso.example';
export const CUSTOMER = 'anna@customer.example';

const [, , ready, state] = process.argv;
const facts = JSON.parse(readFileSync(ready, 'utf8'));

export const url = facts.https.replace('127.0.0.1', 'localhost');
export const host = new URL(url).host;
export const tenant = facts.tenant_id;
export const client = facts.client_id;
export const secret = facts.client_secret;

// Not by fetch: the control port must be reached past every proxy.
function call(method, path, body, kind = 'application/json') {
  return new Promise((resolve, reject) => {
    const request = http.request(facts.control + path, { method, headers: { 'content-type': kind } }, (answer) => {
      let text = '';
      answer.on('data', (part) => (text += part));
      answer.on('end', () => {
        if (answer.statusCode >= 300) reject(new Error(`${method} ${path}: ${answer.statusCode} ${text}`));
        else resolve(text ? JSON.parse(text) : undefined);
      });
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** Brings a mail from a customer to the mailbox, and answers its immutable id. */
export async function deliver(subject, { sender = CUSTOMER, attachment } = {}) {
  const id = `${createHash('sha1').update(`${subject}${process.hrtime.bigint()}`).digest('hex')}`;
  const head =
    `From: Anna <${sender}>\r\nTo: ${MAILBOX}\r\nSubject: ${subject}\r\nMIME-Version: 1.0\r\n` +
    `Message-ID: <${id}@customer.example>\r\n`;
  const mail = attachment
    ? `${head}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n--b\r\n` +
      'Content-Type: text/csv; name=list.csv\r\nContent-Disposition: attachment; filename=list.csv\r\n\r\n' +
      `${attachment}\r\n--b--\r\n`
    : `${head}Content-Type: text/plain; charset=utf-8\r\n\r\nHello\r\n`;
  return (await call('POST', `/v1/mailboxes/${MAILBOX}/messages`, mail, 'message/rfc822')).id;
}

/** Waits until somebody outside received a mail. */
export async function received(address) {
  await eventually(async () => (await call('GET', `/v1/outside/${address}`)).messages.length > 0, `${address} received nothing`);
}

/** Throws a switch. */
export function throwSwitch(name, value) {
  return call('PUT', `/v1/switches/${name}`, JSON.stringify(value));
}

/** Registers a certificate (PEM) as a credential of the application. */
export function addCertificate(pem) {
  return call('POST', `/v1/applications/${client}/certificates`, JSON.stringify({ pem }));
}

/** Answers 429 to everything for a moment. */
export async function throttleFor(milliseconds) {
  await throwSwitch('throttle.rate', 1);
  setTimeout(() => throwSwitch('throttle.rate', 0), milliseconds);
}

/** Waits until the condition holds, a few seconds at most. */
export async function eventually(condition, what) {
  for (let turn = 0; turn < 100; turn += 1) {
    if (await condition()) return;
    await sleep(50);
  }
  throw new Error(what);
}

/** Takes notifications over TLS, with the simulator's own certificate, which it trusts. */
export class Endpoint {
  constructor() {
    this.notifications = [];
    this.handshakes = 0;
    const options = { cert: readFileSync(`${state}/server.pem`), key: readFileSync(`${state}/server.key`) };
    this.server = https.createServer(options, (request, answer) => {
      const token = new URL(request.url, 'https://localhost').searchParams.get('validationToken');
      let body = '';
      request.on('data', (part) => (body += part));
      request.on('end', () => {
        if (token) this.handshakes += 1;
        else this.notifications.push(...JSON.parse(body).value);
        answer.writeHead(token ? 200 : 202, { 'content-type': 'text/plain' });
        answer.end(token ?? '');
      });
    });
  }

  async open() {
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    this.url = `https://localhost:${this.server.address().port}/hook`;
    return this;
  }

  close() {
    this.server.close();
    this.server.closeAllConnections();
  }
}

/** A key and a self-signed certificate for it: private key PEM, certificate PEM, SHA-256 thumbprint. */
export function certificate() {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const der = selfSigned(privateKey, publicKey);
  const lines = der.toString('base64').match(/.{1,64}/g).join('\n');
  return {
    privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    publicPem: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
    thumbprintSha256: createHash('sha256').update(der).digest('hex'),
  };
}

// Node reads certificates but makes none: X.509 by hand, RFC 5280.
function selfSigned(privateKey, publicKey) {
  const item = (tag, ...parts) => {
    const content = Buffer.concat(parts);
    const size = content.length;
    const length = size < 128 ? [size] : size < 256 ? [0x81, size] : [0x82, size >> 8, size & 255];
    return Buffer.concat([Buffer.from([tag, ...length]), content]);
  };
  const sequence = (...parts) => item(0x30, ...parts);
  const oid = (hex) => item(0x06, Buffer.from(hex, 'hex'));
  const algorithm = sequence(oid('2a864886f70d01010b'), item(0x05)); // sha256WithRSAEncryption
  const name = sequence(item(0x31, sequence(oid('550403'), item(0x0c, Buffer.from('conformance')))));
  const time = (days) => {
    const at = new Date(Date.now() + days * 86_400_000).toISOString().replace(/[-:T]/g, '').slice(2, 14);
    return item(0x17, Buffer.from(`${at}Z`));
  };
  const facts = sequence(
    item(0xa0, item(0x02, Buffer.from([2]))),
    item(0x02, Buffer.from([1])),
    algorithm,
    name,
    sequence(time(-1), time(30)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
  );
  const signature = sign('sha256', facts, privateKey);
  return sequence(facts, algorithm, item(0x03, Buffer.from([0]), signature));
}
