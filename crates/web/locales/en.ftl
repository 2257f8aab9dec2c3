# Every text of the screens. The Japanese file says the same under the same keys.
# Words of the model (states, steps, reasons) are keyed by kind and word.

product = Postroom
skip = Skip to the content
nav-label = Screens
nav-desk = Desk
nav-queues = Queues
nav-mailboxes = Mailboxes
nav-ledger = Ledger
nav-trace = Trace
language-en = English
language-ja = 日本語
sign-out = Sign out
close = Close
back = Back

login-title = Sign in
login-lead = Your contact centre's mail.
login-email = E-mail address
login-password = Password
login-submit = Sign in
login-wrong = Address or password is wrong.
login-too-many = { $count ->
    [one] Too many tries. Wait a minute, then try again.
   *[other] Too many tries. Wait { $count } minutes, then try again.
}

failure-sign_in = You are not signed in.
failure-sign_in-advice = Sign in and try again.
failure-not_allowed = This page is not for your role.
failure-not_allowed-advice = If you need it, ask an administrator to give you the role in the organisation file.
failure-not_yours = This conversation is with somebody else.
failure-not_yours-advice = Only its agent and supervisors can open it.
failure-not_found = There is nothing at this address.
failure-not_found-advice = Check the address, or go back to your start page.
failure-changed = This has changed in the meantime.
failure-changed-advice = It was accepted, wrapped up or returned elsewhere. Reload to see how it stands now.
failure-empty = The reply is empty.
failure-empty-advice = Write something, then send.
failure-too_long = This is too long.
failure-too_long-advice = A reply may have at most 3 MB. Shorten it and send again; what you typed is still there.
failure-no_such_code = This is not a wrap-up code of the queue.
failure-no_such_code-advice = The codes may have been changed. Reload the page and choose one of those shown.
failure-unreadable = The request was not understood.
failure-unreadable-advice = Go back and try again from the page.
failure-foreign = The request came from another site and was refused.
failure-foreign-advice = Open Postroom under its own address and try again.
failure-too_many = Too many at once.
failure-too_many-advice = Close some windows of Postroom, or wait a moment.
failure-store = The store can't be reached.
failure-store-advice = Nothing is lost. Try again in a moment; if it stays so, tell an administrator.
failure-broken = Something went wrong on our side.
failure-broken-advice = Nothing is lost. Try again; if it stays so, tell an administrator.
failure-request = Number of the request in the log: { $id }
failure-home = To the start page

duration-seconds = { $count } sec
duration-minutes = { $count } min
duration-hours = { $count } hr
duration-days = { $count ->
    [one] { $count } day
   *[other] { $count } days
}
size-bytes = { $count } B
size-kilobytes = { $count } KB
size-megabytes = { $count } MB

panel-label = My work
conversation = Conversation
desk-choose = Choose a conversation, or go on queue to be given one.
status-on_queue = On queue
status-off_queue = Off queue
status-not_responding = Not responding
status-on_queue-advice = New mails are given to you.
status-off_queue-advice = Nothing new is given to you.
status-not_responding-advice = You declined or missed an alert. Go on queue to be given mails again.
status-go-on = Go on queue
status-go-off = Go off queue
alerts = Waiting for your answer
alert-new = New mail
alert-announce = New mail from { $customer }. Press a to accept, d to decline.
accept = Accept
decline = Decline
mine = My conversations
mine-none = You have no open conversation.
closed-lately = Wrapped up lately
unread = { $count ->
    [one] { $count } unread mail
   *[other] { $count } unread mails
}
unknown-customer = Unknown sender
no-subject = (no subject)
waiting-since = waiting
done-wrapped_up = Wrapped up.
done-returned = Returned to its queue. It keeps its place there.
done-declined = Declined. It went back to its queue, and you are not responding until you go on queue.

queue = Queue
route = Came to
arrived = Arrived
agent = Agent
wrap-up-code = Wrap-up code
it-waits = It waits:
conversation-waiting = Waiting
conversation-alerting = Alerting
conversation-connected = With an agent
conversation-closed = Wrapped up
mail-to = To
mail-cc = Cc
mail-body = The mail
mail-odd = Odd about this mail:
attachments = Attachments
blocked-remote = { $count ->
    [one] { $count } remote picture blocked.
   *[other] { $count } remote pictures blocked.
}
automatic-auto_reply = Automatic reply
automatic-bounce = Delivery report
automatic-list = Mailing list
automatic-auto_generated = Sent by a machine
problem-unreadable = not made of headers and a body
problem-no_from = nobody is named as its author
problem-no_message_id = it has no Message-ID
problem-bad_date = its date is missing or wrong
problem-eight_bit_header = a header is not encoded as it should be
problem-wrong_charset = a text is not in the character set that it claims
problem-broken_encoding = a part's encoding is broken
send-queued = Queued
send-drafting = Sending…
send-drafted = Sending…
send-sending = Sending…
send-sent = Sent
send-uncertain = Uncertain
send-failed = Not sent
send-queued-advice = It is sent as soon as the mailbox can be reached.
send-drafting-advice = It is on its way.
send-drafted-advice = It is on its way.
send-sending-advice = It is on its way.
send-sent-advice = It was sent.
send-uncertain-advice = It may have been sent, and is not sent again by itself. Look into the mailbox's Sent Items before you write again.
send-failed-advice = It did not leave. Copy the text, put right what is named here, and send again.
reply-label = Your reply
reply-placeholder = Write to the customer…
send = Send
wrap-up = Wrap up
wrap-up-done = Done
return-to-queue = Return to queue
read-only = You are reading; only its agent can answer.

shortcuts-title = Keyboard shortcuts
shortcuts-single = Use single keys
shortcut-help = Show the shortcuts
shortcut-status = Go on or off queue
shortcut-accept = Accept the alert
shortcut-decline = Decline the alert
shortcut-move = Next, previous conversation
shortcut-reply = Write a reply (Esc leaves the box)
shortcut-send = Send the reply
shortcut-wrap-up = Wrap up with a code
shortcut-search = Search

why-queue_has_no_members = Its queue has no members.
why-nobody_on_queue = Nobody of its queue is on queue.
why-nobody_with_skill = Nobody on queue has the skill “{ $skill }”.
why-nobody_with_language = Nobody on queue speaks the language “{ $language }”.
why-nobody_with_all = Nobody on queue has everything that it asks for.
why-all_at_capacity = All who could take it have as many conversations as they may.
why-next_in_line = It is offered next.
