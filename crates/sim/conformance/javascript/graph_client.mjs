// @microsoft/microsoft-graph-client: mail, attachments, sending, subscriptions, delta, limits and errors.

import { deepEqual, equal, ok } from 'node:assert/strict';
import { ClientSecretCredential } from '@azure/identity';
import {
  BatchRequestContent,
  BatchResponseContent,
  Client,
  PageIterator,
  ResponseType,
} from '@microsoft/microsoft-graph-client';
import { Report, version } from './report.mjs';
import * as simulator from './simulator.mjs';

const report = new Report(
  `@microsoft/microsoft-graph-client ${version('@microsoft/microsoft-graph-client')} (JavaScript)`,
);
const { CUSTOMER, MAILBOX, deliver } = simulator;

const credential = new ClientSecretCredential(simulator.tenant, simulator.client, simulator.secret, {
  authorityHost: simulator.url,
  disableInstanceDiscovery: true,
});
const graph = Client.initWithMiddleware({
  baseUrl: `${simulator.url}/`,
  defaultVersion: 'v1.0',
  customHosts: new Set(['localhost']),
  authProvider: { getAccessToken: async () => (await credential.getToken(simulator.SCOPE)).token },
});
const user = `/users/${MAILBOX}`;
const inbox = `${user}/mailFolders/inbox`;
const to = (address) => [{ emailAddress: { address } }];
const failure = (promise) => promise.then(() => undefined, (error) => error);

report.capability('folders', async () => {
  const page = await graph.api(`${user}/mailFolders`).get();
  const names = page.value.map((folder) => folder.displayName);
  for (const name of ['Inbox', 'Drafts', 'Sent Items']) ok(names.includes(name), `${name} is missing`);
  equal((await graph.api(inbox).get()).displayName, 'Inbox');
});

report.capability('list, $select, $orderby', async () => {
  await deliver('List one');
  const page = await graph.api(`${inbox}/messages`).top(5).select('subject,from').orderby('receivedDateTime desc').get();
  equal(page.value[0].subject, 'List one');
  equal(page.value[0].from.emailAddress.address, CUSTOMER);
  equal(page.value[0].body, undefined);
});

report.capability('pages', async () => {
  for (let number = 0; number < 5; number += 1) await deliver(`Page ${number}`);
  const seen = new Set();
  const first = await graph.api(`${user}/messages`).top(2).select('subject').get();
  await new PageIterator(graph, first, (message) => Boolean(seen.add(message.subject))).iterate();
  for (let number = 0; number < 5; number += 1) ok(seen.has(`Page ${number}`), `Page ${number} is missing`);
});

report.capability('$filter, $count', async () => {
  await deliver('Filter me');
  const page = await graph.api(`${inbox}/messages`).filter("subject eq 'Filter me'").count(true).get();
  deepEqual(page.value.map((message) => message.subject), ['Filter me']);
  equal(page['@odata.count'], 1);
  deepEqual((await graph.api(`${inbox}/messages`).filter('isRead eq true').get()).value, []);
});

report.capability('MIME by $value', async () => {
  const id = await deliver('As MIME');
  const text = await graph.api(`${user}/messages/${id}/$value`).responseType(ResponseType.TEXT).get();
  ok(text.includes('Subject: As MIME\r\n'));
});

report.capability('immutable ids', async () => {
  const id = await deliver('Stays the same');
  const list = graph.api(`${inbox}/messages`).header('Prefer', 'IdType="ImmutableId"');
  equal((await list.filter("subject eq 'Stays the same'").get()).value[0].id, id);
});

report.capability('attachments', async () => {
  const id = await deliver('With attachment', { attachment: 'a,b,c' });
  const page = await graph.api(`${user}/messages/${id}/attachments`).get();
  deepEqual(page.value.map((part) => part.name), ['list.csv']);
  const part = await graph.api(`${user}/messages/${id}/attachments/${page.value[0].id}`).get();
  equal(part['@odata.type'], '#microsoft.graph.fileAttachment');
  ok(Buffer.from(part.contentBytes, 'base64').toString().startsWith('a,b,c'));
});

report.capability('draft: create, attach, update, delete', async () => {
  const body = { contentType: 'text', content: 'Text' };
  const made = await graph.api(`${user}/messages`).post({ subject: 'Draft', body, toRecipients: to(CUSTOMER) });
  ok(made.isDraft);
  const own = `${user}/messages/${made.id}`;
  const file = {
    '@odata.type': '#microsoft.graph.fileAttachment',
    name: 'note.txt',
    contentBytes: Buffer.from('note').toString('base64'),
  };
  equal((await graph.api(`${own}/attachments`).post(file)).name, 'note.txt');
  equal((await graph.api(own).patch({ subject: 'Changed' })).subject, 'Changed');
  equal((await graph.api(own).get()).hasAttachments, true);
  await graph.api(own).delete();
  const drafts = await graph.api(`${user}/mailFolders/drafts/messages`).get();
  ok(!drafts.value.some((message) => message.id === made.id));
});

report.capability('mark read', async () => {
  const id = await deliver('To be read');
  equal((await graph.api(`${user}/messages/${id}`).patch({ isRead: true })).isRead, true);
});

report.capability('move', async () => {
  const id = await deliver('To the archive');
  const moved = await graph.api(`${user}/messages/${id}/move`).post({ destinationId: 'archive' });
  equal(moved.parentFolderId, (await graph.api(`${user}/mailFolders/archive`).get()).id);
});

report.capability('createReply and send', async () => {
  const sender = 'reply-js@customer.example';
  const id = await deliver('A question', { sender });
  const made = await graph.api(`${user}/messages/${id}/createReply`).post({ comment: 'An answer' });
  equal(made.subject, 'RE: A question');
  equal(made.toRecipients[0].emailAddress.address, sender);
  await graph.api(`${user}/messages/${made.id}/send`).post({});
  await simulator.received(sender);
  const sent = await graph.api(`${user}/mailFolders/sentitems/messages`).get();
  ok(sent.value.some((message) => message.subject === 'RE: A question'));
});

report.capability('sendMail', async () => {
  const address = 'sendmail-js@customer.example';
  const message = { subject: 'News', body: { contentType: 'HTML', content: '<p>News</p>' }, toRecipients: to(address) };
  await graph.api(`${user}/sendMail`).post({ message, saveToSentItems: true });
  await simulator.received(address);
});

report.capability('sendMail as MIME', async () => {
  const address = 'mime-js@customer.example';
  const mail = `From: ${MAILBOX}\r\nTo: ${address}\r\nSubject: As MIME\r\nContent-Type: text/plain\r\n\r\nText\r\n`;
  const request = graph.api(`${user}/sendMail`).header('Content-Type', 'text/plain');
  await request.post(Buffer.from(mail).toString('base64'));
  await simulator.received(address);
});

report.capability('subscription: create, renew, list, delete', async () => {
  const endpoint = await new simulator.Endpoint().open();
  const inDays = (days) => new Date(Date.now() + days * 86_400_000).toISOString();
  try {
    const made = await graph.api('/subscriptions').post({
      changeType: 'created',
      notificationUrl: endpoint.url,
      lifecycleNotificationUrl: endpoint.url,
      resource: `/users/${MAILBOX}/mailFolders('inbox')/messages`,
      expirationDateTime: inDays(2),
      clientState: 'secret state',
    });
    ok(endpoint.handshakes >= 1);
    await deliver('Notified');
    await simulator.eventually(() => endpoint.notifications.length > 0, 'no notification');
    equal(endpoint.notifications[0].clientState, 'secret state');
    equal(endpoint.notifications[0].subscriptionId, made.id);
    const own = `/subscriptions/${made.id}`;
    const renewed = await graph.api(own).patch({ expirationDateTime: inDays(3) });
    ok(new Date(renewed.expirationDateTime) > new Date(made.expirationDateTime));
    const listed = async () => (await graph.api('/subscriptions').get()).value.map((one) => one.id);
    ok((await listed()).includes(made.id));
    await graph.api(own).delete();
    ok(!(await listed()).includes(made.id));
  } finally {
    endpoint.close();
  }
});

/** All changes of a round, and the link to the next. */
async function roundOf(link) {
  const changes = [];
  let page = await graph.api(link).get();
  while (page['@odata.nextLink']) {
    changes.push(...page.value);
    page = await graph.api(page['@odata.nextLink']).get();
  }
  return { changes: [...changes, ...page.value], next: page['@odata.deltaLink'] };
}

report.capability('delta over several rounds', async () => {
  await deliver('Delta first');
  let round = await roundOf(`${inbox}/messages/delta`);
  ok(round.changes.some((message) => message.subject === 'Delta first'));
  round = await roundOf(round.next);
  deepEqual(round.changes, []);
  await deliver('Delta second');
  round = await roundOf(round.next);
  deepEqual(round.changes.map((message) => message.subject), ['Delta second']);
  await graph.api(`${user}/messages/${round.changes[0].id}`).delete();
  round = await roundOf(round.next);
  ok(round.changes[0]['@removed']);
});

report.capability('delta: 410 begins anew', async () => {
  const { next } = await roundOf(`${inbox}/messages/delta`);
  await simulator.throwSwitch('delta.expire', true);
  const error = await failure(graph.api(next).get());
  equal(error?.statusCode, 410);
  ok(error.code);
  ok((await roundOf(`${inbox}/messages/delta`)).changes.length > 0);
});

report.capability('$batch', async () => {
  const part = (id, path) => ({ id, request: new Request(`${simulator.url}${path}`, { method: 'GET' }) });
  const parts = [part('1', inbox), part('2', `${user}/mailFolders/nothing`)];
  const content = await new BatchRequestContent(parts).getContent();
  const answer = new BatchResponseContent(await graph.api('/$batch').post(content));
  equal(answer.getResponseById('1').status, 200);
  ok([400, 404].includes(answer.getResponseById('2').status));
});

report.capability('retry after 429', async () => {
  await deliver('After the limit');
  await simulator.throttleFor(500);
  equal((await graph.api(`${inbox}/messages`).top(1).get()).value.length, 1);
});

report.capability('errors', async () => {
  const error = await failure(graph.api('/users/nobody@contoso.example/messages').get());
  equal(error?.statusCode, 404);
  ok(error.code);
  ok(error.requestId);
});

await report.run();
