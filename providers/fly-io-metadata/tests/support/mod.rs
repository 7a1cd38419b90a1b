//! A name server that speaks as Fly's internal DNS does, and as it should not.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{AAAA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

/// Answers as it should.
pub const GOOD: u8 = 0;
/// Answers nothing.
pub const SILENT: u8 = 1;
/// Answers that it failed.
pub const FAILING: u8 = 2;
/// Answers texts that are none of Fly's.
pub const GARBAGE: u8 = 3;
/// Answers with what is not even DNS.
pub const NOISE: u8 = 4;

/// Answers as it should, within any patient limit.
pub const SLOW: u8 = 5;
/// Answers as it should, when nobody waits for it any more.
pub const LATE: u8 = 6;

/// How long an answer is kept back.
fn delay(mood: u8) -> Duration {
    match mood {
        SLOW => Duration::from_millis(400),
        LATE => Duration::from_secs(8),
        _ => Duration::ZERO,
    }
}

/// What the name server knows.
#[derive(Debug, Clone, Default)]
pub struct Zone {
    pub texts: Vec<(String, String)>,
    pub addresses: Vec<(String, String)>,
}

/// Serves a zone over UDP and TCP on one port of the loopback.
#[derive(Debug)]
pub struct DnsServer {
    pub address: SocketAddr,
    pub mood: Arc<AtomicU8>,
    tasks: [JoinHandle<()>; 2],
}

impl DnsServer {
    pub async fn start(zone: Zone) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let mood = Arc::new(AtomicU8::new(GOOD));
        let datagrams = tokio::spawn(serve_udp(udp, zone.clone(), Arc::clone(&mood)));
        let connections = tokio::spawn(serve_tcp(tcp, zone, Arc::clone(&mood)));
        Self {
            address,
            mood,
            tasks: [datagrams, connections],
        }
    }

    pub fn set(&self, mood: u8) {
        self.mood.store(mood, Ordering::SeqCst);
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn serve_udp(socket: UdpSocket, zone: Zone, mood: Arc<AtomicU8>) {
    let socket = Arc::new(socket);
    let mut question = [0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut question).await {
        let mood = mood.load(Ordering::SeqCst);
        let Some(mut answer) = answer(&question[..length], &zone, mood) else {
            continue;
        };
        // What does not fit into a classic datagram is asked for again over TCP.
        if answer.len() > 512 {
            let mut cut = Message::from_vec(&answer).unwrap();
            cut.set_truncated(true);
            cut.take_answers();
            answer = cut.to_vec().unwrap();
        }
        let socket = Arc::clone(&socket);
        tokio::spawn(async move {
            tokio::time::sleep(delay(mood)).await;
            let _ = socket.send_to(&answer, peer).await;
        });
    }
}

async fn serve_tcp(listener: TcpListener, zone: Zone, mood: Arc<AtomicU8>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve_connection(stream, zone.clone(), Arc::clone(&mood)));
    }
}

async fn serve_connection(mut stream: TcpStream, zone: Zone, mood: Arc<AtomicU8>) {
    while let Ok(length) = stream.read_u16().await {
        let mut question = vec![0; usize::from(length)];
        if stream.read_exact(&mut question).await.is_err() {
            return;
        }
        let mood = mood.load(Ordering::SeqCst);
        if let Some(answer) = answer(&question, &zone, mood) {
            tokio::time::sleep(delay(mood)).await;
            let length = u16::try_from(answer.len()).unwrap();
            let _ = stream.write_u16(length).await;
            let _ = stream.write_all(&answer).await;
        }
    }
}

fn answer(question: &[u8], zone: &Zone, mood: u8) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries().first()?.clone();
    let name = query.name().clone();
    let mut message = Message::new();
    message
        .set_id(question.id())
        .set_message_type(MessageType::Response)
        .set_recursion_desired(question.recursion_desired())
        .set_recursion_available(true)
        .set_authoritative(true)
        .add_query(query.clone());
    match mood {
        SILENT => return None,
        NOISE => return Some(b"this is not DNS".to_vec()),
        FAILING => {
            message.set_response_code(ResponseCode::ServFail);
        }
        _ => {
            let records = records(zone, &name, query.query_type(), mood);
            if records.is_empty() {
                message.set_response_code(ResponseCode::NXDomain);
            }
            message.add_answers(records);
        }
    }
    message.to_vec().ok()
}

fn records(zone: &Zone, name: &Name, kind: RecordType, mood: u8) -> Vec<Record> {
    let asked = name.to_ascii();
    let is_asked = |known: &str| known == asked.trim_end_matches('.');
    let record = |data| Record::from_rdata(name.clone(), 5, data);
    match kind {
        RecordType::TXT => zone
            .texts
            .iter()
            .filter(|(known, _)| is_asked(known))
            .map(|(_, text)| {
                let text = if mood == GARBAGE { "<html>" } else { text };
                // Cut where a TXT string ends, in the middle of whatever stands there.
                let pieces = text.as_bytes().chunks(255);
                let pieces = pieces.map(|piece| String::from_utf8(piece.to_vec()).unwrap());
                record(RData::TXT(TXT::new(pieces.collect())))
            })
            .collect(),
        RecordType::AAAA => zone
            .addresses
            .iter()
            .filter(|(known, _)| is_asked(known))
            .map(|(_, address)| record(RData::AAAA(AAAA(address.parse().unwrap()))))
            .collect(),
        _ => vec![],
    }
}
