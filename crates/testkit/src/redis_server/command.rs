//! One command to a Redis, and its answer: what a test needs to change a server under
//! the feet of those who use it.

use std::io;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

/// Sends a command over a connection of its own and answers the parts of its reply,
/// those of a list one by one; what is nil has no part.
///
/// # Errors
///
/// The connection's, or what Redis says is wrong.
pub(super) async fn send(port: u16, command: &[impl AsRef<[u8]>]) -> io::Result<Vec<Vec<u8>>> {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for part in command {
        let part = part.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    stream.write_all(&bytes).await?;
    let mut parts = Vec::new();
    // Replies that are still to be read: a list adds its own.
    let mut left = 1;
    while left > 0 {
        left -= 1;
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let (kind, rest) = line.split_at(line.len().min(1));
        let count = || rest.parse::<i64>().map_err(io::Error::other);
        match kind {
            "-" => return Err(io::Error::other(rest.to_owned())),
            "*" => left += count()?.max(0),
            "$" => {
                let Ok(length) = usize::try_from(count()?) else {
                    continue;
                };
                let mut text = vec![0; length + 2];
                stream.read_exact(&mut text).await?;
                text.truncate(length);
                parts.push(text);
            }
            _ => parts.push(rest.as_bytes().to_vec()),
        }
    }
    Ok(parts)
}
