//! The thread that writes lines, and the bounded queue before it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tidegate_admin::Control;
use tracing_subscriber::fmt::MakeWriter;

use super::access::Line;

/// Lines that may wait to be written.
const QUEUE: usize = 8 * 1024;
/// A process that ends waits so long for its last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

enum Item {
    Bytes(Vec<u8>),
    Access(Box<Line>),
    /// From now on to this file, or to standard output.
    Switch(Option<PathBuf>),
    Reopen,
    Flush(SyncSender<()>),
}

/// Takes lines and never waits.
pub(crate) struct Sink {
    queue: SyncSender<Item>,
    /// Where lost lines are counted, once there is such a place.
    control: OnceLock<Arc<Control>>,
}

impl Sink {
    /// Starts the thread, which writes to standard output until it is told otherwise.
    pub(crate) fn start() -> io::Result<Arc<Self>> {
        let (queue, items) = sync_channel(QUEUE);
        let output = Output::open(None)?;
        std::thread::Builder::new().name("tidegate-log".into()).spawn(move || write_lines(&items, output))?;
        Ok(Arc::new(Self { queue, control: OnceLock::new() }))
    }

    /// Counts lost lines there from now on.
    pub(crate) fn count_in(&self, control: Arc<Control>) {
        // The first place stays.
        let _ = self.control.set(control);
    }

    /// Writes to a file from now on, or to standard output.
    pub(crate) fn switch(&self, path: Option<PathBuf>) {
        self.order(Item::Switch(path));
    }

    fn send(&self, item: Item) {
        if self.queue.try_send(item).is_err()
            && let Some(control) = self.control.get()
        {
            control.process().dropped_log_lines.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Hands over an order, which must not get lost among lines; waits a moment for a place.
    fn order(&self, mut item: Item) {
        let began = Instant::now();
        while let Err(TrySendError::Full(back)) = self.queue.try_send(item) {
            if began.elapsed() > LAST_LINES {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
            item = back;
        }
    }

    pub(super) fn access(&self, line: Line) {
        self.send(Item::Access(Box::new(line)));
    }

    pub(super) fn reopen(&self) {
        self.order(Item::Reopen);
    }

    /// Waits, for a moment, until all lines so far are written.
    pub(crate) fn flush(&self) {
        let (done, written) = sync_channel(1);
        self.order(Item::Flush(done));
        // If the reader of the output is stuck, the process ends all the same.
        let _ = written.recv_timeout(LAST_LINES);
    }
}

struct Output {
    path: Option<PathBuf>,
    writer: BufWriter<Box<dyn Write + Send>>,
}

impl Output {
    fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let writer: Box<dyn Write + Send> = match &path {
            Some(path) => Box::new(open_file(path)?),
            None => Box::new(io::stdout()),
        };
        Ok(Self { path, writer: BufWriter::with_capacity(64 * 1024, writer) })
    }
}

fn open_file(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Writes until every sender is gone. A full disk or a closed pipe loses lines, nothing else.
fn write_lines(items: &Receiver<Item>, mut output: Output) {
    while let Ok(first) = items.recv() {
        let mut next = Some(first);
        while let Some(item) = next {
            write_item(item, &mut output);
            next = items.try_recv().ok();
        }
        let _ = output.writer.flush();
    }
}

fn write_item(item: Item, output: &mut Output) {
    match item {
        Item::Bytes(bytes) => drop(output.writer.write_all(&bytes)),
        Item::Access(line) => {
            if serde_json::to_writer(&mut output.writer, &*line).is_ok() {
                let _ = output.writer.write_all(b"\n");
            }
        }
        Item::Switch(path) => replace(output, path),
        Item::Reopen => replace(output, output.path.clone()),
        Item::Flush(done) => {
            let _ = output.writer.flush();
            let _ = done.send(());
        }
    }
}

/// Writes elsewhere from now on; where that cannot be opened, lines go on to where they went.
fn replace(output: &mut Output, path: Option<PathBuf>) {
    let _ = output.writer.flush();
    match Output::open(path.clone()) {
        Ok(opened) => *output = opened,
        Err(error) => {
            let path = path.unwrap_or_default();
            let _ = writeln!(io::stderr(), "cannot write the log to {}: {error}", path.display());
        }
    }
}

/// One line of the program's log, handed over when it is complete.
pub(crate) struct LineWriter<'a> {
    sink: &'a Sink,
    bytes: Vec<u8>,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter<'_> {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.sink.send(Item::Bytes(std::mem::take(&mut self.bytes)));
        }
    }
}

/// Makes a writer for each line.
pub(super) struct Lines(pub(super) Arc<Sink>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter { sink: &self.0, bytes: Vec::new() }
    }
}
