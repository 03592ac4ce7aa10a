//! A GET over plain HTTP, for metrics and health pages of pods.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for a whole answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches `http://host:port/path`; answers status code and body. The host must be an address: names of the cluster mean
/// nothing to this process. HTTP/1.0, so that the body ends with the connection.
///
/// # Errors
/// When the URL is not of that form, on connection failures and after 10 seconds.
pub async fn get(url: &str) -> Result<(u16, String)> {
    let rest = url
        .strip_prefix("http://")
        .with_context(|| format!("{url} is not an http URL"))?;
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(
                format!("GET /{path} HTTP/1.0\r\nHost: {address}\r\nAccept: */*\r\n\r\n")
                    .as_bytes(),
            )
            .await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(TIMEOUT, exchange)
        .await
        .with_context(|| format!("no answer from {url} in {TIMEOUT:?}"))?
        .with_context(|| format!("failed to get {url}"))?;
    let answer = String::from_utf8_lossy(&answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        bail!("{url} did not answer in HTTP")
    };
    let code = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("{url} answered without a code"))?;
    Ok((code, body.to_owned()))
}
