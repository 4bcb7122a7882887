//! Several programs in one console: they start together, are asked to stop together, and none is left behind.

mod console;
mod part;

use std::process::{ExitCode, ExitStatus};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::WaitOptions;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::console::Labels;
pub use self::part::Part;
use self::part::Running;
use crate::exit::{ABANDONED, Failure};
use crate::output;

/// How long what is left may take to be gone, once it is killed or its guard kills it.
const GONE: Duration = Duration::from_secs(5);

/// What comes next.
enum Event {
    /// One of the parts, by its number.
    Ended(usize, ExitStatus),
    Asked,
    Overdue,
}

/// Runs the parts until one of them ends by itself, whose code is returned, or until a signal: the first asks all to stop, the
/// second hurries them, the third kills them.
pub async fn supervise(parts: Vec<Part>) -> Result<ExitCode, Failure> {
    let mut signals =
        Signals::listen().map_err(|error| Failure::system("signals cannot be caught", &error))?;
    part::adopt_orphans();
    let labels = Labels::of(&parts);
    let mut running: Vec<Rc<Running>> = Vec::new();
    let mut ends = JoinSet::new();
    for (number, part) in parts.into_iter().enumerate() {
        let name = part.name;
        match part.start(&labels) {
            Ok((part, end)) => {
                running.push(part);
                ends.spawn_local(async move { (number, end.await) });
            }
            Err(error) => {
                each(&running, Running::kill);
                settle().await;
                return Err(Failure::system(&format!("{name} could not be started"), &error));
            }
        }
    }
    let code = attend(&running, &mut ends, &mut signals).await;
    settle().await;
    Ok(code)
}

/// Waits until all have ended.
async fn attend(
    running: &[Rc<Running>],
    ends: &mut JoinSet<(usize, ExitStatus)>,
    signals: &mut Signals,
) -> ExitCode {
    // By themselves: none.
    let mut asked = 0;
    let mut code = None;
    loop {
        let grace = running.iter().filter_map(|part| part.left()).min();
        let event = tokio::select! {
            end = ends.join_next() => match end {
                Some(Ok((number, status))) => Event::Ended(number, status),
                // Such a task neither panics nor is aborted.
                Some(Err(_)) => continue,
                None => return code.unwrap_or(ExitCode::SUCCESS),
            },
            () = signals.next() => Event::Asked,
            () = sleep(grace.unwrap_or_default()), if grace.is_some() => Event::Overdue,
        };
        match event {
            Event::Ended(number, status) if asked == 0 => {
                asked = 1;
                code = Some(part::code(status));
                let name = running[number].name();
                output::complain(&format!("reproq: {name} has ended ({status}); stopping the rest"));
                each(running, Running::ask);
            }
            Event::Ended(..) => {}
            Event::Asked if asked < 2 => {
                asked += 1;
                each(running, Running::ask);
            }
            Event::Asked => {
                code = Some(ExitCode::from(ABANDONED));
                each(running, Running::kill);
            }
            Event::Overdue => running.iter().filter(|part| part.is_overdue()).for_each(|part| part.kill()),
        }
    }
}

fn each(running: &[Rc<Running>], deed: impl Fn(&Running)) {
    for part in running {
        deed(part);
    }
}

/// Waits until nothing is left below this process.
async fn settle() {
    let gone = async {
        // Orphans come to this process, and are known by that.
        while let Ok(ended) = rustix::process::wait(WaitOptions::NOHANG) {
            if ended.is_none() {
                sleep(Duration::from_millis(10)).await;
            }
        }
    };
    if timeout(GONE, gone).await.is_err() {
        output::complain("reproq: something that was started goes on; it has left its process group");
    }
}

/// The signals that ask to stop.
struct Signals([Signal; 4]);

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let [interrupt, terminate, hangup, quit] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()]
                .map(signal);
        Ok(Self([interrupt?, terminate?, hangup?, quit?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup, quit] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
    }
}
