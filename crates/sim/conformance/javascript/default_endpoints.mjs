// Microsoft's clients without any endpoint option, through the proxy.
//
// The environment names proxy and CA (HTTPS_PROXY, NODE_EXTRA_CA_CERTS), as on a machine that reaches
// the internet through a company's proxy. Node 20's fetch does not look at HTTPS_PROXY by itself;
// undici's agent does it for the whole process, the clients know nothing of it.

import { equal, ok } from 'node:assert/strict';
import * as msal from '@azure/msal-node';
import { ClientSecretCredential } from '@azure/identity';
import { Client } from '@microsoft/microsoft-graph-client';
import { EnvHttpProxyAgent, setGlobalDispatcher } from 'undici';
import { Report } from './report.mjs';
import * as simulator from './simulator.mjs';

setGlobalDispatcher(new EnvHttpProxyAgent());

const report = new Report('JavaScript, default endpoints');
const { tenant, client, secret, SCOPE } = simulator;

report.capability('token from login.microsoftonline.com', async () => {
  const authority = `https://login.microsoftonline.com/${tenant}`;
  const app = new msal.ConfidentialClientApplication({ auth: { clientId: client, clientSecret: secret, authority } });
  ok((await app.acquireTokenByClientCredential({ scopes: [SCOPE] })).accessToken);
});

report.capability('mail from graph.microsoft.com', async () => {
  await simulator.deliver('Through the proxy');
  const credential = new ClientSecretCredential(tenant, client, secret);
  const authProvider = { getAccessToken: async () => (await credential.getToken(SCOPE)).token };
  const graph = Client.initWithMiddleware({ authProvider });
  const page = await graph.api(`/users/${simulator.MAILBOX}/messages`).get();
  equal(page.value[0].subject, 'Through the proxy');
});

await report.run();
