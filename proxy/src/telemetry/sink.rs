//! The thread that writes lines, and the bounded buffer before it.
//!
//! Access lines are gathered for a moment, so that many of them cost one write and wake nobody. A line of the
//! program's own log is written at once, and what was gathered before it with it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tidegate_admin::Control;
use tracing_subscriber::fmt::MakeWriter;

use super::access::Line;

/// Lines may wait to be written up to so many bytes.
const MAX_WAITING_BYTES: usize = 8 << 20;
/// So many bytes are worth a write.
const WORTH_BYTES: usize = 64 << 10;
/// Fewer are written after this.
const GATHER: Duration = Duration::from_millis(20);
/// A process that ends waits so long for its last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

enum Item {
    Lines(Vec<u8>),
    /// From now on to this file, or to standard output.
    Switch(Option<PathBuf>),
    Reopen,
    Flush(SyncSender<()>),
}

/// Takes lines and never waits.
pub(crate) struct Sink {
    queue: Arc<Queue>,
    /// Where lost lines are counted, once there is such a place.
    control: OnceLock<Arc<Control>>,
}

impl Sink {
    /// Starts the thread, which writes to standard output until it is told otherwise.
    pub(crate) fn start() -> io::Result<Arc<Self>> {
        let queue = Arc::new(Queue::default());
        let (items, output) = (Arc::clone(&queue), Output::open(None)?);
        std::thread::Builder::new().name("tidegate-log".into()).spawn(move || write_items(&items, output))?;
        Ok(Arc::new(Self { queue, control: OnceLock::new() }))
    }

    /// Counts lost lines there from now on.
    pub(crate) fn count_in(&self, control: Arc<Control>) {
        // The first place stays.
        let _ = self.control.set(control);
    }

    /// Writes to a file from now on, or to standard output.
    pub(crate) fn switch(&self, path: Option<PathBuf>) {
        self.queue.order(Item::Switch(path));
    }

    fn add(&self, line: &[u8], is_urgent: bool) {
        if !self.queue.add(line, is_urgent)
            && let Some(control) = self.control.get()
        {
            control.process().dropped_log_lines.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn access(&self, line: &Line<'_>) {
        thread_local! {
            static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        WRITTEN.with_borrow_mut(|written| {
            written.clear();
            if serde_json::to_writer(&mut *written, line).is_ok() {
                written.push(b'\n');
                self.add(written, false);
            }
        });
    }

    pub(super) fn reopen(&self) {
        self.queue.order(Item::Reopen);
    }

    /// Waits, for a moment, until all lines so far are written.
    pub(crate) fn flush(&self) {
        let (done, written) = sync_channel(1);
        self.queue.order(Item::Flush(done));
        // If the reader of the output is stuck, the process ends all the same.
        let _ = written.recv_timeout(LAST_LINES);
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.queue.waiting.lock().is_closed = true;
        self.queue.wake.notify_one();
    }
}

/// What waits to be written, and who writes it.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    /// Of all lines.
    bytes: usize,
    /// Room for the next lines.
    spare: Option<Vec<u8>>,
    /// Some of it is not to wait for more.
    is_urgent: bool,
    /// The writer has had nothing to do for a while, and waits to be woken.
    sleeps: bool,
    is_closed: bool,
}

impl Queue {
    /// Adds a line; false when there is no room for it.
    fn add(&self, line: &[u8], is_urgent: bool) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.bytes + line.len() > MAX_WAITING_BYTES {
            return false;
        }
        if let Some(Item::Lines(lines)) = waiting.items.back_mut() {
            lines.extend_from_slice(line);
        } else {
            let mut lines = waiting.spare.take().unwrap_or_default();
            lines.extend_from_slice(line);
            waiting.items.push_back(Item::Lines(lines));
        }
        let was_worth = waiting.bytes >= WORTH_BYTES;
        waiting.bytes += line.len();
        waiting.is_urgent |= is_urgent;
        let wakes = waiting.sleeps || is_urgent || (waiting.bytes >= WORTH_BYTES && !was_worth);
        drop(waiting);
        if wakes {
            self.wake.notify_one();
        }
        true
    }

    /// Adds an order, for which there is always room.
    fn order(&self, item: Item) {
        let mut waiting = self.waiting.lock();
        waiting.items.push_back(item);
        waiting.is_urgent = true;
        drop(waiting);
        self.wake.notify_one();
    }

    /// Gives back the room of lines that are written.
    fn reuse(&self, mut lines: Vec<u8>) {
        if lines.capacity() <= 4 * WORTH_BYTES {
            lines.clear();
            self.waiting.lock().spare = Some(lines);
        }
    }

    /// Waits until there is something worth to be written; `None` when nothing will come any more.
    fn take(&self) -> Option<VecDeque<Item>> {
        let mut waiting = self.waiting.lock();
        let mut is_late = false;
        loop {
            let is_empty = waiting.items.is_empty();
            if waiting.is_closed && is_empty {
                return None;
            }
            let is_worth = is_late || waiting.is_urgent || waiting.is_closed || waiting.bytes >= WORTH_BYTES;
            if is_worth && !is_empty {
                waiting.bytes = 0;
                waiting.is_urgent = false;
                return Some(std::mem::take(&mut waiting.items));
            }
            if is_late {
                waiting.sleeps = true;
                self.wake.wait(&mut waiting);
                waiting.sleeps = false;
                is_late = false;
            } else {
                is_late = self.wake.wait_for(&mut waiting, GATHER).timed_out();
            }
        }
    }
}

struct Output {
    path: Option<PathBuf>,
    writer: Box<dyn Write + Send>,
}

impl Output {
    fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let writer: Box<dyn Write + Send> = match &path {
            Some(path) => Box::new(open_file(path)?),
            None => Box::new(io::stdout()),
        };
        Ok(Self { path, writer })
    }
}

fn open_file(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Writes until the sink is gone. A full disk or a closed pipe loses lines, nothing else.
fn write_items(queue: &Queue, mut output: Output) {
    while let Some(items) = queue.take() {
        for item in items {
            match item {
                Item::Lines(lines) => {
                    let _ = output.writer.write_all(&lines).and_then(|()| output.writer.flush());
                    queue.reuse(lines);
                }
                Item::Switch(path) => replace(&mut output, path),
                Item::Reopen => {
                    let path = output.path.clone();
                    replace(&mut output, path);
                }
                Item::Flush(done) => drop(done.send(())),
            }
        }
    }
}

/// Writes elsewhere from now on; where that cannot be opened, lines go on to where they went.
fn replace(output: &mut Output, path: Option<PathBuf>) {
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
            self.sink.add(&self.bytes, true);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(items: VecDeque<Item>) -> String {
        let bytes = items.into_iter().filter_map(|item| match item {
            Item::Lines(lines) => Some(lines),
            _ => None,
        });
        String::from_utf8(bytes.flatten().collect()).expect("text")
    }

    #[test]
    fn lines_are_gathered_in_their_order() {
        let queue = Queue::default();
        assert!(queue.add(b"1\n", false) && queue.add(b"2\n", false));
        queue.order(Item::Reopen);
        assert!(queue.add(b"3\n", true));
        let items = queue.take().expect("items");
        assert_eq!(items.len(), 3, "an order stays between what was before it and after it");
        assert_eq!(lines(items), "1\n2\n3\n");
    }

    #[test]
    fn what_waits_is_bounded_and_has_room_again_once_it_is_taken() {
        let queue = Queue::default();
        let line = vec![b'x'; MAX_WAITING_BYTES / 4];
        for _ in 0..4 {
            assert!(queue.add(&line, false));
        }
        assert!(!queue.add(b"x", false));
        queue.order(Item::Reopen);
        assert_eq!(lines(queue.take().expect("items")).len(), MAX_WAITING_BYTES);
        assert!(queue.add(b"x", false));
    }

    #[test]
    fn the_writer_is_woken_whatever_it_waits_for() {
        let queue = Arc::new(Queue::default());
        let (taken, seen) = std::sync::mpsc::channel();
        let writer = Arc::clone(&queue);
        let writing = std::thread::spawn(move || {
            while let Some(items) = writer.take() {
                taken.send(lines(items)).expect("a test that waits");
            }
        });
        for round in 0..20 {
            // Some come while the writer gathers, some once it sleeps.
            std::thread::sleep(GATHER * (round % 3));
            assert!(queue.add(b"x", round % 2 == 0));
            assert_eq!(seen.recv_timeout(Duration::from_secs(10)).as_deref(), Ok("x"));
        }
        queue.waiting.lock().is_closed = true;
        queue.wake.notify_one();
        writing.join().expect("an end");
    }
}
