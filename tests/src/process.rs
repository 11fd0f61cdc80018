//! A child process whose output is read as it comes, and which does not outlive its guard.
//!
//! Entry points: [`Process::spawn`], [`Process::wait_line`] (an event, not a sleep), [`Process::finish`].
//! Waits end at [`LIMIT`](crate::LIMIT) with an error that shows what the process printed.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open},
};

use crate::LIMIT;

/// A running child in a process group of its own; dropping it kills the group.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    output: Arc<Output>,
    status: Option<ExitStatus>,
}

/// What a process that ended by itself has left.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All it printed.
    pub stdout: String,
    /// All it complained of.
    pub stderr: String,
}

impl Finished {
    /// Its output if it exited with 0, else an error with what it complained of.
    pub fn success(self) -> Result<String> {
        if !self.status.success() {
            bail!("{}: {}{}", describe(self.status), self.stderr, self.stdout);
        }
        Ok(self.stdout)
    }
}

/// Which of the two outputs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

const BOTH: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

#[derive(Default)]
struct Output {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    /// In the order in which they came.
    all: Vec<(Stream, String)>,
    /// Streams that have ended, of two.
    ended: u8,
}

impl Process {
    /// Starts `command`; `name` is what errors call it.
    pub(crate) fn spawn(name: impl Into<String>, command: &mut Command) -> Result<Self> {
        let name = name.into();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let output = Arc::new(Output::default());
        // The readers end with the pipes; nobody joins them, since a grandchild may hold a pipe for longer.
        read(child.stdout.take().context("no stdout")?, output.clone(), Stream::Stdout);
        read(child.stderr.take().context("no stderr")?, output.clone(), Stream::Stderr);
        Ok(Self { name, stdin: child.stdin.take(), child, output, status: None })
    }

    /// All it has printed and complained of so far, in order.
    pub fn log(&self) -> String {
        self.output.lines.lock().unwrap_or_else(PoisonError::into_inner).text(&BOTH)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it prints a line for which `choose` gives something; lines that are there count too.
    pub fn wait_line<T>(&mut self, what: &str, choose: impl FnMut(&str) -> Option<T>) -> Result<T> {
        self.wait_line_within(LIMIT, what, choose)
    }

    /// [`Process::wait_line`] for what takes its time.
    pub fn wait_line_within<T>(
        &mut self,
        limit: Duration,
        what: &str,
        choose: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        self.wait_for(limit, &[Stream::Stdout], what, choose)
    }

    /// [`Process::wait_line`] for what it complains of too.
    pub(crate) fn wait_any_line<T>(
        &mut self,
        what: &str,
        choose: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        self.wait_for(LIMIT, &BOTH, what, choose)
    }

    fn wait_for<T>(
        &mut self,
        limit: Duration,
        streams: &[Stream],
        what: &str,
        mut choose: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        let began = Instant::now();
        let mut seen = 0;
        let mut lines = self.output.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let fresh = lines.all[seen..].iter().filter(|(stream, _)| streams.contains(stream));
            if let Some(found) = fresh.map(|(_, line)| line).find_map(|line| choose(line)) {
                return Ok(found);
            }
            seen = lines.all.len();
            let left = limit.saturating_sub(began.elapsed());
            if lines.ended == 2 || left.is_zero() {
                let how = if left.is_zero() { "waited in vain for" } else { "it ended before" };
                bail!("{}: {how} {what}; it printed:\n{}", self.name, lines.text(&BOTH));
            }
            lines = self.output.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        self.output.lines.lock().unwrap_or_else(PoisonError::into_inner).text(&[Stream::Stdout])
    }

    /// What it has complained of so far.
    pub fn stderr(&self) -> String {
        self.output.lines.lock().unwrap_or_else(PoisonError::into_inner).text(&[Stream::Stderr])
    }

    /// Gives it a line to read.
    pub fn send_line(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().with_context(|| format!("{}: its input is closed", self.name))?;
        writeln!(stdin, "{line}").with_context(|| format!("{}: writing to it", self.name))?;
        Ok(stdin.flush()?)
    }

    /// Ends its input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if self.status.is_some() {
            bail!("{} has ended", self.name);
        }
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status.is_none())
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.wait_within(LIMIT)
    }

    pub(crate) fn wait_within(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.close_input();
        if let Some(status) = self.status {
            return Ok(status);
        }
        let pidfd = pidfd_open(self.pid()?, PidfdFlags::empty())?;
        let limit = Timespec::try_from(limit)?;
        if poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit))? == 0 {
            let lines = self.output.lines.lock().unwrap_or_else(PoisonError::into_inner);
            bail!("{} does not end; it printed:\n{}", self.name, lines.text(&BOTH));
        }
        let status = self.child.wait()?;
        self.status = Some(status);
        Ok(status)
    }

    /// Waits until it ends by itself, and returns all it printed.
    pub fn finish(self) -> Result<Finished> {
        self.finish_within(LIMIT)
    }

    /// [`Process::finish`] for what takes its time.
    pub fn finish_within(mut self, limit: Duration) -> Result<Finished> {
        let status = self.wait_within(limit)?;
        let lines = self.output.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = |lines: &mut Lines| lines.ended < 2;
        // A grandchild may hold the pipes open: then what is there must do.
        let second = Duration::from_secs(1);
        let waited = self.output.changed.wait_timeout_while(lines, second, ended);
        let lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        Ok(Finished { status, stdout: lines.text(&[Stream::Stdout]), stderr: lines.text(&[Stream::Stderr]) })
    }

    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process without an id")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Once waited for, the id may be another's.
        if self.status.is_none()
            && let Ok(pid) = self.pid()
        {
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

impl Lines {
    fn text(&self, streams: &[Stream]) -> String {
        let chosen = self.all.iter().filter(|(stream, _)| streams.contains(stream));
        chosen.map(|(_, line)| line.as_str()).collect()
    }
}

fn read(stream: impl Read + Send + 'static, output: Arc<Output>, kind: Stream) {
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            let ended = !matches!(stream.read_until(b'\n', &mut line), Ok(1..));
            let mut lines = output.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if ended {
                lines.ended += 1;
            } else {
                lines.all.push((kind, String::from_utf8_lossy(&line).into_owned()));
            }
            drop(lines);
            output.changed.notify_all();
            if ended {
                return;
            }
        }
    });
}

/// Asks `condition` again and again until it gives something. For what has no event to wait for.
pub fn eventually<T>(what: &str, condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    eventually_within(LIMIT, what, condition)
}

/// [`eventually`] for what takes its time, such as what several programs do together.
pub fn eventually_within<T>(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = condition().with_context(|| format!("waiting for {what}"))? {
            return Ok(found);
        }
        if began.elapsed() > limit {
            bail!("waited in vain for {what}");
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}
