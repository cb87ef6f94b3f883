//! A server that is a child process: one JSON message on each line of its standard input and output.
//!
//! It gets an environment of its own making, a process group of its own, and no descriptor of ours. When the connection
//! is dropped, the whole group is killed.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use placet_core::c14n::Value;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot, watch};

use super::{CallError, Listener, MESSAGE_BYTES_MAX, Refusal, ServerError};
use crate::mcp::catalogue::ServerName;
use crate::mcp::wire;
use crate::runner::user::Identity;

/// Where programs are looked for, unless the server's environment says otherwise.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// How many messages may wait to be written.
const QUEUE_MAX: usize = 64;
/// How much of what it writes to standard error is kept to explain to operators why it does not start.
const STDERR_BYTES_MAX: usize = 2048;
/// How long after its end the rest of that is waited for.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// How a server says that something that it lists has changed.
const LISTS_CHANGED: [&str; 3] = [
    "notifications/tools/list_changed",
    "notifications/resources/list_changed",
    "notifications/prompts/list_changed",
];

/// Who waits for the answers to which calls.
type Waiters = HashMap<u64, Waiter>;
type Waiting = Arc<Mutex<Waiters>>;

/// Who waits for an answer, and who hears of it meanwhile.
struct Waiter {
    answer: oneshot::Sender<Result<Box<RawValue>, CallError>>,
    listener: Option<Listener>,
}

/// A running server.
pub(super) struct Process {
    group: Pid,
    next_id: AtomicU64,
    lines: mpsc::Sender<Line>,
    waiting: Waiting,
    lists_changed: Arc<AtomicU64>,
    ended: watch::Receiver<Option<String>>,
    said: Arc<Mutex<String>>,
}

/// A message to be written, and who wants to know that it was.
struct Line {
    text: String,
    written: oneshot::Sender<()>,
}

impl Process {
    pub(super) fn start(
        server: &ServerName,
        command: &[String],
        environment: BTreeMap<String, String>,
        identity: &Identity,
    ) -> Result<Self, String> {
        let (program, arguments) = command.split_first().ok_or("it has no command")?;
        let mut prepared = std::process::Command::new(program);
        prepared.args(arguments).env_clear().env("PATH", PATH).env("LANG", "C.UTF-8").envs(environment);
        prepared.current_dir("/").process_group(0);
        prepared.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some((uid, gid)) = identity.uid_and_gid() {
            prepared.uid(uid).gid(gid);
        }
        let mut child = Command::from(prepared)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("start {}: {error}", placet_core::text::visible(program)))?;
        let group =
            child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw).ok_or("it ended at once")?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("it has no standard streams".to_owned());
        };
        tracing::info!(%server, pid = group.as_raw(), program, "an MCP server was started");
        let waiting = Waiting::default();
        let lists_changed = Arc::new(AtomicU64::new(0));
        let (lines, queue) = mpsc::channel(QUEUE_MAX);
        let (end, ended) = watch::channel(None);
        let said = Arc::new(Mutex::new(String::new()));
        tokio::spawn(write_lines(stdin, queue));
        let stderr = tokio::spawn(keep_stderr(stderr, said.clone()));
        let (known, changes) = (waiting.clone(), lists_changed.clone());
        let reader = Reader { waiting: known, lists_changed: changes, lines: lines.downgrade() };
        let server = server.clone();
        tokio::spawn(async move {
            let why = reader.read_lines(stdout).await;
            let why = end_of(child, group, why).await;
            // Its last words are there before anybody is told that it ended.
            let _ = tokio::time::timeout(LAST_WORDS_MAX, stderr).await;
            tracing::warn!(%server, why, "an MCP server ended");
            reader.fail_all(&why);
            // Nobody may be looking any more.
            let _ = end.send(Some(why));
        });
        Ok(Process { group, next_id: AtomicU64::new(1), lines, waiting, lists_changed, ended, said })
    }

    /// The last line that it wrote to standard error: words of a stranger, about whatever it had in hand.
    pub(super) fn last_words(&self) -> Option<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
    }

    pub(super) fn is_alive(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// How often it has said that something that it lists has changed.
    pub(super) fn lists_changed(&self) -> u64 {
        self.lists_changed.load(Ordering::Relaxed)
    }

    pub(super) async fn exchange(
        &self,
        method: &str,
        params: &str,
        wait: Duration,
        listener: Option<Listener>,
    ) -> Result<Box<RawValue>, CallError> {
        if let Some(why) = &*self.ended.borrow() {
            return Err(CallError::NotSent(why.clone()));
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.waiting().insert(id, Waiter { answer, listener });
        let forget = Forget { waiting: &self.waiting, id };
        let (written, was_written) = oneshot::channel();
        let line = Line { text: wire::call(Some(id), method, params), written };
        let exchange = async {
            if self.lines.send(line).await.is_err() {
                return Err(CallError::NotSent("it has ended".to_owned()));
            }
            // From here on the bytes may have reached it, whether or not writing came to an end.
            let _ = was_written.await;
            answered.await.unwrap_or_else(|_| Err(CallError::Lost("it ended before it answered".to_owned())))
        };
        let answered = tokio::time::timeout(wait, exchange).await;
        drop(forget);
        answered.unwrap_or_else(|_| Err(CallError::Lost(format!("no answer within {} s", wait.as_secs()))))
    }

    pub(super) async fn notify(&self, method: &str) -> Result<(), CallError> {
        let (written, was_written) = oneshot::channel();
        let line = Line { text: wire::call(None, method, "{}"), written };
        let gone = || CallError::NotSent("it has ended".to_owned());
        self.lines.send(line).await.map_err(|_| gone())?;
        was_written.await.map_err(|_| gone())
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiters> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_alive() {
            // What is gone already cannot be killed, which is what was wanted.
            let _ = killpg(self.group, Signal::SIGKILL);
        }
    }
}

/// Whoever stops waiting is not kept in the table.
struct Forget<'a> {
    waiting: &'a Waiting,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

async fn write_lines(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Line>) {
    while let Some(Line { text, written }) = queue.recv().await {
        let line = text + "\n";
        if stdin.write_all(line.as_bytes()).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
        let _ = written.send(());
    }
}

/// Keeps the last words. They are not logged: a server writes there what it was called with, and its credentials.
async fn keep_stderr(mut stderr: impl AsyncRead + Unpin, said: Arc<Mutex<String>>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        let text = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).into_owned();
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.push_str(&text);
        let surplus = said.len().saturating_sub(STDERR_BYTES_MAX);
        let start = (surplus..said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(said.len());
        said.drain(..start);
    }
}

async fn end_of(mut child: Child, group: Pid, why: String) -> String {
    // Whatever it left behind goes with it.
    let _ = killpg(group, Signal::SIGKILL);
    let status = child.wait().await.map_or_else(|_| String::new(), |status| format!(", {status}"));
    format!("{why}{status}")
}

/// What placet reads of a message; the rest of it stays as it is.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    id: Option<Box<RawValue>>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Option<Box<RawValue>>,
    #[serde(default)]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<WrittenError>,
}

/// An error of the protocol, as it is written.
#[derive(Deserialize)]
pub(super) struct WrittenError {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

impl WrittenError {
    /// In the server's own words, whole: they are looked through for secrets before they are cut and shown.
    pub(super) fn into_error(self) -> CallError {
        let WrittenError { code, message, data } = self;
        let words = format!("{message} (code {code})");
        // What placet's own form cannot hold is not passed on.
        let data = data.and_then(|data| Value::parse(data.get().as_bytes()).ok());
        CallError::Refused(Refusal { words, error: Some(ServerError { code, message, data }) })
    }
}

struct Reader {
    waiting: Waiting,
    lists_changed: Arc<AtomicU64>,
    lines: mpsc::WeakSender<Line>,
}

impl Reader {
    /// Reads until the end; says why it came.
    async fn read_lines(&self, stdout: impl AsyncRead + Unpin) -> String {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        loop {
            line.clear();
            let bound = MESSAGE_BYTES_MAX as u64 + 1;
            match (&mut stdout).take(bound).read_until(b'\n', &mut line).await {
                Ok(0) => return "it ended".to_owned(),
                Ok(_) if line.len() > MESSAGE_BYTES_MAX => {
                    return format!("it sent a line of more than {} MiB", MESSAGE_BYTES_MAX / 1024 / 1024);
                }
                Ok(_) => {}
                Err(error) => return format!("it could not be read from: {error}"),
            }
            // A line that is no message is not worth the connection: servers print banners. What stands in it, and so in
            // the reader's complaint, is not for the log.
            match serde_json::from_slice::<Message>(&line) {
                Ok(message) => self.take(message).await,
                Err(_) => tracing::debug!(bytes = line.len(), "an MCP server sent a line that is no message"),
            }
        }
    }

    async fn take(&self, message: Message) {
        match (message.method.as_deref(), message.id) {
            (Some("notifications/progress"), None) => {
                let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let listeners = waiting.values().filter_map(|waiter| waiter.listener.as_ref());
                listeners.for_each(|listener| message.params.iter().for_each(|params| listener.hear(params)));
            }
            (Some(notification), None) => {
                if LISTS_CHANGED.contains(&notification) {
                    self.lists_changed.fetch_add(1, Ordering::Relaxed);
                }
            }
            (Some(method), Some(id)) => self.answer(method, &id),
            (None, Some(id)) => {
                let id: Option<u64> = id.get().parse().ok();
                let waiting =
                    id.and_then(|id| self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id));
                let Some(waiting) = waiting else { return };
                let answer = match (message.result, message.error) {
                    (Some(result), None) => Ok(result),
                    (_, Some(error)) => Err(error.into_error()),
                    (None, None) => {
                        Err(CallError::Lost("its answer has neither result nor error".to_owned()))
                    }
                };
                // Whoever asked may have given up.
                let _ = waiting.answer.send(answer);
            }
            (None, None) => {}
        }
    }

    /// A server asks something: it is alive if it says so, and it gets nothing else.
    fn answer(&self, method: &str, id: &RawValue) {
        if id.get().len() > 256 {
            return;
        }
        let text = if method == "ping" {
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{}}}}", id.get())
        } else {
            let error = "{\"code\":-32601,\"message\":\"placet passes no calls of servers on\"}";
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{error}}}", id.get())
        };
        let (written, _) = oneshot::channel();
        // A server that asks faster than it reads gets no answers; it must not stop us from reading.
        let _ = self.lines.upgrade().map(|lines| lines.try_send(Line { text, written }));
    }

    fn fail_all(&self, why: &str) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, waiting) in waiting.drain() {
            let _ = waiting.answer.send(Err(CallError::Lost(why.to_owned())));
        }
    }
}
