//! A stream of frames out of a spool, for as long as somebody listens.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures::stream;
use tokio::sync::watch;

use super::problem::Refusal;
use crate::frames::{self, Kind, MEDIA_TYPE};
use crate::runner::spool::{Progress, Spool, SpoolError};

pub(super) async fn respond(spool: Arc<Spool>, from: u64, keep_alive: Duration) -> Result<Response, Refusal> {
    on_blocking(&spool, move |spool| spool.check_offset(from)).await?;
    let reader = Reader { progress: spool.progress(), spool, offset: from, keep_alive };
    let body = Body::from_stream(stream::try_unfold(reader, Reader::next));
    Ok(([(CONTENT_TYPE, MEDIA_TYPE), (CACHE_CONTROL, "no-store")], body).into_response())
}

struct Reader {
    spool: Arc<Spool>,
    progress: watch::Receiver<Progress>,
    offset: u64,
    keep_alive: Duration,
}

impl Reader {
    /// The next bytes; a keep-alive if there were none for a while; nothing after the end frame.
    ///
    /// The transport asks for more only when it has taken what it was given, so being asked again after the end frame
    /// means that all of it was read: then the output is deleted.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, SpoolError> {
        loop {
            // Looked at before reading, so that whatever comes in between wakes us.
            let seen = *self.progress.borrow_and_update();
            let offset = self.offset;
            let bytes = on_blocking(&self.spool, move |spool| spool.read(offset)).await?;
            if !bytes.is_empty() {
                self.offset += bytes.len() as u64;
                return Ok(Some((Bytes::from(bytes), self)));
            }
            if seen.ended.is_some() {
                self.spool.discard();
                return Ok(None);
            }
            match tokio::time::timeout(self.keep_alive, self.progress.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(SpoolError::Gone),
                Err(_) => {
                    let mut frame = Vec::new();
                    frames::encode(Kind::KeepAlive, b"", &mut frame);
                    return Ok(Some((Bytes::from(frame), self)));
                }
            }
        }
    }
}

/// Reading and decrypting a block would hold up other tasks.
async fn on_blocking<T: Send + 'static>(
    spool: &Arc<Spool>,
    work: impl FnOnce(&Spool) -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, SpoolError> {
    let spool = Arc::clone(spool);
    tokio::task::spawn_blocking(move || work(&spool)).await.map_err(std::io::Error::other)?
}
