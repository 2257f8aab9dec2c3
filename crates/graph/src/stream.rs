//! Bytes of a mailbox as they come: a mail of 150 MB is never whole in memory.
//!
//! Given by [`Mailbox`](crate::Mailbox). Rule kept: the slot in the mailbox's lane is
//! held until the last byte; who breaks off, or is broken off, holds it 30 s longer.

use bytes::Bytes;

use crate::{
    client::no_answer,
    errors::GraphError,
    lane::{Outcome, Slot},
    requests::Operation,
    wire::Incoming,
};

/// Bytes on their way. What came is complete when [`ByteStream::next`] gives nothing, and not before.
pub struct ByteStream {
    operation: Operation,
    incoming: Incoming,
    /// Absent after the end.
    slot: Option<Slot>,
}

impl ByteStream {
    pub(crate) fn new(operation: Operation, slot: Slot, incoming: Incoming) -> Self {
        Self { operation, incoming, slot: Some(slot) }
    }

    /// The media type that the answer claims, in lower case and without parameters; may be empty.
    pub fn media_type(&self) -> String {
        let value = self.incoming.headers().get(http::header::CONTENT_TYPE);
        let value = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The next bytes; nothing at the end.
    ///
    /// # Errors
    /// When the connection breaks, nothing comes for 30 s, the whole takes more than 12 minutes, or
    /// fewer or more bytes came than were promised.
    pub async fn next(&mut self) -> Result<Option<Bytes>, GraphError> {
        if self.slot.is_none() {
            return Ok(None);
        }
        let chunk = self.incoming.chunk().await;
        match (chunk, self.slot.take()) {
            (Ok(Some(chunk)), slot) => {
                self.slot = slot;
                Ok(Some(chunk))
            }
            (Ok(None), Some(slot)) => {
                slot.finish(Outcome::Fine);
                Ok(None)
            }
            (Err(failure), Some(slot)) => Err(no_answer(slot, self.operation, failure)),
            (_, None) => Ok(None),
        }
    }

    /// All that is left, in memory.
    ///
    /// # Errors
    /// As [`ByteStream::next`].
    pub async fn collect(mut self) -> Result<Vec<u8>, GraphError> {
        let mut all = Vec::new();
        while let Some(chunk) = self.next().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use futures_util::{StreamExt as _, stream};
    use http::Response;
    use jiff::SignedDuration;
    use tokio::time::sleep;

    use crate::{
        GraphErrorKind, Mailbox, Priority,
        testing::{self, clock},
        transport::Body,
    };

    type Chunk = (u64, Result<&'static str, io::ErrorKind>);

    /// A mailbox that answers with these chunks, each after so many seconds.
    fn mailbox(chunks: Vec<Chunk>, length: Option<&'static str>) -> Mailbox {
        let (graph, _) = testing::graph(move |_| {
            let chunks = chunks.clone();
            async move {
                let body = stream::iter(chunks).then(|(seconds, chunk)| async move {
                    sleep(Duration::from_secs(seconds)).await;
                    chunk.map(|text| text.as_bytes().into()).map_err(io::Error::from)
                });
                let mut response = Response::new(Body::stream(body));
                if let Some(length) = length {
                    response.headers_mut().insert("content-length", length.parse().unwrap());
                }
                Ok(response)
            }
        });
        graph.mailbox("anna@contoso.example")
    }

    async fn kind(mailbox: &Mailbox) -> GraphErrorKind {
        let stream = mailbox.message_stream("id", Priority::NewMail).await.unwrap();
        stream.collect().await.err().unwrap().kind()
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_line_is_waited_for_and_holds_the_slot_to_the_last_byte() {
        let mailbox = mailbox(vec![(29, Ok("a")), (29, Ok("b")), (29, Ok("c"))], Some("3"));
        let mut stream = mailbox.message_stream("id", Priority::NewMail).await.unwrap();
        let mut all = Vec::new();
        while let Some(chunk) = stream.next().await.unwrap() {
            assert_eq!(mailbox.lane().in_flight, 1);
            all.extend_from_slice(&chunk);
        }
        assert_eq!((all.as_slice(), mailbox.lane().in_flight), (&b"abc"[..], 0));
        assert!(stream.next().await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_after_half_a_minute_and_keeps_the_slot_as_long_again() {
        let mailbox = mailbox(vec![(5, Ok("a")), (60, Ok("b"))], None);
        let clock = clock();
        let begun = clock.now();
        assert_eq!(kind(&mailbox).await, GraphErrorKind::Unknown);
        assert_eq!(clock.now().duration_since(begun), SignedDuration::from_secs(35));
        assert_eq!(mailbox.lane().in_flight, 1);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(mailbox.lane().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_without_end_ends_after_twelve_minutes() {
        let mailbox = mailbox(vec![(20, Ok("a")); 100], None);
        let clock = clock();
        let begun = clock.now();
        assert_eq!(kind(&mailbox).await, GraphErrorKind::Unknown);
        assert_eq!(clock.now().duration_since(begun), SignedDuration::from_mins(12));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_breaks_off_or_has_another_length_is_no_mail() {
        let broken = vec![(0, Ok("a")), (0, Err(io::ErrorKind::ConnectionReset))];
        for (chunks, length) in
            [(broken, None), (vec![(0, Ok("abc"))], Some("4")), (vec![(0, Ok("abc"))], Some("2"))]
        {
            let mailbox = mailbox(chunks, length);
            assert_eq!(kind(&mailbox).await, GraphErrorKind::Unknown);
            assert_eq!(mailbox.lane().in_flight, 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_breaks_off_reading_keeps_the_slot_for_half_a_minute() {
        let mailbox = mailbox(vec![(0, Ok("a")), (0, Ok("b"))], None);
        let mut stream = mailbox.message_stream("id", Priority::NewMail).await.unwrap();
        stream.next().await.unwrap();
        drop(stream);
        assert_eq!(mailbox.lane().in_flight, 1);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(mailbox.lane().in_flight, 0);
    }
}
