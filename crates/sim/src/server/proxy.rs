//! A CONNECT proxy that takes Microsoft's host names to the simulator and lets
//! nothing else through.
//!
//! With it a program runs against the simulator exactly as it would against
//! Microsoft 365: with its production endpoints. Source of the protocol:
//! <https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6>.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::MICROSOFT_HOSTS;

/// Longest head of a request, in bytes.
const HEAD_LIMIT: usize = 16 * 1024;
/// How long a client may take to say where it wants to go.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the proxy rests when the machine has no connection left to give.
const REST: Duration = Duration::from_millis(100);

/// Serves the proxy until `stop`; `simulator` is where the simulator serves TLS.
pub async fn serve_proxy(listener: TcpListener, simulator: SocketAddr, stop: CancellationToken) {
    let mut tunnels = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => tunnels.push(tunnel(client, simulator)),
                Err(error) => {
                    tracing::warn!(error = %error, "The proxy can't take a connection");
                    tokio::time::sleep(REST).await;
                }
            },
            Some(ended) = tunnels.next(), if !tunnels.is_empty() => {
                if let Err(error) = ended {
                    tracing::debug!(error = %error, "A connection through the proxy broke");
                }
            }
        }
    }
}

async fn tunnel(mut client: TcpStream, simulator: SocketAddr) -> io::Result<()> {
    super::at_once(&mut client);
    let Ok(head) = tokio::time::timeout(PATIENCE, read_head(&mut client)).await else { return Ok(()) };
    match judge(&head?) {
        Verdict::Through => {
            let mut server = TcpStream::connect(simulator).await?;
            super::at_once(&mut server);
            client.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n").await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await?;
            Ok(())
        }
        Verdict::Refused(status, why) => {
            let length = why.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n{why}"
            );
            client.write_all(answer.as_bytes()).await?;
            client.shutdown().await
        }
    }
}

/// Reads up to the empty line and not a byte further: what follows is the tunnel's.
async fn read_head(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_LIMIT {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    Ok(head)
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Through,
    Refused(&'static str, String),
}

fn judge(head: &[u8]) -> Verdict {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (Some("CONNECT"), Some(target), Some(_version)) = (words.next(), words.next(), words.next()) else {
        let why = "This proxy only takes CONNECT, for https.\n".to_owned();
        return Verdict::Refused("405 Method Not Allowed", why);
    };
    let host = target.strip_suffix(":443").unwrap_or_default();
    if MICROSOFT_HOSTS.iter().any(|known| known.eq_ignore_ascii_case(host)) {
        return Verdict::Through;
    }
    let why =
        format!("This proxy leads to a Microsoft 365 simulator and nowhere else, so not to {target}.\n");
    Verdict::Refused("403 Forbidden", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_microsoft_s_hosts_on_the_https_port_go_through() {
        let verdict = |line: &str| judge(format!("{line}\r\nHost: x\r\n\r\n").as_bytes());
        assert_eq!(verdict("CONNECT graph.microsoft.com:443 HTTP/1.1"), Verdict::Through);
        assert_eq!(verdict("CONNECT LOGIN.microsoftonline.com:443 HTTP/1.1"), Verdict::Through);
        for refused in [
            "CONNECT graph.microsoft.com:80 HTTP/1.1",
            "CONNECT example.com:443 HTTP/1.1",
            "CONNECT 169.254.169.254:443 HTTP/1.1",
            "GET http://graph.microsoft.com/ HTTP/1.1",
            "CONNECT",
            "",
        ] {
            assert!(matches!(verdict(refused), Verdict::Refused(..)), "{refused}");
        }
    }
}
