//! The socket of a running engine, `lode.sock` in its data folder: one JSON object a line, a request and its answer.
//!
//! Only the user who runs lode may open it: it has mode 0600 from the moment on at which it is there under its name, and
//! whoever connects all the same is asked for the user by the system. A data folder has one running lode: a lock tells a
//! socket that a dead process has left from one that somebody listens to.

mod parts;

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::Engine;
use super::door::Door;
use super::reply::Reply;
use crate::error::{Error, Kind, Result};

pub use self::parts::{Line, PartsClient};

/// So many clients may be connected at the same time.
pub const CLIENTS_MAX: usize = 32;
/// The longest request, in bytes, with its line's end.
pub const REQUEST_BYTES_MAX: usize = 128 << 10;
/// The end of a request has to come so soon after its beginning.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// A client that asks for nothing is let go after so long.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(3600);
/// A client has to take an answer within this time.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// The longest path that a socket's address takes on Linux, with its end; it is shorter elsewhere.
const ADDRESS_BYTES_MAX: usize = 104;
/// The name of the socket in the data folder.
const SOCKET: &str = "lode.sock";
/// The name of the lock in the data folder.
const LOCK: &str = "lode.lock";

/// What a client asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The command, as it is typed.
    pub command: String,
    /// Whether what it affects was confirmed.
    #[serde(default)]
    pub confirmed: bool,
    /// The absolute folder that paths in the command are relative to.
    #[serde(default)]
    pub folder: PathBuf,
    /// Whether an answer without an end, such as that to `tail`, is taken in parts.
    #[serde(default)]
    pub parts: bool,
}

/// The listening side. Dropping it ends all connections and removes the socket.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    task: JoinHandle<()>,
    /// Held as long as this is there.
    _lock: File,
}

impl Socket {
    /// Takes the data folder for this process, and answers commands from now on. The folder is there already.
    ///
    /// # Errors
    /// `Refused` when another lode runs with the folder. `Environment` when the socket cannot be made.
    pub fn open(engine: &Arc<Engine>, data_dir: &Path) -> Result<Socket> {
        let lock = lock(data_dir)?;
        let path = data_dir.join(SOCKET);
        let listener = bind(data_dir, &path)?;
        let owner = fs::metadata(data_dir.join(LOCK)).map_err(|error| failed(&path, error))?.uid();
        let task = tokio::spawn(serve(Arc::clone(engine), listener, owner));
        Ok(Socket { path, task, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers nobody any more, and keeps the data folder.
    pub fn close(&self) {
        self.task.abort();
        // Nobody else has made one: the lock is still held. One that stays would be taken for a dead process's.
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.close();
    }
}

/// The asking side.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<Connection>,
}

impl Client {
    /// Connects to the lode that runs with a data folder.
    ///
    /// # Errors
    /// `Environment` when none runs there, or this user may not ask it.
    pub fn connect(data_dir: &Path) -> Result<Client> {
        let path = data_dir.join(SOCKET);
        let folder;
        let address = if is_address(&path) {
            path.clone()
        } else {
            folder = File::open(data_dir).map_err(|error| not_connected(data_dir, error))?;
            by_number(&folder).join(SOCKET)
        };
        let stream = Connection::connect(address).map_err(|error| not_connected(data_dir, error))?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer as long as the command takes.
    ///
    /// # Errors
    /// `Unavailable` when the other side ends before it has answered: nobody knows whether the command was carried out.
    pub fn ask(&mut self, request: &Request) -> Result<serde_json::Value> {
        // An answer may come all the same, such as that there are too many clients.
        let sent = self.send(request)?;
        let mut answer = Vec::new();
        match self.stream.read_until(b'\n', &mut answer) {
            Err(error) => return Err(ended(error.to_string())),
            Ok(0) => {
                return Err(ended(
                    sent.err().map_or("it closed the connection".to_owned(), |error| error.to_string()),
                ));
            }
            Ok(_) => {}
        }
        serde_json::from_slice(&answer).map_err(|error| ended(format!("its answer is broken off ({error})")))
    }

    fn send(&mut self, request: &Request) -> Result<std::io::Result<()>> {
        let mut line = serde_json::to_vec(request)
            .map_err(|error| Error::new(Kind::Internal, "a request cannot be written").caused_by(error))?;
        line.push(b'\n');
        Ok(self.stream.get_mut().write_all(&line))
    }
}

/// The other side has gone.
fn ended(why: String) -> Error {
    Error::new(Kind::Unavailable, format!("lode ended before it answered: {why}"))
        .advice("see whether it runs; what it did is in its audit list")
}

async fn serve(engine: Arc<Engine>, listener: UnixListener, owner: u32) {
    let room = Arc::new(Semaphore::new(CLIENTS_MAX));
    // They end with this task.
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Most likely too many open files: it passes, or nobody can connect, and the rest goes on.
                warn!("a client could not be let in: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let room = Arc::clone(&room).try_acquire_owned().ok();
        clients.spawn(client(Arc::clone(&engine), stream, owner, room));
    }
}

/// One client, until it goes, or does what clients may not.
async fn client(engine: Arc<Engine>, mut stream: UnixStream, owner: u32, room: Option<OwnedSemaphorePermit>) {
    let door = match stream.peer_cred() {
        Ok(peer) if peer.uid() == owner || peer.uid() == 0 => {
            Door::Socket { uid: peer.uid(), pid: peer.pid() }
        }
        Ok(peer) => return warn!(uid = peer.uid(), "a client of another user was sent away"),
        Err(error) => return warn!("a client was sent away, as its user is not known: {error}"),
    };
    if room.is_none() {
        let what = format!("{CLIENTS_MAX} clients are connected, and no more are let in");
        let refused = Error::new(Kind::Refused, what).advice("end one of them, and try again");
        let _ = answer(&mut stream, &refused.into()).await;
        return;
    }
    let mut read = Vec::new();
    loop {
        let line = match request(&mut stream, &mut read).await {
            Ok(Some(line)) => line,
            Ok(None) => return,
            Err(error) => {
                debug!("a client was sent away: {error}");
                let _ = answer(&mut stream, &error.into()).await;
                return;
            }
        };
        let reply = match serde_json::from_slice::<Request>(&line) {
            Ok(request) if request.parts => {
                if !parts::respond(&engine, &mut stream, request, &door).await {
                    return;
                }
                continue;
            }
            Ok(Request { command, confirmed, folder, .. }) => {
                engine.line(&command, &folder, &door, confirmed).await
            }
            Err(error) => Error::new(Kind::Refused, format!("this is not a request: {error}"))
                .advice("write {\"command\": \"status\"}, in one line")
                .into(),
        };
        if !answer(&mut stream, &reply).await {
            return;
        }
    }
}

/// The next line, without its end; `None` when the client has gone, or has asked nothing for long.
async fn request(stream: &mut UnixStream, read: &mut Vec<u8>) -> Result<Option<Vec<u8>>> {
    loop {
        if let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let mut line: Vec<u8> = read.drain(..=end).collect();
            line.pop();
            return Ok(Some(line));
        }
        if read.len() >= REQUEST_BYTES_MAX {
            let what = format!("a request has more than {REQUEST_BYTES_MAX} bytes");
            return Err(Error::new(Kind::Refused, what));
        }
        let patience = if read.is_empty() { IDLE_TIME_MAX } else { REQUEST_TIME_MAX };
        let room = (REQUEST_BYTES_MAX - read.len()).min(16 << 10);
        let mut bytes = vec![0; room];
        match timeout(patience, stream.read(&mut bytes)).await {
            Ok(Ok(0) | Err(_)) => return Ok(None),
            Ok(Ok(count)) => read.extend_from_slice(&bytes[..count]),
            Err(_) if read.is_empty() => return Ok(None),
            Err(_) => return Err(Error::new(Kind::Refused, "the end of the request did not come")),
        }
    }
}

/// Sends an answer. False when the client does not take it.
async fn answer(stream: &mut UnixStream, reply: &Reply) -> bool {
    send(stream, reply).await
}

/// Sends a line. False when the client does not take it.
async fn send(stream: &mut UnixStream, line: &impl Serialize) -> bool {
    let Ok(mut line) = serde_json::to_vec(line) else { return false };
    line.push(b'\n');
    matches!(timeout(ANSWER_TIME_MAX, stream.write_all(&line)).await, Ok(Ok(())))
}

/// Takes the data folder; the system gives it back when this process ends, however it ends.
fn lock(data_dir: &Path) -> Result<File> {
    let path = data_dir.join(LOCK);
    let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = file.map_err(|error| failed(&path, error))?;
    match file.try_lock() {
        Ok(()) => {
            // The number only helps people find the holder, so that a full disk is no reason not to begin; the lock itself
            // is the operating system's.
            let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                number => format!("process {number}"),
            };
            let what = format!("{holder} runs lode with the data folder {}", data_dir.display());
            Err(Error::new(Kind::Refused, what)
                .advice("`lode ctl status` asks it; stop that process, or give this one another data folder"))
        }
        Err(TryLockError::Error(error)) => Err(failed(&path, error)),
    }
}

/// Makes the socket in a folder that nobody else may enter, and gives it its name when its rights are right.
fn bind(data_dir: &Path, path: &Path) -> Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => {
            let what = format!("{} is in the way: it is no socket", path.display());
            return Err(Error::new(Kind::Environment, what).advice("move it away"));
        }
        Err(_) => {}
    }
    let private = data_dir.join(".lode.sock.new");
    let error = |error| failed(path, error);
    remove_private(&private).map_err(error)?;
    DirBuilder::new().mode(0o700).create(&private).map_err(error)?;
    let made = private.join("s");
    let listener = {
        let folder = File::open(&private).map_err(error)?;
        let address = if is_address(&made) { made.clone() } else { by_number(&folder).join("s") };
        UnixListener::bind(address)
    };
    let listener = listener.map_err(error)?;
    fs::set_permissions(&made, Permissions::from_mode(0o600)).map_err(error)?;
    fs::rename(&made, path).map_err(error)?;
    remove_private(&private).map_err(error)?;
    Ok(listener)
}

/// Removes what a killed process may have left.
fn remove_private(folder: &Path) -> std::io::Result<()> {
    let gone = |removed: std::io::Result<()>| match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    gone(fs::remove_file(folder.join("s")))?;
    gone(fs::remove_dir(folder))
}

/// Whether a path is short enough for a socket's address.
fn is_address(path: &Path) -> bool {
    path.as_os_str().len() < ADDRESS_BYTES_MAX
}

/// A short path of an open folder, whose own path may be too long for a socket's address.
fn by_number(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    let what = format!("cannot make {}: {error}", path.display());
    Error::new(Kind::Environment, what)
        .advice("let lode write the data folder; it has to be on a file system that takes sockets")
}

fn not_connected(data_dir: &Path, error: std::io::Error) -> Error {
    let folder = data_dir.display();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            Error::new(Kind::Environment, format!("no lode runs with the data folder {folder}")).advice(
                "start one with `lode run`, or name its folder with --data, or with the variable LODE_DATA",
            )
        }
        ErrorKind::PermissionDenied => Error::new(
            Kind::Environment,
            format!("you may not ask the lode that runs with the data folder {folder}"),
        )
        .advice("only the user who runs it may, and root"),
        _ => Error::new(
            Kind::Environment,
            format!("cannot connect to the lode that runs with {folder}: {error}"),
        ),
    }
}
