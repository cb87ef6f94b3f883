//! Inputs by content: bytes that a principal uploads once and names by their SHA-256 in later calls.
//!
//! Each principal has a directory of its own; nobody can name, or probe for, another's bytes. Uploads go to disk as they
//! arrive, count against a bound per blob and one per principal, and get their name only when the hash is right. A day
//! after the last upload of the same bytes they are deleted.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, FileTimes, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use placet_core::action::Principal;
use placet_core::digest::Sha256Digest;
use placet_core::time::{Clock, Timestamp};
use tokio::io::AsyncWriteExt;

use crate::hash::Hasher;

/// What placet keeps, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// One blob.
    pub blob_bytes_max: u64,
    /// All blobs of one principal.
    pub principal_bytes_max: u64,
    /// What a smaller blob counts as, because a file costs a disk more than its bytes.
    pub counted_bytes_min: u64,
    /// From the last upload to the deletion.
    pub kept_for: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            blob_bytes_max: 256 * 1024 * 1024,
            principal_bytes_max: 1024 * 1024 * 1024,
            counted_bytes_min: 4096,
            kept_for: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// The blobs of all principals.
#[derive(Clone)]
pub struct Blobs {
    root: PathBuf,
    bounds: Bounds,
    clock: Arc<dyn Clock>,
    uploads: Arc<AtomicU64>,
    /// What each principal has, also in uploads that go on at the same time.
    usages: Arc<Mutex<HashMap<Principal, Usage>>>,
}

/// An upload that was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Whether these bytes were not there before.
    pub new: bool,
    /// How many there are.
    pub bytes: u64,
}

/// An upload was not kept.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes are others than the name says.
    #[error("keep a blob: its bytes have the SHA-256 {0}, upload them under that name")]
    OtherBytes(Sha256Digest),
    /// More than one blob may have.
    #[error("keep a blob: it has more than {0} bytes")]
    TooLarge(u64),
    /// More than one principal may have.
    #[error(
        "keep a blob: all your blobs together would have more than {0} bytes; they are deleted after a day"
    )]
    Quota(u64),
    /// The client went away, or sent what is no body.
    #[error("receive a blob: the upload broke off")]
    Broken,
    /// The machine failed.
    #[error("store a blob")]
    Io(#[from] io::Error),
}

/// What begins the name of a file that is still being written.
const UPLOAD_PREFIX: &str = "upload-";

impl Blobs {
    /// The blobs in `root`, which is made if it is not there. Uploads that an earlier run left half done are removed.
    pub fn open(root: &Path, bounds: Bounds, clock: Arc<dyn Clock>) -> io::Result<Self> {
        make_directory(root)?;
        let blobs =
            Blobs { root: root.to_owned(), bounds, clock, uploads: Arc::default(), usages: Arc::default() };
        blobs.remove(|name, _| name.starts_with(UPLOAD_PREFIX))?;
        Ok(blobs)
    }

    /// Where a principal's blob is, if it is there.
    pub fn find(&self, principal: Principal, sha256: Sha256Digest) -> Option<PathBuf> {
        let path = self.directory(principal).join(sha256.to_string());
        path.is_file().then_some(path)
    }

    /// Receives a blob.
    pub async fn put<E>(
        &self,
        principal: Principal,
        sha256: Sha256Digest,
        body: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<Kept, BlobError> {
        let directory = self.directory(principal);
        make_directory(&directory)?;
        let new = self.find(principal, sha256).is_none();
        let upload = Upload(
            directory.join(format!("{UPLOAD_PREFIX}{}", self.uploads.fetch_add(1, Ordering::Relaxed))),
        );
        let reservation = Reservation { blobs: self, principal, bytes: AtomicU64::new(0) };
        let count = |bytes: u64| reservation.take(bytes);
        let (found, bytes) = self.receive(&upload.0, &count, body).await?;
        if found != sha256 {
            return Err(BlobError::OtherBytes(found));
        }
        fs::rename(&upload.0, directory.join(sha256.to_string()))?;
        // Until the reservation goes it counts twice, which is the safe side.
        self.usage(principal, |usage| usage.kept = None);
        Ok(Kept { new, bytes })
    }

    async fn receive<E>(
        &self,
        path: &Path,
        count: &(impl Fn(u64) -> Result<(), BlobError> + Sync),
        body: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<(Sha256Digest, u64), BlobError> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut file = tokio::fs::File::from_std(file);
        let mut body = std::pin::pin!(body);
        let mut hasher = Hasher::default();
        let mut received: u64 = 0;
        count(self.bounds.counted_bytes_min)?;
        while let Some(part) = body.next().await {
            let part = part.map_err(|_| BlobError::Broken)?;
            received = received.saturating_add(part.len() as u64);
            if received > self.bounds.blob_bytes_max {
                return Err(BlobError::TooLarge(self.bounds.blob_bytes_max));
            }
            count(part.len() as u64)?;
            hasher.update(&part);
            file.write_all(&part).await?;
        }
        file.flush().await?;
        // Our own clock, not the machine's: it is what the sweep compares with.
        let now = FileTimes::new().set_modified(system_time(self.clock.now()));
        file.into_std().await.set_times(now)?;
        Ok((hasher.finish(), received))
    }

    /// Deletes what is too old. Asks for nothing and can run at any time.
    pub fn sweep(&self, now: Timestamp) -> io::Result<()> {
        let removed = self.remove(|_, modified| now.since(modified) >= self.bounds.kept_for);
        let mut usages = self.usages.lock().unwrap_or_else(PoisonError::into_inner);
        usages.values_mut().for_each(|usage| usage.kept = None);
        removed
    }

    fn remove(&self, due: impl Fn(&str, Timestamp) -> bool) -> io::Result<()> {
        for principal in fs::read_dir(&self.root)? {
            for blob in fs::read_dir(principal?.path())? {
                let blob = blob?;
                let name = blob.file_name();
                let Some(modified) = blob.metadata()?.modified().ok().and_then(timestamp) else { continue };
                if due(&name.to_string_lossy(), modified) {
                    fs::remove_file(blob.path())?;
                }
            }
        }
        Ok(())
    }

    fn usage<T>(&self, principal: Principal, act: impl FnOnce(&mut Usage) -> T) -> T {
        let mut usages = self.usages.lock().unwrap_or_else(PoisonError::into_inner);
        act(usages.entry(principal).or_default())
    }

    fn directory(&self, principal: Principal) -> PathBuf {
        self.root.join(principal.to_string())
    }
}

/// What a principal has on the disk, and what is on its way there.
#[derive(Default)]
struct Usage {
    /// Bytes of what is kept; none if that has to be looked up.
    kept: Option<u64>,
    /// Bytes that uploads in progress have been given.
    in_flight: u64,
}

/// What one upload was given; it goes back when the upload ends, well or badly.
struct Reservation<'a> {
    blobs: &'a Blobs,
    principal: Principal,
    bytes: AtomicU64,
}

impl Reservation<'_> {
    /// Gives the upload more bytes, if its principal's bound has room beside what is kept and what others were given.
    fn take(&self, bytes: u64) -> Result<(), BlobError> {
        let (bounds, directory) = (self.blobs.bounds, self.blobs.directory(self.principal));
        self.blobs.usage(self.principal, |usage| {
            let kept = match usage.kept {
                Some(kept) => kept,
                None => bytes_kept(&directory, bounds.counted_bytes_min)?,
            };
            usage.kept = Some(kept);
            let in_flight = usage.in_flight.saturating_add(bytes);
            if kept.saturating_add(in_flight) > bounds.principal_bytes_max {
                return Err(BlobError::Quota(bounds.principal_bytes_max));
            }
            usage.in_flight = in_flight;
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        })
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let given = self.bytes.load(Ordering::Relaxed);
        self.blobs.usage(self.principal, |usage| usage.in_flight = usage.in_flight.saturating_sub(given));
    }
}

/// A file that disappears unless it got a name.
struct Upload(PathBuf);

impl Drop for Upload {
    fn drop(&mut self) {
        // Renamed away in the good case.
        let _ = fs::remove_file(&self.0);
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// What is kept in a directory; what is still being written is counted by its reservation.
fn bytes_kept(directory: &Path, counted_min: u64) -> io::Result<u64> {
    let mut total: u64 = 0;
    for blob in fs::read_dir(directory)? {
        let blob = blob?;
        if blob.file_name().to_string_lossy().starts_with(UPLOAD_PREFIX) {
            continue;
        }
        match blob.metadata() {
            Ok(metadata) => total = total.saturating_add(metadata.size().max(counted_min)),
            // Removed in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(0))
}

fn timestamp(at: SystemTime) -> Option<Timestamp> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(i64::try_from(since.as_millis()).ok()?))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use futures::stream;
    use placet_core::id::AgentId;

    use super::*;

    struct Hand(AtomicI64);
    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    const BOUNDS: Bounds = Bounds {
        blob_bytes_max: 10,
        principal_bytes_max: 25,
        counted_bytes_min: 0,
        kept_for: Duration::from_secs(86_400),
    };

    fn principal(number: u8) -> Principal {
        Principal::Agent(AgentId::from_bytes([number; 16]))
    }

    fn open(root: &Path) -> (Blobs, Arc<Hand>) {
        let clock = Arc::new(Hand(AtomicI64::new(1_790_000_000_000)));
        (Blobs::open(root, BOUNDS, clock.clone()).unwrap(), clock)
    }

    async fn put(blobs: &Blobs, who: u8, name: &str, parts: &[&'static str]) -> Result<Kept, BlobError> {
        let body =
            stream::iter(parts.iter().map(|part| Ok::<_, io::Error>(Bytes::from_static(part.as_bytes()))));
        blobs.put(principal(who), Sha256Digest::of(name.as_bytes()), body).await
    }

    #[tokio::test]
    async fn keeps_bytes_under_their_hash_and_for_their_owner() {
        let root = tempfile::tempdir().unwrap();
        let (blobs, _) = open(root.path());
        assert!(put(&blobs, 1, "abcdef", &["abc", "def"]).await.unwrap().new);
        let again = put(&blobs, 1, "abcdef", &["abcdef"]).await.unwrap();
        assert_eq!(again, Kept { new: false, bytes: 6 }, "the second time it is not new");
        let digest = Sha256Digest::of(b"abcdef");
        assert_eq!(fs::read(blobs.find(principal(1), digest).unwrap()).unwrap(), b"abcdef");
        assert_eq!(blobs.find(principal(2), digest), None, "private to the principal");
        assert_eq!(blobs.find(principal(1), Sha256Digest::of(b"")), None);
    }

    #[tokio::test]
    async fn refuses_and_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (blobs, _) = open(root.path());
        assert!(matches!(put(&blobs, 1, "abc", &["abd"]).await, Err(BlobError::OtherBytes(_))));
        assert!(matches!(put(&blobs, 1, "x", &["12345", "678901"]).await, Err(BlobError::TooLarge(10))));
        let broken = stream::iter([Ok(Bytes::from_static(b"ab")), Err(io::Error::other("gone"))]);
        let broken = blobs.put(principal(1), Sha256Digest::of(b"abc"), broken).await;
        assert!(matches!(broken, Err(BlobError::Broken)));
        for name in ["0123456789", "9876543210"] {
            put(&blobs, 2, name, &[name]).await.unwrap();
        }
        assert!(matches!(put(&blobs, 2, "abcdef", &["abcdef"]).await, Err(BlobError::Quota(25))));
        put(&blobs, 3, "abcdef", &["abcdef"]).await.unwrap();

        let count = |who: u8| fs::read_dir(root.path().join(principal(who).to_string())).unwrap().count();
        assert_eq!((count(1), count(2), count(3)), (0, 2, 1));
    }

    #[tokio::test]
    async fn uploads_at_the_same_time_share_the_bound() {
        let root = tempfile::tempdir().unwrap();
        let (blobs, _) = open(root.path());
        let (mut senders, mut uploads) = (Vec::new(), Vec::new());
        for place in 0..4 {
            let (sender, body) = futures::channel::mpsc::unbounded::<io::Result<Bytes>>();
            let (blobs, name) = (blobs.clone(), format!("{place}234567890"));
            uploads.push(tokio::spawn(async move {
                blobs.put(principal(1), Sha256Digest::of(name.as_bytes()), body).await
            }));
            senders.push(sender);
        }
        // All of them have begun, with nothing kept yet, before the first of them brings all of its bytes.
        for half in [(0, 5), (5, 10)] {
            for (place, sender) in senders.iter().enumerate() {
                let bytes = Bytes::from(format!("{place}234567890")).slice(half.0..half.1);
                // An upload that was refused reads no more.
                let _ = sender.unbounded_send(Ok(bytes));
            }
            tokio::task::yield_now().await;
        }
        drop(senders);
        let mut kept = 0;
        for upload in uploads {
            match upload.await.unwrap() {
                Ok(_) => kept += 1,
                Err(error) => assert!(matches!(error, BlobError::Quota(25)), "{error}"),
            }
        }
        assert!(kept <= 2, "{kept} of 10 bytes each under a bound of 25");
        assert!(bytes_kept(&root.path().join(principal(1).to_string()), 0).unwrap() <= 25);
    }

    #[tokio::test]
    async fn a_small_blob_counts_as_what_its_file_costs() {
        let root = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hand(AtomicI64::new(1_790_000_000_000)));
        let bounds = Bounds { principal_bytes_max: 10_000, counted_bytes_min: 4096, ..BOUNDS };
        let blobs = Blobs::open(root.path(), bounds, clock).unwrap();
        for name in ["a", "b"] {
            put(&blobs, 1, name, &[name]).await.unwrap();
        }
        assert!(matches!(put(&blobs, 1, "c", &["c"]).await, Err(BlobError::Quota(10_000))));
    }

    #[tokio::test]
    async fn is_swept_a_day_after_the_last_upload() {
        let root = tempfile::tempdir().unwrap();
        let (blobs, clock) = open(root.path());
        let digest = Sha256Digest::of(b"abc");
        let start = clock.now();
        put(&blobs, 1, "abc", &["abc"]).await.unwrap();
        clock.0.fetch_add(80_000_000, Ordering::Relaxed);
        put(&blobs, 1, "abc", &["abc"]).await.unwrap();
        blobs.sweep(start.plus(Duration::from_millis(86_400_000))).unwrap();
        assert!(blobs.find(principal(1), digest).is_some(), "uploaded again in between");
        blobs.sweep(start.plus(Duration::from_millis(166_399_999))).unwrap();
        assert!(blobs.find(principal(1), digest).is_some());
        blobs.sweep(start.plus(Duration::from_millis(166_400_000))).unwrap();
        assert!(blobs.find(principal(1), digest).is_none());
    }

    #[tokio::test]
    async fn half_an_upload_does_not_survive_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let (blobs, _) = open(root.path());
        put(&blobs, 1, "abc", &["abc"]).await.unwrap();
        let half = root.path().join(principal(1).to_string()).join("upload-0");
        fs::write(&half, "ab").unwrap();
        let (blobs, _) = open(root.path());
        assert!(!half.exists());
        assert!(blobs.find(principal(1), Sha256Digest::of(b"abc")).is_some());
    }
}
