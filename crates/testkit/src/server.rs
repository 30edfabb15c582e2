//! An HTTP server on this machine that answers as a test says, byte for byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Received {
    /// From 0, in the order of arrival.
    pub number: usize,
    /// Path of the request.
    pub path: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The body, which is JSON; null without one.
    pub body: Value,
}

impl Received {
    /// Returns the seed of the call.
    ///
    /// # Panics
    ///
    /// If none was sent.
    pub fn seed(&self) -> u64 {
        self.body["seed"].as_u64().expect("a seed was sent")
    }

    /// Returns the last message of a chat.
    ///
    /// # Panics
    ///
    /// If the call is no chat.
    pub fn asked(&self) -> &str {
        let last = self.body["messages"].as_array().and_then(|messages| messages.last());
        last.and_then(|last| last["content"].as_str()).expect("a chat")
    }
}

/// Answer of the server to a request.
pub enum Act {
    /// Answers with a status, more header lines and a body.
    Answer(u16, &'static str, String),
    /// Sends these bytes and closes.
    Raw(Vec<u8>),
    /// Begins an answer of 1000 bytes and sends one every few milliseconds.
    Drip,
}

/// Creates a 200 with this body.
pub fn ok(body: Value) -> Act {
    Act::Answer(200, "", body.to_string())
}

/// Creates an error with this status and message.
pub fn error(status: u16, message: &str) -> Act {
    Act::Answer(status, "", json!({"error": {"message": message}}).to_string())
}

/// Creates a chat's or completion's answer.
pub fn says(text: &str) -> Act {
    let choice = json!({"text": text, "message": {"content": text}, "finish_reason": "stop"});
    ok(json!({
        "choices": [choice],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    }))
}

/// Creates a promise of more bytes than come.
pub fn truncated() -> Act {
    Act::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"choices\": [{\"te".to_vec())
}

/// No answer.
pub fn closed() -> Act {
    Act::Raw(Vec::new())
}

#[derive(Default)]
struct Seen {
    received: Mutex<Vec<Received>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    closing: AtomicBool,
}

/// A running server; it ends when dropped.
pub struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    listening: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server that does with each request what `script` says.
    ///
    /// # Panics
    ///
    /// If this machine has no free port.
    pub fn start(script: impl Fn(&Received) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Seen::default());
        let script = Arc::new(script);
        let listening = thread::spawn({
            let seen = Arc::clone(&seen);
            move || {
                for stream in listener.incoming() {
                    if seen.closing.load(Ordering::SeqCst) {
                        break;
                    }
                    let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                    thread::spawn(move || serve(&stream.expect("it connects"), &seen, &*script));
                }
            }
        });
        Self { address, seen, listening: Some(listening) }
    }

    /// Returns the URL of the server.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Returns every request so far.
    pub fn received(&self) -> Vec<Received> {
        self.seen.received.lock().expect("no test panicked here").clone()
    }

    /// Returns the most requests that were unanswered at the same time.
    pub fn most_at_once(&self) -> usize {
        self.seen.most_at_once.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.seen.closing.store(true, Ordering::SeqCst);
        // Wakes the listener, so that it looks.
        let _ = TcpStream::connect(self.address);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

fn serve(stream: &TcpStream, seen: &Seen, script: &dyn Fn(&Received) -> Act) {
    let Some((path, authorization, body)) = read(stream) else { return };
    let received = {
        let mut all = seen.received.lock().expect("no test panicked here");
        let number = all.len();
        all.push(Received { number, path, authorization, body });
        all[number].clone()
    };
    let now = seen.at_once.fetch_add(1, Ordering::SeqCst) + 1;
    seen.most_at_once.fetch_max(now, Ordering::SeqCst);
    let act = script(&received);
    // Before the client can know of the answer.
    seen.at_once.fetch_sub(1, Ordering::SeqCst);
    write(stream, act);
}

fn read(stream: &TcpStream) -> Option<(String, Option<String>, Value)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut authorization, mut len) = (None, 0);
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "authorization" => authorization = Some(value.to_owned()),
            "content-length" => len = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).ok()? };
    Some((path, authorization, body))
}

/// The client may be gone, so nothing is made of errors.
fn write(mut stream: &TcpStream, act: Act) {
    match act {
        Act::Answer(status, headers, body) => {
            let head = format!(
                "HTTP/1.1 {status} Status\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(body.as_bytes());
        }
        Act::Raw(bytes) => {
            let _ = stream.write_all(&bytes);
        }
        Act::Drip => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
            while stream.write_all(b" ").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
