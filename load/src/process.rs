//! The processes that are measured: pinned, started, ended, and asked of /proc what they used.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// Linux tells times of processes in these, whatever the kernel's own tick is (proc(5), `USER_HZ`).
const TICKS_A_SECOND: f64 = 100.0;

/// How long a process may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);

/// Pins this thread to these cores, and whatever it starts from now on.
#[cfg(target_os = "linux")]
pub(crate) fn pin(cores: &[usize]) -> Result<()> {
    use rustix::thread::{CpuSet, sched_setaffinity};

    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set).with_context(|| format!("pinning to cores {cores:?}"))
}

/// Elsewhere this only has to build, with the rest of the workspace.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(_: &[usize]) -> Result<()> {
    anyhow::bail!("loads are measured on Linux only")
}

/// A proxy that runs. Dropping it ends it, and its children with it.
pub(crate) struct Running {
    child: Child,
    /// The process and its descendants, as they were when it served.
    pids: Vec<i32>,
}

impl Running {
    /// Starts a program whose output goes to a file. It is told to end when we end, however that comes about.
    pub(crate) fn start(program: &Command, cores: &[usize], back_to: usize, output: &Path) -> Result<Self> {
        let out = fs::File::create(output)?;
        let mut command = if has_setpriv() {
            let mut guarded = Command::new("setpriv");
            guarded.args(["--pdeathsig", "TERM", "--"]).arg(program.get_program());
            guarded
        } else {
            Command::new(program.get_program())
        };
        for (name, value) in program.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command.args(program.get_args()).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        // A child inherits where its parent is pinned; Go and others size their pools by it.
        pin(cores)?;
        let child = command.spawn();
        pin(&[back_to])?;
        let child = child.with_context(|| format!("starting {}", program.get_program().display()))?;
        Ok(Self { child, pids: Vec::new() })
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Looks for its children; to be called once it serves.
    pub(crate) fn look(&mut self) -> Result<()> {
        self.pids = family(i32::try_from(self.child.id())?);
        Ok(())
    }

    /// User and system time of all of it until now, in seconds.
    pub(crate) fn cpu(&self) -> Result<f64> {
        self.pids.iter().map(|pid| cpu_of(&pid.to_string())).sum()
    }

    /// The most memory that was resident at once, summed over processes, in bytes.
    pub(crate) fn peak(&self) -> Result<f64> {
        self.pids.iter().map(|pid| figure(*pid, "status", &["VmHWM:"])).sum()
    }

    /// Memory that is the process's alone, in bytes: code shared with files is not in it.
    pub(crate) fn private(&self) -> Result<f64> {
        let names = ["Private_Clean:", "Private_Dirty:"];
        self.pids.iter().map(|pid| figure(*pid, "smaps_rollup", &names)).sum()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let all = family(i32::try_from(self.child.id()).unwrap_or(0));
        let told = |signal| {
            // Who has ended meanwhile cannot be told, and need not be.
            all.iter().filter_map(|pid| Pid::from_raw(*pid)).for_each(|pid| {
                let _ = kill_process(pid, signal);
            });
        };
        told(Signal::TERM);
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && !self.has_ended() {
            thread::sleep(Duration::from_millis(10));
        }
        if !self.has_ended() {
            told(Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Debian has it everywhere; where it is missing, only a kill of this program leaves a proxy behind.
fn has_setpriv() -> bool {
    Command::new("setpriv").arg("--version").stdout(Stdio::null()).status().is_ok_and(|end| end.success())
}

/// User and system time of a process (`self` is one, too), in seconds.
pub(crate) fn cpu_of(pid: &str) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the proxy is gone")?;
    let ticks = ticks(&stat).context("an unknown form of /proc/PID/stat")?;
    Ok(ticks as f64 / TICKS_A_SECOND)
}

/// User and system time of every process there is, and was, and what the hypervisor kept from two cores, in seconds.
/// What others used of the machine is what is left of it.
pub(crate) fn cpu_of_all(cores: [usize; 2]) -> Result<f64> {
    let entries = fs::read_dir("/proc")?.flatten();
    // A process that ends between the listing and the look is in its parent's time from then on.
    let ticks = entries.filter_map(|entry| all_ticks(&fs::read_to_string(entry.path().join("stat")).ok()?));
    let stat = fs::read_to_string("/proc/stat")?;
    let stolen: u64 = cores.iter().map(|core| stolen(&stat, *core)).sum();
    Ok((ticks.sum::<u64>() + stolen) as f64 / TICKS_A_SECOND)
}

/// A process and its descendants.
fn family(root: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pairs: Vec<(i32, i32)> = entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, parent(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
        })
        .collect();
    let mut found = BTreeSet::from([root]);
    loop {
        let before = found.len();
        found.extend(
            pairs.iter().filter(|(_, of)| found.contains(of)).map(|(pid, _)| *pid).collect::<Vec<_>>(),
        );
        if found.len() == before {
            return found.into_iter().collect();
        }
    }
}

fn figure(pid: i32, file: &str, names: &[&str]) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).context("the proxy is gone")?;
    Ok(kibibytes(&text, names) as f64 * 1024.0)
}

/// The fields of `/proc/PID/stat` behind the name, which may hold spaces (proc(5)); the first is the state.
fn behind_name(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace())
}

fn parent(stat: &str) -> Option<i32> {
    behind_name(stat)?.nth(1)?.parse().ok()
}

/// utime and stime.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = behind_name(stat)?.skip(11);
    let (user, system) = (fields.next()?, fields.next()?);
    Some(user.parse::<u64>().ok()? + system.parse::<u64>().ok()?)
}

/// utime and stime of a process and of its children that have ended; a thread of the kernel that moves packets (which
/// are ours) has none.
fn all_ticks(stat: &str) -> Option<u64> {
    let fields = behind_name(stat)?.skip(11).take(4);
    let ticks = fields.map(|figure| figure.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(if stat.contains("(ksoftirqd/") { 0 } else { ticks })
}

/// Ticks of one core in `/proc/stat` that the hypervisor gave to others: the eighth figure.
fn stolen(stat: &str, core: usize) -> u64 {
    let name = format!("cpu{core}");
    let line = stat.lines().find(|line| line.split_whitespace().next() == Some(&name)).unwrap_or_default();
    line.split_whitespace().nth(8).and_then(|figure| figure.parse().ok()).unwrap_or(0)
}

/// The sum of lines with these names, in KiB.
fn kibibytes(text: &str, names: &[&str]) -> u64 {
    let of = |line: &str| {
        let mut words = line.split_whitespace();
        names.contains(&words.next()?).then(|| words.next()?.parse::<u64>().ok())?
    };
    text.lines().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_tells() {
        let stat = "7 (a) b (c) S 3 7 7 0 -1 4194304 900 0 0 0 120 34 0 0 20 0 9 0 1 2 3";
        assert_eq!((ticks(stat), parent(stat)), (Some(154), Some(3)));
        assert_eq!((ticks("7 (a) S 1"), parent("7 (a")), (None, None));
        let status = "Name:\tx\nVmHWM:\t    1204 kB\nPrivate_Clean:    3 kB\nPrivate_Dirty:   4 kB\n";
        assert_eq!(kibibytes(status, &["VmHWM:"]), 1_204);
        assert_eq!(kibibytes(status, &["Private_Clean:", "Private_Dirty:"]), 7);
        let cores = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 100 100 4 5 6 70 80\ncpu1 1 0 0 9 9 0 0 0 0 0\n";
        assert_eq!((stolen(cores, 0), stolen(cores, 1), stolen(cores, 2)), (6, 0, 0));
        let ended = "7 (cc) S 3 7 7 0 -1 4194304 900 0 0 0 120 34 50 6 20 0 9 0 1 2 3";
        assert_eq!(all_ticks(ended), Some(210));
        assert_eq!(all_ticks(&ended.replace("cc", "ksoftirqd/0")), Some(0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn our_own_family_has_us() {
        let own = i32::try_from(std::process::id()).expect("small");
        assert!(family(own).contains(&own));
        assert!(cpu_of("self").expect("Linux") >= 0.0);
    }
}
