"""msgraph-sdk: mail, attachments, sending, subscriptions, delta, limits and errors."""

import asyncio
import datetime
import importlib.metadata
import ssl

import httpx
from azure.identity.aio import ClientSecretCredential
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_authentication_azure.azure_identity_authentication_provider import (
    AzureIdentityAuthenticationProvider,
)
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.models.body_type import BodyType
from msgraph.generated.models.email_address import EmailAddress
from msgraph.generated.models.file_attachment import FileAttachment
from msgraph.generated.models.item_body import ItemBody
from msgraph.generated.models.message import Message
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.models.recipient import Recipient
from msgraph.generated.models.subscription import Subscription
from msgraph.generated.users.item.messages.item.create_reply.create_reply_post_request_body import (
    CreateReplyPostRequestBody,
)
from msgraph.generated.users.item.messages.item.move.move_post_request_body import MovePostRequestBody
from msgraph.generated.users.item.messages.messages_request_builder import MessagesRequestBuilder
from msgraph.generated.users.item.send_mail.send_mail_post_request_body import SendMailPostRequestBody
from msgraph_core import GraphClientFactory
from msgraph_core.requests.batch_request_content import BatchRequestContent
from msgraph_core.requests.batch_request_item import BatchRequestItem
from msgraph_core.tasks.page_iterator import PageIterator

from report import Report, equal, true
from simulator import CUSTOMER, MAILBOX, SCOPE, Endpoint, Simulator

report = Report(f"msgraph-sdk {importlib.metadata.version('msgraph-sdk')} (Python)")
Query = MessagesRequestBuilder.MessagesRequestBuilderGetQueryParameters


class Graph:
    """The SDK pointed at the simulator, and the mailbox that is looked at."""

    def __init__(self, simulator):
        self.simulator = simulator
        credential = ClientSecretCredential(
            simulator.tenant,
            simulator.client,
            simulator.secret,
            authority=simulator.https,
            disable_instance_discovery=True,
            connection_verify=simulator.ca_file,
        )
        provider = AzureIdentityAuthenticationProvider(
            credential, scopes=[SCOPE], allowed_hosts=[simulator.host, simulator.host.split(":")[0]]
        )
        trust = ssl.create_default_context(cafile=simulator.ca_file)
        http = GraphClientFactory.create_with_default_middleware(
            client=httpx.AsyncClient(verify=trust, timeout=20)
        )
        self.adapter = GraphRequestAdapter(provider, client=http)
        self.adapter.base_url = f"{simulator.https}/v1.0"
        self.client = GraphServiceClient(request_adapter=self.adapter)
        self.user = self.client.users.by_user_id(MAILBOX)

    def inbox(self):
        return self.user.mail_folders.by_mail_folder_id("inbox")

    def message(self, id):
        return self.user.messages.by_message_id(id)


def asked(immutable=False, **query):
    configuration = RequestConfiguration(query_parameters=Query(**query))
    if immutable:
        configuration.headers.add("Prefer", 'IdType="ImmutableId"')
    return configuration


def recipient(address):
    return Recipient(email_address=EmailAddress(address=address))


async def received(simulator, address, count):
    for _ in range(100):
        if len(simulator.outside(address)) >= count:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{address} did not receive {count} mails")


@report.capability("folders")
async def folders(graph):
    page = await graph.user.mail_folders.get()
    names = {folder.display_name for folder in page.value}
    true({"Inbox", "Drafts", "Sent Items"} <= names, f"folders are missing: {names}")
    inbox = await graph.inbox().get()
    equal(inbox.display_name, "Inbox", "display_name")


@report.capability("list, $select, $orderby")
async def listing(graph):
    graph.simulator.deliver("List one")
    page = await graph.inbox().messages.get(
        request_configuration=asked(top=5, select=["subject", "from"], orderby=["receivedDateTime desc"])
    )
    equal(page.value[0].subject, "List one", "subject")
    equal(page.value[0].from_.email_address.address, CUSTOMER, "from")
    true(page.value[0].body is None, "a body that was not selected")


@report.capability("pages")
async def pages(graph):
    for number in range(5):
        graph.simulator.deliver(f"Page {number}")
    first = await graph.user.messages.get(request_configuration=asked(top=2, select=["subject"]))
    seen = []
    iterator = PageIterator(first, graph.adapter)
    await iterator.iterate(lambda message: seen.append(message.subject) or True)
    true({f"Page {number}" for number in range(5)} <= set(seen), f"mails are missing: {seen}")


@report.capability("$filter, $count")
async def filters(graph):
    graph.simulator.deliver("Filter me")
    page = await graph.inbox().messages.get(
        request_configuration=asked(filter="subject eq 'Filter me'", count=True)
    )
    equal([message.subject for message in page.value], ["Filter me"], "found")
    equal(page.odata_count, 1, "@odata.count")
    page = await graph.inbox().messages.get(request_configuration=asked(filter="isRead eq true"))
    equal(page.value, [], "read mails")


@report.capability("MIME by $value")
async def mime(graph):
    id = graph.simulator.deliver("As MIME")
    text = await graph.message(id).content.get()
    true(b"Subject: As MIME\r\n" in text, "the subject is missing in the bytes")


@report.capability("immutable ids")
async def immutable_ids(graph):
    id = graph.simulator.deliver("Stays the same")
    page = await graph.inbox().messages.get(
        request_configuration=asked(immutable=True, filter="subject eq 'Stays the same'")
    )
    equal(page.value[0].id, id, "id")


@report.capability("attachments")
async def attachments(graph):
    id = graph.simulator.deliver("With attachment", attachment="a,b,c")
    page = await graph.message(id).attachments.get()
    equal([part.name for part in page.value], ["list.csv"], "names")
    part = await graph.message(id).attachments.by_attachment_id(page.value[0].id).get()
    true(isinstance(part, FileAttachment), f"a {type(part).__name__}")
    equal(part.content_type, "text/csv", "content_type")
    true(part.content_bytes, "no contentBytes")


@report.capability("draft: create, attach, update, delete")
async def draft(graph):
    made = await graph.user.messages.post(
        Message(
            subject="Draft",
            body=ItemBody(content_type=BodyType.Text, content="Text"),
            to_recipients=[recipient(CUSTOMER)],
        )
    )
    true(made.is_draft, "not a draft")
    added = await graph.message(made.id).attachments.post(
        FileAttachment(
            odata_type="#microsoft.graph.fileAttachment", name="note.txt", content_bytes=b"bm90ZQ=="
        )
    )
    equal(added.name, "note.txt", "name")
    changed = await graph.message(made.id).patch(Message(subject="Changed"))
    equal(changed.subject, "Changed", "subject")
    equal((await graph.message(made.id).get()).has_attachments, True, "has_attachments")
    await graph.message(made.id).delete()
    page = await graph.user.mail_folders.by_mail_folder_id("drafts").messages.get()
    equal([message.id for message in page.value if message.id == made.id], [], "drafts")


@report.capability("mark read")
async def mark_read(graph):
    id = graph.simulator.deliver("To be read")
    changed = await graph.message(id).patch(Message(is_read=True))
    true(changed.is_read, "still unread")


@report.capability("move")
async def move(graph):
    id = graph.simulator.deliver("To the archive")
    moved = await graph.message(id).move.post(MovePostRequestBody(destination_id="archive"))
    archive = await graph.user.mail_folders.by_mail_folder_id("archive").get()
    equal(moved.parent_folder_id, archive.id, "parent_folder_id")


@report.capability("createReply and send")
async def reply(graph):
    address = "reply@customer.example"
    id = graph.simulator.deliver("A question", sender=address)
    made = await graph.message(id).create_reply.post(CreateReplyPostRequestBody(comment="An answer"))
    equal(made.subject, "RE: A question", "subject")
    equal(made.to_recipients[0].email_address.address, address, "to")
    await graph.message(made.id).send.post()
    await received(graph.simulator, address, 1)
    page = await graph.user.mail_folders.by_mail_folder_id("sentitems").messages.get()
    true("RE: A question" in [message.subject for message in page.value], "not in Sent Items")


@report.capability("sendMail")
async def send_mail(graph):
    address = "sendmail@customer.example"
    message = Message(
        subject="News",
        body=ItemBody(content_type=BodyType.Html, content="<p>News</p>"),
        to_recipients=[recipient(address)],
    )
    await graph.user.send_mail.post(SendMailPostRequestBody(message=message, save_to_sent_items=True))
    await received(graph.simulator, address, 1)


@report.capability("subscription: create, renew, list, delete")
async def subscription(graph):
    endpoint = Endpoint(graph.simulator)
    try:
        now = datetime.datetime.now(datetime.timezone.utc)
        made = await graph.client.subscriptions.post(
            Subscription(
                change_type="created",
                notification_url=endpoint.url,
                lifecycle_notification_url=endpoint.url,
                resource=f"/users/{MAILBOX}/mailFolders('inbox')/messages",
                expiration_date_time=now + datetime.timedelta(days=2),
                client_state="secret state",
            )
        )
        true(endpoint.handshakes >= 1, "no handshake")
        graph.simulator.deliver("Notified")
        for _ in range(100):
            if endpoint.notifications:
                break
            await asyncio.sleep(0.05)
        true(endpoint.notifications, "no notification")
        equal(endpoint.notifications[0]["clientState"], "secret state", "clientState")
        equal(endpoint.notifications[0]["subscriptionId"], made.id, "subscriptionId")
        own = graph.client.subscriptions.by_subscription_id(made.id)
        later = now + datetime.timedelta(days=3)
        renewed = await own.patch(Subscription(expiration_date_time=later))
        true(renewed.expiration_date_time > made.expiration_date_time, "not renewed")
        listed = await graph.client.subscriptions.get()
        true(made.id in [one.id for one in listed.value], "not listed")
        await own.delete()
        listed = await graph.client.subscriptions.get()
        true(made.id not in [one.id for one in listed.value], "still listed")
    finally:
        endpoint.close()


async def round_of(delta):
    """All changes of a round, and the link to the next."""
    changes = []
    page = await delta.get()
    while page.odata_next_link:
        changes += page.value
        page = await delta.with_url(page.odata_next_link).get()
    return changes + page.value, page.odata_delta_link


@report.capability("delta over several rounds")
async def delta(graph):
    inbox = graph.inbox().messages.delta
    graph.simulator.deliver("Delta first")
    changes, link = await round_of(inbox)
    true("Delta first" in [message.subject for message in changes], "the first is missing")
    changes, link = await round_of(inbox.with_url(link))
    equal(changes, [], "a quiet round")
    graph.simulator.deliver("Delta second")
    changes, link = await round_of(inbox.with_url(link))
    equal([message.subject for message in changes], ["Delta second"], "the second round")
    await graph.message(changes[0].id).delete()
    changes, link = await round_of(inbox.with_url(link))
    true("@removed" in changes[0].additional_data, "no @removed")


@report.capability("delta: 410 begins anew")
async def delta_gone(graph):
    inbox = graph.inbox().messages.delta
    _, link = await round_of(inbox)
    graph.simulator.switch("delta.expire", True)
    try:
        await inbox.with_url(link).get()
    except ODataError as error:
        equal(error.response_status_code, 410, "status")
        true(error.error.code, "no code")
    else:
        raise AssertionError("an unknown token was taken")
    changes, _ = await round_of(inbox)
    true(changes, "nothing after beginning anew")


def part(graph, request, relative):
    """A part of a batch. By itself the SDK keeps the absolute URL, which the service does not know."""
    item = BatchRequestItem(request.to_get_request_information())
    if relative:
        item.url = item.url.replace(graph.adapter.base_url, "")
    return item


@report.capability("$batch")
async def batch(graph):
    content = BatchRequestContent()
    good = part(graph, graph.inbox(), relative=True)
    missing = part(graph, graph.message("AAMkAGI1AAAt9AHjAAA="), relative=True)
    absolute = part(graph, graph.inbox(), relative=False)
    for item in (good, missing, absolute):
        content.add_request(item.id, item)
    answer = await graph.client.batch.post(batch_request_content=content)
    statuses = {id: answered.status for id, answered in answer.responses.items()}
    equal(statuses[good.id], 200, "status of the good part")
    true(statuses[missing.id] in (400, 404), f"status of the missing mail: {statuses[missing.id]}")
    # https://github.com/microsoftgraph/msgraph-sdk-python/issues/1015
    equal(statuses[absolute.id], 400, "status of the absolute URL")


@report.capability("retry after 429")
async def retry(graph):
    graph.simulator.deliver("After the limit")
    graph.simulator.throttle_for(0.5)
    page = await graph.inbox().messages.get(request_configuration=asked(top=1))
    equal(len(page.value), 1, "mails")


@report.capability("errors")
async def errors(graph):
    for status, code, call in [
        (404, "ErrorItemNotFound", graph.message("AAMkAGI1AAAt9AHjAAA=").get),
        (404, "ErrorInvalidUser", graph.client.users.by_user_id("nobody@contoso.example").messages.get),
    ]:
        try:
            await call()
        except ODataError as error:
            true(error.error.inner_error.request_id, "no request-id")
            if status == 404 and error.response_status_code == 400:
                continue  # A malformed id may be answered either way.
            equal(error.response_status_code, status, "status")
            true(error.error.code, f"no code where {code} is expected")
        else:
            raise AssertionError(f"no error where {code} is expected")


report.run(Graph(Simulator.from_arguments()))
