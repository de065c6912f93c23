//! The end-to-end tests in several labs at the same time. Each lane has a lab of its own in a network of its own, and takes the next
//! group of tests that no other lane has taken: tests wait for clocks of SPIRE and Istio more than they compute.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use tempfile::TempDir;

use super::test::{CLUSTERS, LeftOut, as_it_was_left};
use super::{down, say, up};
use crate::cluster::layout::missing_mount_points;
use crate::error::{Error, Result};
use crate::network::{own, sysctl};
use crate::plugins::{cargo, run};
use crate::state::{StateDir, VARIABLE, create, read_json, write_json};
use crate::steps::seconds;

/// Hidden verb of a lane.
pub(super) const LANE: &str = "test-lane";
/// Programs of tests, those that take longest first, so that the lanes end at about the same time.
const GROUPS: [Group; 9] = [
    Group::of("mesh"),
    Group::of("membership"),
    Group::of("federate"),
    Group::of("upstream"),
    Group::of("verify"),
    Group::of("rotate"),
    Group::of("foreign"),
    Group { name: "eks", internet: true },
    Group { name: "krew", internet: true },
];

/// The tests of one file of `tests/e2e/tests`, which run one after the other in one lab.
struct Group {
    name: &'static str,
    /// They download something, so they run where the machine's own network is: in the first lane.
    internet: bool,
}

impl Group {
    const fn of(name: &'static str) -> Self {
        Self { name, internet: false }
    }
}

/// Several labs, and the folder that they share.
pub(super) struct Lanes {
    count: usize,
    work: TempDir,
}

impl Lanes {
    pub(super) fn new(count: usize) -> Result<Self> {
        let work = tempfile::tempdir().map_err(Error::system("make a folder"))?;
        Ok(Self { count, work })
    }

    /// Runs all groups. The host's settings are changed once for all of them.
    pub(super) fn run(&self, left_out: &LeftOut) -> Result<()> {
        let (settings, places) = (sysctl::to_change()?, missing_mount_points());
        sysctl::raise()?;
        places.iter().try_for_each(|place| create(place))?;
        let ran = self.run_all(left_out);
        for place in places.iter().rev() {
            // Somebody may have put something there since.
            let _ = fs::remove_dir(place);
        }
        sysctl::restore(&settings)?;
        ran
    }

    fn run_all(&self, left_out: &LeftOut) -> Result<()> {
        let lanes =
            (1..=self.count).map(|number| self.start(number, left_out)).collect::<Result<Vec<_>>>()?;
        let failed = thread::scope(|scope| {
            let followed: Vec<_> =
                (1..).zip(lanes).map(|(number, lane)| scope.spawn(move || follow(number, lane))).collect();
            followed.into_iter().map(|lane| lane.join().unwrap_or(false)).filter(|passed| !passed).count()
        });
        if failed == 0 {
            return Ok(());
        }
        Err(Error::Invalid {
            what: "result of the end-to-end tests",
            value: format!("{failed} of {} labs", self.count),
            why: "tests failed, see above".to_owned(),
        })
    }

    fn start(&self, number: usize, left_out: &LeftOut) -> Result<Child> {
        let program = std::env::current_exe().map_err(Error::system("find this program"))?;
        let state = if number == 1 { StateDir::from_env() } else { StateDir::from_env().beside(number) };
        let mut lane = Command::new(program);
        lane.arg(LANE).arg(number.to_string()).arg(self.work.path()).env(VARIABLE, state.path());
        lane.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        left_out.noted(&mut lane).spawn().map_err(Error::system(format!("start lab {number}")))
    }

    /// Returns how long each group took, and in which lab it ran.
    pub(super) fn times(&self) -> Result<Vec<(String, Duration)>> {
        let mut times = Vec::new();
        for number in 1..=self.count {
            let lane: Vec<(String, f64)> =
                read_json(&times_of(self.work.path(), number))?.unwrap_or_default();
            let of_lane = |(name, took)| (format!("  lab {number}: {name}"), Duration::from_secs_f64(took));
            times.extend(lane.into_iter().map(of_lane));
        }
        Ok(times)
    }
}

/// Passes on what a lane prints, line by line, and tells whether everything passed.
fn follow(number: usize, mut lane: Child) -> bool {
    thread::scope(|scope| {
        if let Some(stream) = lane.stdout.take() {
            scope.spawn(move || pass_on(number, stream));
        }
        if let Some(stream) = lane.stderr.take() {
            scope.spawn(move || pass_on(number, stream));
        }
    });
    lane.wait().is_ok_and(|status| status.success())
}

fn pass_on(number: usize, stream: impl Read) {
    for line in BufReader::new(stream).split(b'\n').map_while(std::result::Result::ok) {
        // What is done matters more than what can be said about it.
        let _ = say(&format!("{number}| {}", String::from_utf8_lossy(&line)));
    }
}

fn times_of(work: &Path, number: usize) -> PathBuf {
    work.join(format!("lane-{number}.json"))
}

/// One lane: a fresh lab, the groups that it gets, and the end of the lab.
#[derive(Debug, Args)]
pub(super) struct Lane {
    /// Which lane; the first one is in the machine's own network
    number: usize,
    /// Folder that the lanes share
    work: PathBuf,
}

impl Lane {
    pub(super) fn run(self) -> Result<()> {
        if self.number > 1 {
            let stash = self.work.join("stash");
            create(&stash)?;
            own::enter(&stash)?;
        }
        let mut times = self.start_lab()?;
        let mut failed = Vec::new();
        for group in GROUPS {
            if (group.internet && self.number > 1) || !self.claim(group.name)? {
                continue;
            }
            say(&format!("\n== {}", group.name))?;
            let since = Instant::now();
            let arguments = ["test", "--locked", "--offline", "--package", "spire-mesh-e2e", "--test"];
            let passed = run(cargo().args(arguments).args([group.name, "--", "--test-threads=1"]));
            times.push((group.name, since.elapsed().as_secs_f64()));
            if let Err(error) = passed {
                say(&format!("{}: {error}", group.name))?;
                as_it_was_left()?;
                failed.push(group.name);
            }
        }
        let since = Instant::now();
        down::Down::default().run()?;
        times.push(("lab taken down", since.elapsed().as_secs_f64()));
        write_json(&times_of(&self.work, self.number), &times)?;
        if failed.is_empty() {
            return Ok(());
        }
        Err(Error::Invalid {
            what: "result of",
            value: failed.join(", "),
            why: "tests failed, see above".to_owned(),
        })
    }

    /// Labs are started one after the other: that takes the processor, and nothing else.
    fn start_lab(&self) -> Result<Vec<(&'static str, f64)>> {
        let path = self.work.join("start.lock");
        let lock = File::create(&path).map_err(Error::io("make", &path))?;
        lock.lock().map_err(Error::io("lock", &path))?;
        let since = Instant::now();
        down::Down::default().run()?;
        up::Up::of(CLUSTERS).run()?;
        say(&format!("lane {}: lab started in {}", self.number, seconds(since.elapsed())))?;
        Ok(vec![("lab started", since.elapsed().as_secs_f64())])
    }

    /// Takes a group, unless another lane has it.
    fn claim(&self, name: &str) -> Result<bool> {
        let path = self.work.join(name);
        match File::create_new(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(Error::io("make", &path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_of_end_to_end_tests_is_in_a_group() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/tests");
        let entries = fs::read_dir(folder).expect("a folder");
        let files: BTreeSet<String> = entries
            .map(|entry| {
                entry.expect("an entry").path().file_stem().expect("a name").to_string_lossy().into_owned()
            })
            .collect();
        assert_eq!(files, GROUPS.iter().map(|group| group.name.to_owned()).collect());
    }

    #[test]
    fn a_group_is_taken_once() {
        let work = tempfile::tempdir().expect("a folder");
        let lane = |number| Lane { number, work: work.path().to_path_buf() };
        assert!(lane(1).claim("mesh").expect("claimed"));
        assert!(!lane(2).claim("mesh").expect("claimed"));
        assert!(lane(2).claim("verify").expect("claimed"));
    }
}
