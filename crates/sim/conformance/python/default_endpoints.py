"""Microsoft's clients without any endpoint option, through the proxy.

The environment names proxy and CA (HTTPS_PROXY, SSL_CERT_FILE, REQUESTS_CA_BUNDLE), as on a
machine that reaches the internet through a company's proxy.
"""

import msal
from azure.identity.aio import ClientSecretCredential
from msgraph import GraphServiceClient

from report import Report, equal, true
from simulator import MAILBOX, SCOPE, Simulator

report = Report("Python, default endpoints")


@report.capability("token from login.microsoftonline.com")
def token(simulator):
    app = msal.ConfidentialClientApplication(
        simulator.client,
        client_credential=simulator.secret,
        authority=f"https://login.microsoftonline.com/{simulator.tenant}",
    )
    answer = app.acquire_token_for_client([SCOPE])
    true("access_token" in answer, f"no token: {answer.get('error_description')}")


@report.capability("mail from graph.microsoft.com")
async def mail(simulator):
    simulator.deliver("Through the proxy")
    async with ClientSecretCredential(simulator.tenant, simulator.client, simulator.secret) as credential:
        graph = GraphServiceClient(credential, [SCOPE])
        page = await graph.users.by_user_id(MAILBOX).messages.get()
        equal(page.value[0].subject, "Through the proxy", "subject")


report.run(Simulator.from_arguments())
