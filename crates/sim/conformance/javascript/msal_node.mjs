// @azure/msal-node: tokens by secret and certificate.

import { equal, ok } from 'node:assert/strict';
import * as msal from '@azure/msal-node';
import { Report, version } from './report.mjs';
import * as simulator from './simulator.mjs';

const report = new Report(`@azure/msal-node ${version('@azure/msal-node')} (JavaScript)`);

function application(credential) {
  return new msal.ConfidentialClientApplication({
    auth: {
      clientId: simulator.client,
      authority: `${simulator.url}/${simulator.tenant}`,
      knownAuthorities: [simulator.host],
      ...credential,
    },
  });
}

function token(credential) {
  return application(credential).acquireTokenByClientCredential({ scopes: [simulator.SCOPE] });
}

report.capability('token by secret', async () => {
  const answer = await token({ clientSecret: simulator.secret });
  ok(answer.accessToken);
  equal(answer.tokenType, 'Bearer');
  ok(answer.expiresOn > new Date());
});

report.capability('wrong secret refused', async () => {
  const error = await token({ clientSecret: 'wrong' }).then(() => undefined, (error) => error);
  equal(error?.errorCode, 'invalid_client');
  ok(error.errorMessage.includes('AADSTS7000215'), error.errorMessage);
});

report.capability('expired secret refused', async () => {
  await simulator.throwSwitch('secret.expire', true);
  try {
    const error = await token({ clientSecret: simulator.secret }).then(() => undefined, (error) => error);
    ok(error?.errorMessage.includes('AADSTS7000222'), error?.errorMessage);
  } finally {
    await simulator.throwSwitch('secret.expire', false);
  }
});

report.capability('certificate, PS256 x5t#S256', async () => {
  const { privateKey, publicPem, thumbprintSha256 } = simulator.certificate();
  await simulator.addCertificate(publicPem);
  ok((await token({ clientCertificate: { privateKey, thumbprintSha256 } })).accessToken);
});

report.capability('unknown certificate refused', async () => {
  const { privateKey, thumbprintSha256 } = simulator.certificate();
  const error = await token({ clientCertificate: { privateKey, thumbprintSha256 } }).then(() => undefined, (error) => error);
  ok(error?.errorMessage.includes('AADSTS700027'), error?.errorMessage);
});

await report.run();
