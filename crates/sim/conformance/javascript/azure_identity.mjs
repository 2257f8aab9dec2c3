// @azure/identity: tokens by secret and certificate.

import { equal, ok } from 'node:assert/strict';
import { ClientCertificateCredential, ClientSecretCredential } from '@azure/identity';
import { Report, version } from './report.mjs';
import * as simulator from './simulator.mjs';

const report = new Report(`@azure/identity ${version('@azure/identity')} (JavaScript)`);
const OPTIONS = { authorityHost: simulator.url, disableInstanceDiscovery: true };

report.capability('token by secret', async () => {
  const { tenant, client, secret } = simulator;
  const answer = await new ClientSecretCredential(tenant, client, secret, OPTIONS).getToken(simulator.SCOPE);
  ok(answer.token);
  ok(answer.expiresOnTimestamp > Date.now());
});

report.capability('wrong secret refused', async () => {
  const credential = new ClientSecretCredential(simulator.tenant, simulator.client, 'wrong', OPTIONS);
  const error = await credential.getToken(simulator.SCOPE).then(() => undefined, (error) => error);
  equal(error?.name, 'AuthenticationRequiredError');
  ok(error.message.includes('AADSTS7000215'), error.message);
});

report.capability('certificate, PS256 x5t#S256', async () => {
  const { privateKey, publicPem } = simulator.certificate();
  await simulator.addCertificate(publicPem);
  const credential = new ClientCertificateCredential(
    simulator.tenant,
    simulator.client,
    { certificate: privateKey + publicPem },
    OPTIONS,
  );
  ok((await credential.getToken(simulator.SCOPE)).token);
});

await report.run();
