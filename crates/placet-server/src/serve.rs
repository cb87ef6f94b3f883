//! The loops that accept connections, with a bound on everything a connection may do.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower_http::timeout::TimeoutBody;

use crate::admin::Peer;
use crate::app::App;
use crate::idle::Idle;
use crate::metrics::Metrics;

/// What a connection may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections at one time; beyond it whoever has been silent longest makes room, and if all are in a call, new
    /// ones wait in the kernel's queue.
    pub connections_max: usize,
    /// How long reading a call's head may take, and how long a connection may idle between calls.
    pub head_timeout: Duration,
    /// How many header fields a call may have.
    pub headers_max: usize,
    /// How many bytes a call's head may have.
    pub head_bytes_max: usize,
    /// How long a body that is being read may be silent.
    pub body_timeout: Duration,
    /// How long calls in progress may take after the signal to stop.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 4096,
            head_timeout: Duration::from_secs(30),
            headers_max: 64,
            head_bytes_max: 32 * 1024,
            body_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// How a listener ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drained {
    /// Every call was answered.
    Whole,
    /// Some were cut off when their time was over.
    CutOff,
}

/// A bound address. Bind every door before serving one, so that a taken port is found before anything begins.
///
/// `localhost` is two addresses, and clients choose which they try first. A door on one of them takes the other one too:
/// a program that listens there would get the tokens and cookies that were meant for the door.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    /// The other loopback address, if this machine has one.
    twin: Option<TcpListener>,
    address: SocketAddr,
}

/// Free ports are tried until one is free at both addresses.
const FREE_PORTS_TRIED: usize = 16;

impl Listener {
    /// Binds an address; port 0 takes a free one.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let mut bound = Self::bind_once(address);
        for _ in 1..FREE_PORTS_TRIED {
            match &bound {
                Err(error) if address.port() == 0 && error.kind() == io::ErrorKind::AddrInUse => {
                    bound = Self::bind_once(address);
                }
                _ => break,
            }
        }
        bound
    }

    fn bind_once(address: SocketAddr) -> io::Result<Self> {
        let tcp = bind_tcp(address)?;
        let address = tcp.local_addr()?;
        let twin = match twin_of(address.ip()).map(|ip| bind_tcp(SocketAddr::new(ip, address.port()))) {
            None => None,
            Some(Ok(twin)) => Some(twin),
            Some(Err(error)) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            // A machine without the other protocol: nobody can listen there.
            Some(Err(_)) => None,
        };
        Ok(Listener { tcp, twin, address })
    }

    async fn accept(&self) -> io::Result<tokio::net::TcpStream> {
        let (stream, _) = match &self.twin {
            None => self.tcp.accept().await?,
            Some(twin) => tokio::select! {
                accepted = self.tcp.accept() => accepted?,
                accepted = twin.accept() => accepted?,
            },
        };
        Ok(stream)
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let tcp = std::net::TcpListener::bind(address)?;
    tcp.set_nonblocking(true)?;
    TcpListener::from_std(tcp)
}

/// The other address that `localhost` means.
fn twin_of(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => Some(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Some(Ipv4Addr::LOCALHOST.into()),
        _ => None,
    }
}

/// Serves a door until the signal says stop, then lets calls in progress finish, for a while.
pub async fn serve(
    listener: Listener,
    name: &'static str,
    door: Router,
    app: &App,
    limits: Limits,
    stop: watch::Receiver<bool>,
) -> Drained {
    accept(listener, door, AcceptLoop::new(name, app.metrics.clone(), limits), stop).await
}

/// The same for the door of a process that has no broker.
pub async fn serve_standalone(
    listener: Listener,
    name: &'static str,
    door: Router,
    limits: Limits,
    stop: watch::Receiver<bool>,
) -> Drained {
    accept(listener, door, AcceptLoop::new(name, Arc::new(Metrics::new()), limits), stop).await
}

async fn accept(
    listener: Listener,
    door: Router,
    loop_: AcceptLoop,
    mut stop: watch::Receiver<bool>,
) -> Drained {
    loop {
        let Some(permit) = loop_.permit(&mut stop).await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok(stream) => {
                // Answers are small and whole: waiting to fill a packet only makes them late.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(error = %error, "a connection was gone at once");
                    continue;
                }
                loop_.converse(stream, door.clone(), permit);
            }
            Err(error) => loop_.accept_failed(&error).await,
        }
    }
    // Nobody new gets in while the others finish.
    drop(listener);
    loop_.drain().await
}

/// The admin socket, bound, which only its owner may open.
#[derive(Debug)]
pub struct AdminListener {
    unix: UnixListener,
    path: PathBuf,
}

impl AdminListener {
    /// Binds the socket at this path. What a dead process left there is replaced; whoever calls this holds the data
    /// directory's lock.
    pub fn bind(path: PathBuf) -> io::Result<Self> {
        Ok(AdminListener { unix: bind_socket(&path)?, path })
    }
}

/// Serves the admin socket until the signal says stop.
pub async fn serve_admin(
    listener: AdminListener,
    admin: Router,
    app: &App,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) -> Drained {
    let AdminListener { unix, path } = listener;
    let loop_ = AcceptLoop::new("admin", app.metrics.clone(), limits);
    loop {
        let Some(permit) = loop_.permit(&mut stop).await else { break };
        let accepted = tokio::select! {
            accepted = unix.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted.and_then(|(stream, _)| Ok((peer_of(&stream)?, stream))) {
            Ok((peer, stream)) => loop_.converse(stream, admin.clone().layer(axum::Extension(peer)), permit),
            Err(error) => loop_.accept_failed(&error).await,
        }
    }
    drop(unix);
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::debug!(error = %error, "the admin socket was gone already");
    }
    loop_.drain().await
}

/// Who the kernel says is at the other end.
fn peer_of(stream: &UnixStream) -> io::Result<Peer> {
    Ok(Peer { uid: stream.peer_cred()?.uid() })
}

fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something that is no socket is in the way",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    // Until here the directory, which only its owner may enter, is what protects it.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// How often a full listener looks for somebody who makes room.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The part of serving that does not depend on what is listened to.
struct AcceptLoop {
    name: &'static str,
    metrics: Arc<Metrics>,
    limits: Limits,
    seats: Arc<Semaphore>,
    idle: Idle,
    graceful: GracefulShutdown,
}

impl AcceptLoop {
    fn new(name: &'static str, metrics: Arc<Metrics>, limits: Limits) -> Self {
        let seats = Arc::new(Semaphore::new(limits.connections_max.min(Semaphore::MAX_PERMITS)));
        AcceptLoop { name, metrics, limits, seats, idle: Idle::default(), graceful: GracefulShutdown::new() }
    }

    /// A seat for the next connection; none when it is time to stop.
    async fn permit(&self, stop: &mut watch::Receiver<bool>) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(permit) = self.seats.clone().try_acquire_owned() {
                return Some(permit);
            }
            self.idle.close_oldest();
            tokio::select! {
                permit = self.seats.clone().acquire_owned() => return permit.ok(),
                _ = stop.wait_for(|stop| *stop) => return None,
                // All were in a call. By now somebody may have fallen silent.
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Out of files, mostly: others have to finish before it can go on.
    async fn accept_failed(&self, error: &io::Error) {
        tracing::warn!(listener = self.name, error = %error, "a connection could not be accepted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    fn converse(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        router: Router,
        permit: OwnedSemaphorePermit,
    ) {
        let (place, doors) = (self.idle.accepted(), TowerToHyperService::new(router));
        let (calls, silence_max) = (place.clone(), self.limits.body_timeout);
        let serve_one = move |request: Request<Incoming>| {
            let request = request.map(|body| TimeoutBody::new(silence_max, body));
            let (call, answer) = (calls.call(), doors.call(request));
            async move { answer.await.map(|response| call.answered(response)) }
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_timeout)
            .max_headers(self.limits.headers_max)
            .max_header_size(self.limits.head_bytes_max)
            .serve_connection(TokioIo::new(stream), service_fn(serve_one));
        let connection = self.graceful.watch(connection);
        let open = self.metrics.connections(self.name);
        let name = self.name;
        tokio::spawn(async move {
            open.iter().for_each(|gauge| gauge.inc());
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(listener = name, error = %error, "a connection broke");
                    }
                }
                () = place.closed() => tracing::debug!(listener = name, "a silent connection made room"),
            }
            open.iter().for_each(|gauge| gauge.dec());
            drop(permit);
        });
    }

    async fn drain(self) -> Drained {
        match tokio::time::timeout(self.limits.drain_timeout, self.graceful.shutdown()).await {
            Ok(()) => Drained::Whole,
            Err(_) => {
                tracing::warn!(listener = self.name, "calls were cut off: their time was over");
                Drained::CutOff
            }
        }
    }
}
