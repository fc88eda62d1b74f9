//! Byte streams: hyper's traits over tokio's, the flush guard, and replaying what was peeked at.
//!
//! Invariants: `IO-1` a flush with nothing written since the last one does not reach the socket. A
//! simulated socket sends a packet for every flush and hyper flushes on every poll, so two idle
//! HTTP/2 peers would wake each other for ever.
//!
//! Not here: opening sockets (`net`).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use runtime::link::Link;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What every connection is made of.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

/// Hyper's reading and writing over tokio's.
#[derive(Debug)]
pub struct HyperIo<T>(pub T);

impl<T: AsyncRead + Unpin> hyper::rt::Read for HyperIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // Zeroing the buffer costs less than the unsafe code that would avoid it.
        let free = cursor.initialize_unfilled();
        let mut buffer = ReadBuf::new(free);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        advance(&mut cursor, read);
        Poll::Ready(Ok(()))
    }
}

/// Marks `read` bytes of the unfilled part as filled.
fn advance(cursor: &mut hyper::rt::ReadBufCursor<'_>, read: usize) {
    // SAFETY: the caller initialised the whole unfilled part, of which `read` is a prefix: tokio's
    // `ReadBuf` asserts that its filled part lies within the slice it was given.
    unsafe { cursor.advance(read) }
}

impl<T: AsyncWrite + Unpin> hyper::rt::Write for HyperIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }
}

/// Keeps empty flushes from the socket (`IO-1`), and lets the simulator reset it. Sits directly on it,
/// below TLS.
#[derive(Debug)]
pub struct FlushGuard<T> {
    inner: T,
    dirty: bool,
    link: Link,
}

impl<T> FlushGuard<T> {
    /// Guards a fresh socket.
    pub fn new(inner: T) -> Self {
        Self { inner, dirty: false, link: Link::default() }
    }

    fn note(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.dirty |= matches!(written, Poll::Ready(Ok(n)) if n > 0);
        written
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for FlushGuard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.link.check()?;
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for FlushGuard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.link.check()?;
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.dirty {
            return Poll::Ready(Ok(()));
        }
        self.link.check()?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.dirty = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.link.check()?;
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.note(written)
    }
}

/// A stream whose first bytes were read already and come again.
#[derive(Debug)]
pub struct Replayed<T> {
    head: Bytes,
    inner: T,
}

/// What every HTTP/2 connection starts with (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads as little as tells HTTP/2 from HTTP/1, and gives the stream back with it. The second part
/// says whether it is HTTP/2. A stream that ends before that is HTTP/1.
pub async fn detect_http2<T: ByteStream>(mut inner: T) -> io::Result<(Replayed<T>, bool)> {
    let mut head = BytesMut::with_capacity(HTTP2_PREFACE.len());
    while head.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&head) {
        let missing = HTTP2_PREFACE.len() - head.len();
        let mut chunk = [0; HTTP2_PREFACE.len()];
        let read = inner.read(&mut chunk[..missing]).await?;
        if read == 0 {
            break;
        }
        head.extend_from_slice(&chunk[..read]);
    }
    let is_http2 = head == HTTP2_PREFACE;
    Ok((Replayed { head: head.freeze(), inner }, is_http2))
}

impl<T: AsyncRead + Unpin> AsyncRead for Replayed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buffer);
        }
        let now = self.head.len().min(buffer.remaining());
        buffer.put_slice(&self.head[..now]);
        self.head.advance(now);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Replayed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn detect(sent: &[u8]) -> (bool, Vec<u8>) {
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(sent).await.expect("fits");
        drop(client);
        let (mut stream, is_http2) = detect_http2(server).await.expect("readable");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.expect("readable");
        (is_http2, all)
    }

    #[tokio::test]
    async fn the_preface_decides_and_no_byte_is_lost() {
        let http2 = [HTTP2_PREFACE, b"frames"].concat();
        let samples: [(&[u8], bool); 5] = [
            (&http2, true),
            (b"GET / HTTP/1.1\r\n\r\n", false),
            (b"PRI * HTTP/1.1\r\n\r\n", false),
            (b"PRI", false),
            (b"", false),
        ];
        for (sent, expected) in samples {
            assert_eq!(detect(sent).await, (expected, sent.to_vec()));
        }
    }

    /// Counts the flushes that reach it.
    struct Counting(usize);

    impl AsyncWrite for Counting {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0 += 1;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_flush_without_writes_does_not_reach_the_socket() {
        let mut guarded = FlushGuard::new(Counting(0));
        guarded.flush().await.expect("flushes");
        assert_eq!(guarded.inner.0, 0, "IO-1");
        guarded.write_all(b"x").await.expect("writes");
        guarded.flush().await.expect("flushes");
        guarded.flush().await.expect("flushes");
        assert_eq!(guarded.inner.0, 1, "IO-1");
    }
}
