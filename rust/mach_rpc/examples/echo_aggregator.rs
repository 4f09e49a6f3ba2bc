//! An aggregator that agrees to everything, to measure the transports alone.
//!
//! `echo_aggregator [settings.json]` serves until its standard input ends, then prints what it did and the processor
//! time that each request took. With `MACH_ECHO_TICK_US` answers wait for the next tick of so many microseconds, as
//! they wait for a batch's commit in a real one.

use std::error::Error;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use mach_rpc::aggregator::{
    Aggregator, AlertTaskInfo, InitOperatorRequest, Peer, Refusal, SignedTaskReply,
    SignedTaskRequest,
};
use mach_rpc::{Server, ServerSettings};
use serde_json::json;
use tokio::sync::watch;

struct Echo {
    ticks: Option<watch::Receiver<u64>>,
}

impl Echo {
    async fn wait(&self) {
        if let Some(ticks) = &self.ticks {
            let mut ticks = ticks.clone();
            ticks.mark_unchanged();
            // the ticking thread lives as long as the process
            let _ = ticks.changed().await;
        }
    }
}

impl Aggregator for Echo {
    fn init_operator(&self, _peer: &Peer, _request: &InitOperatorRequest) -> Option<String> {
        None
    }

    async fn create_task(
        &self,
        _peer: &Peer,
        alert_hash: [u8; 32],
    ) -> Result<AlertTaskInfo, Refusal> {
        self.wait().await;
        Ok(AlertTaskInfo {
            alert_hash,
            quorum_numbers: vec![0],
            quorum_threshold_percentages: vec![66],
            task_index: 0,
            reference_block_number: 57,
        })
    }

    async fn process_signed_task_response(
        &self,
        _peer: &Peer,
        request: SignedTaskRequest,
    ) -> Result<SignedTaskReply, Refusal> {
        self.wait().await;
        Ok(SignedTaskReply {
            reply: false,
            tx_hash: request.alert.alert_hash,
        })
    }
}

/// User and system seconds of this process, from /proc/self/stat in ticks of 10 ms.
fn processor_seconds() -> Result<(f64, f64), Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let seconds = |place: usize| -> Result<f64, Box<dyn Error>> {
        let ticks: f64 = fields
            .get(place)
            .ok_or("no such field in /proc/self/stat")?
            .parse()?;
        Ok(ticks / 100.0)
    };
    Ok((seconds(11)?, seconds(12)?))
}

fn main() -> Result<(), Box<dyn Error>> {
    let settings = match std::env::args().nth(1) {
        Some(path) => serde_json::from_str(&std::fs::read_to_string(path)?)?,
        None => {
            let mut settings = ServerSettings::default();
            settings.listeners.jsonrpc = Some("0".into());
            settings.listeners.grpc = Some("0".into());
            settings.listeners.net_rpc = Some("0".into());
            settings
        }
    };
    let ticks = match std::env::var("MACH_ECHO_TICK_US") {
        Err(_) => None,
        Ok(text) => {
            let pause = Duration::from_micros(text.parse()?);
            let (sender, receiver) = watch::channel(0);
            std::thread::spawn(move || {
                loop {
                    std::thread::sleep(pause);
                    sender.send_modify(|tick| *tick += 1);
                }
            });
            Some(receiver)
        }
    };
    let server = Server::start(&settings, Arc::new(Echo { ticks }))?;
    let ports = server.ports();
    println!(
        "{}",
        json!({"jsonrpc": ports.jsonrpc, "grpc": ports.grpc, "net_rpc": ports.net_rpc})
    );
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let (user_s, system_s) = processor_seconds()?;
    server.stop();
    let stats = server.stats().snapshot();
    let requests: u64 = stats.calls.iter().flat_map(|calls| calls.buckets).sum();
    let each = |seconds: f64| seconds * 1e6 / requests.max(1) as f64;
    println!(
        "{}",
        json!({
            "requests": requests,
            "user_us_per_request": each(user_s),
            "system_us_per_request": each(system_s),
            "stats": stats,
        })
    );
    Ok(())
}
