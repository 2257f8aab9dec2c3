//! Hears what other nodes notify, on a connection of its own.

use std::{future::poll_fn, pin::pin, time::Duration};

use tokio_postgres::{AsyncMessage, Config, Error, NoTls, Socket, tls::MakeTlsConnect};

use super::connect::Server;

/// Wait before a lost connection is made anew.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// Runs until it is dropped.
pub(super) async fn listen(server: &Server, channel: &str, mut hear: impl FnMut(&str) + Send) {
    loop {
        let ended = match &server.tls {
            Some(tls) => listen_once(&server.config, tls.clone(), channel, &mut hear).await,
            None => listen_once(&server.config, NoTls, channel, &mut hear).await,
        };
        let reason = match &ended {
            Ok(()) => "the server closed it".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(db.channel = channel, reason, "Lost the connection that hears other nodes");
        tokio::time::sleep(RECONNECT_AFTER).await;
    }
}

async fn listen_once<T>(
    config: &Config,
    tls: T,
    channel: &str,
    hear: &mut (impl FnMut(&str) + Send),
) -> Result<(), Error>
where
    T: MakeTlsConnect<Socket>,
{
    let (client, mut connection) = config.connect(tls).await?;
    let command = format!("LISTEN \"{channel}\"");
    let mut asked = pin!(client.batch_execute(&command));
    let mut listening = false;
    loop {
        // The connection works only while it is polled, the answer to LISTEN included.
        tokio::select! {
            answer = &mut asked, if !listening => {
                answer?;
                listening = true;
            }
            message = poll_fn(|cx| connection.poll_message(cx)) => match message {
                Some(Ok(AsyncMessage::Notification(notification))) => hear(notification.payload()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        }
    }
}
