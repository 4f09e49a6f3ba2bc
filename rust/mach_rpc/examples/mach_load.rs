//! Loads an aggregator over JSON-RPC: kept-alive connections, one signature (or createTask) a request.
//!
//! ```text
//! mach_load --address 127.0.0.1:8290 --connections 32 --seconds 10 --bodies FILE            bodies, one a line
//! mach_load … --keys FILE --tasks 100 [--rollup-chain-id 901] [--write-bodies FILE]         signatures of new tasks
//! mach_load … --keys FILE --rate 5000 [--rollup-chain-id 901]       so many a second, of ever new tasks, to the end
//! mach_load … --create                                                                      createTask of new alerts
//! ```
//! Each body is sent once; with `--repeat` they are sent over and over. Prints one JSON object: requests a second, latencies
//! in milliseconds, errors by their text.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mach_bls::statements::sign_hash;
use mach_bls::{SecretKey, keccak256};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

struct Options {
    address: SocketAddr,
    connections: usize,
    seconds: f64,
    threads: usize,
    tasks: usize,
    create: bool,
    repeat: bool,
    bodies: Option<String>,
    keys: Option<String>,
    rate: Option<f64>,
    write_bodies: Option<String>,
    rollup_chain_id: Option<u64>,
}

impl Options {
    fn read() -> Fallible<Self> {
        let mut options = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8290)),
            connections: 32,
            seconds: 5.0,
            threads: 1,
            tasks: 100,
            create: false,
            repeat: false,
            bodies: None,
            keys: None,
            rate: None,
            write_bodies: None,
            rollup_chain_id: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{name} needs a value"));
            match name.as_str() {
                "--address" => options.address = value()?.parse()?,
                "--connections" => options.connections = value()?.parse()?,
                "--seconds" => options.seconds = value()?.parse()?,
                "--threads" => options.threads = value()?.parse()?,
                "--tasks" => options.tasks = value()?.parse()?,
                "--bodies" => options.bodies = Some(value()?),
                "--keys" => options.keys = Some(value()?),
                "--rate" => options.rate = Some(value()?.parse()?),
                "--write-bodies" => options.write_bodies = Some(value()?),
                "--rollup-chain-id" => options.rollup_chain_id = Some(value()?.parse()?),
                "--create" => options.create = true,
                "--repeat" => options.repeat = true,
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        Ok(options)
    }
}

/// A kept-alive connection.
struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Fallible<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::with_capacity(4096),
        })
    }

    /// The answer's body to a whole request.
    async fn send(&mut self, request: &[u8]) -> Fallible<&[u8]> {
        self.received.clear();
        self.stream.write_all(request).await?;
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err("the server closed the connection".into());
            }
            if let Some((start, length)) = body_place(&self.received)
                && self.received.len() >= start + length
            {
                return Ok(&self.received[start..start + length]);
            }
        }
    }
}

/// Where a body starts and its length, once the head is there.
fn body_place(received: &[u8]) -> Option<(usize, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(start) = response.parse(received).ok()? else {
        return None;
    };
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))?;
    Some((start, std::str::from_utf8(length.value).ok()?.parse().ok()?))
}

fn request(address: SocketAddr, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn create_task_body(alert_hash: &[u8; 32]) -> String {
    let params = [format!("0x{}", hex::encode(alert_hash))];
    json!({"jsonrpc": "2.0", "id": 1, "method": "aggregator_createTask", "params": params})
        .to_string()
}

/// The alert of number `number` of this run.
fn alert_hash(run: u128, number: usize) -> [u8; 32] {
    keccak256(format!("{run}:{number}").as_bytes())
}

/// The operators that sign, and where tasks are asked for.
struct Signers {
    keys: Vec<(SecretKey, String)>,
    address: SocketAddr,
    client: Client,
    rollup_chain_id: Option<[u8; 32]>,
    run: u128,
}

impl Signers {
    async fn open(options: &Options, keys_file: &str, run: u128) -> Fallible<Self> {
        let mut keys = Vec::new();
        for line in std::fs::read_to_string(keys_file)?.lines() {
            let bytes: [u8; 32] = hex::decode(line.trim().trim_start_matches("0x"))?
                .try_into()
                .map_err(|_| "a secret key has 32 bytes")?;
            let key = SecretKey::from_bytes(&bytes)?;
            let id = hex::encode(key.public_key_g1().operator_id());
            keys.push((key, id));
        }
        let rollup_chain_id = options.rollup_chain_id.map(|id| {
            let mut word = [0; 32];
            word[24..].copy_from_slice(&id.to_be_bytes());
            word
        });
        Ok(Self {
            keys,
            address: options.address,
            client: Client::connect(options.address).await?,
            rollup_chain_id,
            run,
        })
    }

    /// One signature of each key over a new task.
    async fn bodies(&mut self, number: usize) -> Fallible<Vec<String>> {
        let hash = alert_hash(self.run, number);
        let answer = self
            .client
            .send(&request(self.address, &create_task_body(&hash)))
            .await?;
        let answer: Value = serde_json::from_slice(answer)?;
        let task = answer
            .get("result")
            .ok_or_else(|| format!("createTask was refused: {answer}"))?;
        let block = task["reference_block_number"]
            .as_u64()
            .ok_or("no reference block")?;
        let digest = sign_hash(&hash, u32::try_from(block)?, self.rollup_chain_id.as_ref());
        let sign = |(key, id): &(SecretKey, String)| {
            let signature = hex::encode(key.sign(&digest).to_bytes());
            format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"aggregator_processSignedTaskResponse\",\
                 \"params\":[{task},\"0x{signature}\",\"0x{id}\"]}}"
            )
        };
        Ok(self.keys.iter().map(sign).collect())
    }
}

/// One signature of each key over each of `tasks` new tasks; task by task, as operators would send them.
async fn signed_bodies(options: &Options, keys_file: &str, run: u128) -> Fallible<Vec<String>> {
    let mut signers = Signers::open(options, keys_file, run).await?;
    let mut bodies = Vec::with_capacity(options.tasks * signers.keys.len());
    for number in 0..options.tasks {
        bodies.extend(signers.bodies(number).await?);
    }
    Ok(bodies)
}

/// Signs new tasks for as long as the run lasts and sends so many signatures a second; whether they were on time is told
/// by the rate that comes out.
async fn drive_steadily(
    options: &Options,
    keys_file: &str,
    rate: f64,
    run: u128,
) -> Fallible<Tally> {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Vec<u8>>(options.connections * 64);
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let mut signers = Signers::open(options, keys_file, run).await?;
    let address = options.address;
    let start = Instant::now();
    let until = start + Duration::from_secs_f64(options.seconds);
    let signing = tokio::spawn(async move {
        let mut sent = 0_u32;
        for number in 0.. {
            for body in signers.bodies(number).await? {
                tokio::time::sleep_until(
                    (start + Duration::from_secs_f64(f64::from(sent) / rate)).into(),
                )
                .await;
                if Instant::now() >= until || sender.send(request(address, &body)).await.is_err() {
                    return Fallible::Ok(());
                }
                sent += 1;
            }
        }
        Ok(())
    });
    let drivers: Vec<_> = (0..options.connections)
        .map(|_| {
            let receiver = Arc::clone(&receiver);
            tokio::spawn(async move {
                let (mut tally, mut client) = (Tally::default(), None);
                loop {
                    let next = receiver.lock().await.recv().await;
                    let Some(request) = next else {
                        return tally;
                    };
                    tally.exchange(&mut client, address, &request).await;
                }
            })
        })
        .collect();
    let mut all = gather(drivers).await?;
    signing.await??;
    all.seconds = start.elapsed().as_secs_f64();
    Ok(all)
}

#[derive(Default)]
struct Tally {
    microseconds: Vec<u32>,
    seconds: f64,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    /// Sends one request and counts its answer.
    async fn exchange(&mut self, client: &mut Option<Client>, address: SocketAddr, request: &[u8]) {
        let start = Instant::now();
        let result = exchange(client, address, request).await;
        let took = start.elapsed();
        match result {
            Ok(()) => self
                .microseconds
                .push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX)),
            Err(error) => {
                *client = None;
                let text = error.to_string();
                let kind = text.split("0x").next().unwrap_or(&text);
                *self.errors.entry(kind.to_owned()).or_default() += 1;
            }
        }
    }
}

async fn drive(
    address: SocketAddr,
    requests: Arc<Vec<Vec<u8>>>,
    next: Arc<AtomicUsize>,
    repeat: bool,
    until: Instant,
) -> Tally {
    let mut tally = Tally::default();
    let mut client = None;
    while Instant::now() < until {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= requests.len() && !repeat {
            break;
        }
        tally
            .exchange(&mut client, address, &requests[number % requests.len()])
            .await;
    }
    tally
}

/// All that the drivers have counted.
async fn gather(drivers: Vec<tokio::task::JoinHandle<Tally>>) -> Fallible<Tally> {
    let mut all = Tally::default();
    for driver in drivers {
        let tally = driver.await?;
        all.microseconds.extend(tally.microseconds);
        for (text, count) in tally.errors {
            *all.errors.entry(text).or_default() += count;
        }
    }
    Ok(all)
}

async fn exchange(
    client: &mut Option<Client>,
    address: SocketAddr,
    request: &[u8],
) -> Fallible<()> {
    let client = match client {
        Some(client) => client,
        none => none.insert(Client::connect(address).await?),
    };
    let body = client.send(request).await?;
    if body.windows(9).any(|window| window == b"\"result\":") {
        return Ok(());
    }
    let answer: Value = serde_json::from_slice(body)?;
    Err(answer["error"]["message"]
        .as_str()
        .unwrap_or("an answer without words")
        .into())
}

/// Sends what the options name, as fast as the server answers.
async fn drive_at_full_speed(options: &Options, run: u128) -> Fallible<Tally> {
    let bodies = if options.create {
        (0..options.tasks)
            .map(|number| create_task_body(&alert_hash(run, number)))
            .collect()
    } else if let Some(file) = &options.bodies {
        std::fs::read_to_string(file)?
            .lines()
            .map(str::to_owned)
            .collect()
    } else if let Some(keys) = &options.keys {
        signed_bodies(options, keys, run).await?
    } else {
        return Err("give --bodies, --keys or --create".into());
    };
    if let Some(file) = &options.write_bodies {
        std::fs::write(file, bodies.join("\n"))?;
    }
    let requests: Vec<_> = bodies
        .iter()
        .map(|body| request(options.address, body))
        .collect();
    if requests.is_empty() {
        return Err("there is nothing to send".into());
    }
    let requests = Arc::new(requests);
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let until = start + Duration::from_secs_f64(options.seconds);
    let drivers = (0..options.connections)
        .map(|_| {
            tokio::spawn(drive(
                options.address,
                Arc::clone(&requests),
                Arc::clone(&next),
                options.repeat,
                until,
            ))
        })
        .collect();
    let mut all = gather(drivers).await?;
    all.seconds = start.elapsed().as_secs_f64();
    Ok(all)
}

async fn run(options: Options) -> Fallible<Value> {
    let run = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_nanos();
    let mut all = match (options.rate, &options.keys) {
        (Some(rate), Some(keys)) if rate > 0.0 => drive_steadily(&options, keys, rate, run).await?,
        (Some(_), _) => return Err("--rate needs --keys and a number above 0".into()),
        (None, _) => drive_at_full_speed(&options, run).await?,
    };
    all.microseconds.sort_unstable();
    let percentile = |share: f64| {
        let place = (all.microseconds.len() as f64 * share) as usize;
        all.microseconds
            .get(place.min(all.microseconds.len().saturating_sub(1)))
            .map(|micros| f64::from(*micros) / 1e3)
    };
    Ok(json!({
        "requests": all.microseconds.len(),
        "seconds": all.seconds,
        "requests_per_second": all.microseconds.len() as f64 / all.seconds,
        "latency_ms": {"p50": percentile(0.5), "p90": percentile(0.9), "p99": percentile(0.99), "max": percentile(1.0)},
        "errors": all.errors,
    }))
}

fn main() -> Fallible<()> {
    let options = Options::read()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads)
        .enable_all()
        .build()?;
    println!("{}", runtime.block_on(run(options))?);
    Ok(())
}
