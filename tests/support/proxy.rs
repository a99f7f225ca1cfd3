//! Passes on what travels between a client and a server, and loses some of it on purpose.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A door to a server on the loopback. It closes when it is dropped.
pub struct Proxy {
    port: u16,
    plan: Arc<Plan>,
    task: JoinHandle<()>,
}

struct Plan {
    /// Requests that contain these bytes are passed on, so many times, and their connection ends without an answer.
    lose: Mutex<Option<(Vec<u8>, u32)>>,
    /// Whether requests wait here instead of being passed on.
    held: watch::Sender<bool>,
}

impl Proxy {
    /// A door to `port`.
    pub async fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let own = listener.local_addr().expect("a bound socket").port();
        let plan = Arc::new(Plan { lose: Mutex::default(), held: watch::Sender::new(false) });
        let task = tokio::spawn(accept(listener, port, Arc::clone(&plan)));
        Proxy { port: own, plan, task }
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Loses the answers to the next `times` requests that contain `bytes`.
    pub fn lose_answers(&self, bytes: &[u8], times: u32) {
        *self.plan.lose.lock().unwrap_or_else(PoisonError::into_inner) = Some((bytes.to_owned(), times));
    }

    /// Lets requests wait, or lets all that wait go on.
    pub fn hold(&self, held: bool) {
        self.plan.held.send_replace(held);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, port: u16, plan: Arc<Plan>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let plan = Arc::clone(&plan);
        connections.spawn(async move {
            // A server that is away is seen as a connection that ends at once.
            if let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await {
                pass(client, server, &plan).await;
            }
        });
    }
}

async fn pass(client: TcpStream, server: TcpStream, plan: &Plan) {
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let lost = watch::Sender::new(false);
    let deaf = lost.subscribe();
    tokio::select! {
        () = requests(from_client, to_server, plan, &lost) => {}
        () = async {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
                // The server has done what it was asked; the client never hears of it.
                if *deaf.borrow() || to_client.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
        } => {}
    }
}

/// Passes whole messages on: the first four bytes of each are its length.
async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    plan: &Plan,
    lost: &watch::Sender<bool>,
) {
    loop {
        let mut len = [0; 4];
        if client.read_exact(&mut len).await.is_err() {
            return;
        }
        let mut message = len.to_vec();
        message.resize(u32::from_le_bytes(len) as usize, 0);
        if client.read_exact(&mut message[4..]).await.is_err() {
            return;
        }
        if plan.held.subscribe().wait_for(|held| !held).await.is_err() {
            return;
        }
        if plan.loses(&message) {
            lost.send_replace(true);
        }
        if server.write_all(&message).await.is_err() {
            return;
        }
    }
}

impl Plan {
    fn loses(&self, message: &[u8]) -> bool {
        let mut lose = self.lose.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((bytes, times)) = lose.as_mut() else { return false };
        if *times == 0 || !message.windows(bytes.len()).any(|window| window == bytes) {
            return false;
        }
        *times -= 1;
        true
    }
}
