//! What the programs print, line by line, each with the name of its program.

use std::collections::HashMap;

use reproq_store::Stream;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::task::JoinHandle;

use super::Part;
use crate::output;

/// What is longer is shown in pieces.
const LONGEST_LINE: u64 = 64 * 1024;

/// What stands in front of lines.
pub struct Labels(HashMap<&'static str, (String, u8)>);

impl Labels {
    pub fn of(parts: &[Part]) -> Self {
        let width = parts.iter().map(|part| part.name.len()).max().unwrap_or_default();
        let label = |part: &Part| (part.name, (format!("{:<width$} | ", part.name), part.colour));
        Self(parts.iter().map(label).collect())
    }

    /// Passes on what the program prints until it prints no more.
    pub fn forward(
        &self,
        name: &'static str,
        stream: Stream,
        pipe: impl AsyncRead + Unpin + 'static,
    ) -> JoinHandle<()> {
        let is_seen = match stream {
            Stream::Stdout => output::shows_to_a_person(),
            Stream::Stderr => output::talks_to_a_person(),
        };
        let label = match self.0.get(name) {
            Some((label, colour)) if is_seen => format!("\x1b[{colour}m{label}\x1b[0m"),
            Some((label, _)) => label.clone(),
            None => String::new(),
        };
        tokio::task::spawn_local(pass_on(label.into_bytes(), stream, BufReader::new(pipe)))
    }
}

async fn pass_on(label: Vec<u8>, stream: Stream, mut pipe: impl tokio::io::AsyncBufRead + Unpin) {
    loop {
        let mut line = label.clone();
        match (&mut pipe).take(LONGEST_LINE).read_until(b'\n', &mut line).await {
            // Nobody writes any more.
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        output::pass_on(stream, &line);
    }
}

/// Waits until both have been passed on to their ends.
pub async fn both(stdout: Option<JoinHandle<()>>, stderr: Option<JoinHandle<()>>) {
    for forwarding in [stdout, stderr].into_iter().flatten() {
        // It neither panics nor is aborted.
        let _ = forwarding.await;
    }
}
