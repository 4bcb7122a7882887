//! The rounds of a worker's dispatcher on one store after another, timed, for `bench/claims.py`.
//!
//! `rounds <batch> <queues, separated by commas> <address>...` connects to each address. Then each line of its standard input,
//! `<number of the address> <rounds>`, is answered with one line of JSON: for each round
//! `[claim, look at what is due, finish, runs]`, in microseconds; the second is null where the dispatcher would not have looked.

use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use reproq_model::{Incarnation, RunStatus, Transition};
use reproq_store::{Address, Claim, ClaimRequest, Ending, Fence, Registration, Store, StoreError};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// As in `reproq-worker/src/dispatcher.rs`.
const GLANCE: Duration = Duration::from_millis(20);
const BARREN: Duration = Duration::from_millis(5);
const LEASE: Duration = Duration::from_secs(15);

/// What the dispatcher knows between two rounds.
struct Claimer {
    store: Rc<dyn Store>,
    registration: Registration,
    batch: u32,
    look_at: Instant,
    keyed_waiting: bool,
    keyed_first: bool,
    barren_at: Option<Instant>,
}

struct Round {
    claim: Duration,
    glance: Option<Duration>,
    finish: Duration,
    runs: usize,
}

impl Claimer {
    async fn round(&mut self) -> Result<Round, Box<dyn Error>> {
        let began = Instant::now();
        let claim = self.claim().await?;
        let claimed = Instant::now();
        let mut glance = None;
        if claimed >= self.look_at {
            let found = self.store.promote_due(&self.registration.queues).await?;
            self.keyed_waiting = found.keyed_waiting;
            self.look_at = Instant::now();
            if found.promoted == 0 || !claim.runs.is_empty() {
                self.look_at += GLANCE;
            }
            glance = Some(claimed.elapsed());
        }
        let runs = claim.runs.len();
        let endings = claim
            .runs
            .iter()
            .map(|run| Ok(Ending { id: run.id, epoch: run.epoch, transition: success()?, logs_uri: None }))
            .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
        let ending = Instant::now();
        if runs > 0 {
            let fence = Fence::Owner(self.registration.incarnation);
            let written = self.store.finish(fence, &endings).await?.written;
            if written != runs as u64 {
                return Err(format!("claimed {runs} runs, but ended {written}").into());
            }
        }
        Ok(Round { claim: claimed - began, glance, finish: ending.elapsed(), runs })
    }

    /// Both lanes take turns in being first while both may have runs.
    async fn claim(&mut self) -> Result<Claim, StoreError> {
        let registration = self.registration.clone();
        let request =
            |limit| ClaimRequest { worker: &registration, queues: &registration.queues, limit, lease: LEASE };
        if !self.keyed_waiting {
            return self.store.claim(&request(self.batch)).await;
        }
        let barren = self.barren_at.is_some_and(|at| at.elapsed() < BARREN);
        let keyed_first = self.keyed_first && !barren;
        self.keyed_first = !self.keyed_first;
        let mut all = Claim::default();
        for keyed in [keyed_first, !keyed_first] {
            let room = self.batch - u32::try_from(all.runs.len()).unwrap_or(self.batch);
            if room > 0 {
                let request = request(room);
                let claim = if keyed {
                    let claim = self.store.claim_keyed(&request).await?;
                    self.barren_at = (claim.runs.is_empty() && !claim.more).then(Instant::now);
                    claim
                } else {
                    self.store.claim(&request).await?
                };
                all.runs.extend(claim.runs);
            }
        }
        Ok(all)
    }
}

fn success() -> Result<Transition, serde_json::Error> {
    Ok(Transition {
        status: RunStatus::Successful,
        return_json: Some(RawValue::from_string("null".to_owned())?),
        error: None,
        last_error: None,
        delay: Duration::ZERO,
        give_back: false,
        crashed: false,
        metadata: None,
        record: None,
    })
}

async fn claimer(number: usize, batch: u32, queues: &str, address: &str) -> Result<Claimer, StoreError> {
    let address = address
        .strip_prefix("sqlite://")
        .map_or(Address::Postgres(address), |path| Address::Sqlite(Path::new(path)));
    let store = reproq_store::connect(address).await?;
    let registration = Registration {
        worker_id: format!("bench-{number}"),
        incarnation: Incarnation::random(),
        hostname: "bench".to_owned(),
        pid: std::process::id(),
        concurrency: batch,
        queues: queues.split(',').map(str::to_owned).collect(),
        version: env!("CARGO_PKG_VERSION"),
    };
    store.register(&registration).await?;
    // Busy: no enqueue has to wake it.
    store.set_wants_wake(&registration, false).await?;
    Ok(Claimer {
        store,
        registration,
        batch,
        look_at: Instant::now(),
        keyed_waiting: true,
        keyed_first: false,
        barren_at: None,
    })
}

fn told(round: &Round) -> Value {
    let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    json!([micros(round.claim), round.glance.map(micros), micros(round.finish), round.runs])
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [batch, queues, addresses @ ..] = arguments.as_slice() else {
        return Err("usage: rounds <batch> <queue,queue> <address>...".into());
    };
    let mut claimers = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        claimers.push(claimer(number, batch.parse()?, queues, address).await?);
    }
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (number, rounds) = line.split_once(' ').ok_or("a line is `<number> <rounds>`")?;
        let claimer = claimers.get_mut(number.parse::<usize>()?).ok_or("no address has this number")?;
        let mut answer = Vec::new();
        for _ in 0..rounds.parse::<u32>()? {
            answer.push(told(&claimer.round().await?));
        }
        writeln!(std::io::stdout(), "{}", Value::from(answer))?;
    }
    Ok(())
}
