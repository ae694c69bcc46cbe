//! The matrix: every call of a restore, times every kind of fault.
//!
//! One restore is recorded, and each of its calls is named so that it is found again in
//! a run of the same seed. A case is the same restore in a fresh world, with one or two
//! faults armed. All of it happens in this process and in virtual time; the database
//! servers are real.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aurora_restore::local::LocalOptions;
use local_cloud::faults::{Call, Fault, Faults, Recorded};
use pipeline_tests::{Original, Scene, in_virtual_time};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

use crate::decoys;
use crate::verdict::{self, Before, Verdict};

/// The restore that is tried.
pub(crate) const RESTORE_ID: &str = "restore-1";

/// An execution ends within its own limit of ten days; this is more.
const LONGEST: Duration = Duration::from_secs(20 * 86_400);

/// A restore whose execution is stopped is undone within this time.
const REAPED_IN: Duration = Duration::from_secs(720);

/// How long is waited after the end: what lands late has landed, and the reaper has passed twice.
const SETTLES_IN: Duration = Duration::from_secs(660);

/// One or two faults, each at its call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Case {
    /// What becomes of the restore.
    pub(crate) plot: Plot,
    /// What goes wrong, and where.
    pub(crate) faults: Vec<(Fault, Call)>,
}

impl Case {
    /// Whether one of its faults is of this kind.
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.faults.iter().any(|(kind, _)| *kind == fault)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.plot.name())?;
        for (place, (fault, call)) in self.faults.iter().enumerate() {
            let between = if place == 0 { "" } else { " + " };
            write!(formatter, "{between}{fault} at {call}")?;
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no case; write it like `whole: reset-after at aurora-restore-restore rds:CreateDBInstance#1`"
            )
        };
        let (plot, faults) = text.split_once(": ").ok_or_else(wrong)?;
        let plot = Plot::ALL.into_iter().find(|known| known.name() == plot);
        let one = |text: &str| {
            let (fault, call) = text.split_once(" at ").ok_or_else(wrong)?;
            Ok::<_, String>((fault.parse()?, call.parse()?))
        };
        Ok(Self {
            plot: plot.ok_or_else(wrong)?,
            faults: faults.split(" + ").map(one).collect::<Result<_, _>>()?,
        })
    }
}

/// What a case came to.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    /// Which.
    pub(crate) case: Case,
    /// Whether each of its faults struck.
    pub(crate) reached: bool,
    /// What was found.
    pub(crate) verdict: Verdict,
    /// States entered and calls made, in order: the same for the same seed.
    pub(crate) trace: Vec<String>,
}

impl Tried {
    /// A world that could not be tried to its end, or a verdict that could not be reached.
    fn panicked(case: &Case) -> Self {
        let verdict = Verdict {
            complaints: vec!["the trial panicked; what it said is above".to_owned()],
            ..Verdict::default()
        };
        Self {
            case: case.clone(),
            reached: false,
            verdict,
            trace: Vec::new(),
        }
    }

    /// Whether the case was reached, every rule holds, and it ended as it must.
    pub(crate) fn passed(&self) -> bool {
        self.reached && !self.failed()
    }

    /// Whether it counts against the pipeline. The first fault of a pair may change how often is looked, so that the
    /// second has nothing left to strike: such a pair neither passes nor fails.
    pub(crate) fn failed(&self) -> bool {
        !self.complaints().is_empty()
    }

    /// Everything that is wrong with it.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut all = self.verdict.complaints.clone();
        if !self.reached && self.case.faults.len() == 1 {
            all.push("the fault was not reached".to_owned());
        }
        // What passes changes no outcome; what a person must allow does.
        let passes = !self.case.has(Fault::AccessDenied);
        if passes && self.verdict.outcome != self.case.plot.good_end() {
            all.push(format!(
                "a fault that passes ended in {}",
                self.verdict.outcome
            ));
        }
        all
    }
}

/// What becomes of the restore that is tried, and whose calls go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Plot {
    /// It runs to its end; all its calls go wrong.
    Whole,
    /// It may not make its reader and is undone; the calls of Undo, WaitForUndo and NotifyFailure go wrong.
    Undone,
    /// Its execution is stopped while its cluster is being made, and the reaper ends it; the reaper's calls go wrong.
    Stopped,
}

impl Plot {
    /// Every plot.
    pub(crate) const ALL: [Self; 3] = [Self::Whole, Self::Undone, Self::Stopped];

    /// As it stands before a case.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Undone => "undone",
            Self::Stopped => "stopped",
        }
    }

    /// What goes wrong to begin with.
    fn given(self) -> Option<(Fault, Call)> {
        let call = "aurora-restore-restore rds:CreateDBInstance#2";
        (self == Self::Undone).then(|| (Fault::AccessDenied, call.parse().unwrap()))
    }

    /// Whether the call at this place of a recording is one of those that go wrong.
    fn has(self, recording: &[Recorded], place: usize) -> bool {
        let is_reapers = recording[place].call.function.ends_with("-reap");
        match self {
            Self::Whole => !is_reapers,
            Self::Stopped => is_reapers,
            Self::Undone => {
                let before = recording[..place].iter();
                !is_reapers
                    && recording[place].call != self.given().unwrap().1
                    && before
                        .filter(|made| made.call == self.given().unwrap().1)
                        .count()
                        > 0
                    && !recording[place].call.function.ends_with("-restore")
            }
        }
    }

    /// How it ends when whatever goes wrong passes.
    fn good_end(self) -> &'static str {
        match self {
            Self::Whole => "Restored",
            Self::Undone | Self::Stopped => "FailedClean",
        }
    }
}

/// A restore that was recorded, and the worlds it is tried in.
pub(crate) struct Matrix {
    seed: u64,
    plot: Plot,
    original: Original,
    recording: Vec<Recorded>,
    /// What the recorded run came to.
    pub(crate) undisturbed: Tried,
    /// How many strangers stand around.
    pub(crate) decoys: usize,
    dress: fn(&Scene),
}

impl Matrix {
    /// Records a restore that nothing disturbs. `dress` may change the deployment of each world.
    pub(crate) fn record(seed: u64, plot: Plot, dress: fn(&Scene)) -> Self {
        in_virtual_time(async move {
            let original = Original::make(seed).await;
            let nothing = Case {
                plot,
                faults: Vec::new(),
            };
            let world = Trial::new(&original, seed, dress, &nothing, &[]).await;
            let decoys = world.decoys;
            let (undisturbed, recording) = world.run(nothing).await;
            Self {
                seed,
                plot,
                original,
                recording,
                undisturbed,
                decoys,
                dress,
            }
        })
    }

    /// The calls that go wrong, in the order of the undisturbed run.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (usize, &Recorded)> {
        let calls = self.recording.iter().enumerate();
        calls.filter(|(place, _)| self.plot.has(&self.recording, *place))
    }

    /// Every call times every kind that means something for it.
    pub(crate) fn single_faults(&self) -> Vec<Case> {
        let of_call = |(place, made): (usize, &Recorded)| {
            let (plot, call) = (self.plot, made.call.clone());
            let faults = made.faults(&self.recording[..place]).into_iter();
            faults.map(move |fault| Case {
                plot,
                faults: vec![(fault, call.clone())],
            })
        };
        self.calls().flat_map(of_call).collect()
    }

    /// Every pair of faults that strike after the effect of two different calls that change something.
    pub(crate) fn pairs(&self) -> Vec<Case> {
        let after: Vec<(Fault, Call)> = self
            .single_faults()
            .into_iter()
            .filter_map(|case| case.faults.into_iter().next())
            .filter(|(fault, call)| fault.is_after_effect() && call.is_mutating())
            .collect();
        let pairs = after.iter().enumerate().flat_map(|(place, first)| {
            let others = after[place + 1..].iter();
            others
                .filter(|second| first.1 != second.1)
                .map(|second| Case {
                    plot: self.plot,
                    faults: vec![first.clone(), second.clone()],
                })
        });
        pairs.collect()
    }

    /// One case of each kind, at a call that the seed chooses.
    pub(crate) fn one_of_each_kind(&self) -> Vec<Case> {
        let all = self.single_faults();
        let mut random = rand::rngs::StdRng::seed_from_u64(self.seed);
        let choose = |fault: Fault| {
            let of_kind: Vec<_> = all
                .iter()
                .filter(|case| case.faults[0].0 == fault)
                .collect();
            of_kind[random.random_range(0..of_kind.len())].clone()
        };
        Fault::ALL.into_iter().map(choose).collect()
    }

    /// Tries one case.
    pub(crate) fn try_case(&self, case: &Case) -> Tried {
        in_virtual_time(async {
            let world = Trial::new(&self.original, self.seed, self.dress, case, &self.recording);
            world.await.run(case.clone()).await.0
        })
    }

    /// Whether the undisturbed run ended as it should.
    pub(crate) fn is_sound(&self) -> bool {
        let verdict = &self.undisturbed.verdict;
        verdict.complaints.is_empty() && verdict.outcome == self.plot.good_end()
    }
}

/// Tries cases, each in the matrix that `of` gives it, so many at a time; `done` hears of each.
pub(crate) fn try_all<'a>(
    cases: &[Case],
    threads: usize,
    of: impl Fn(&Case) -> &'a Matrix + Sync,
    done: impl Fn(usize, &Tried) + Sync,
) -> Vec<Tried> {
    let (next, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let tried = Mutex::new(Vec::with_capacity(cases.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(place) else { break };
                    let outcome = catch_unwind(AssertUnwindSafe(|| of(case).try_case(case)))
                        .unwrap_or_else(|_| Tried::panicked(case));
                    done(finished.fetch_add(1, Ordering::Relaxed) + 1, &outcome);
                    tried.lock().unwrap().push((place, outcome));
                }
            });
        }
    });
    let mut tried = tried.into_inner().unwrap();
    tried.sort_by_key(|(place, _)| *place);
    tried.into_iter().map(|(_, tried)| tried).collect()
}

/// A world with a source, strangers, and faults that are armed.
struct Trial {
    scene: Scene,
    faults: std::sync::Arc<Faults>,
    before: Before,
    decoys: usize,
    request: Value,
}

impl Trial {
    async fn new(
        original: &Original,
        seed: u64,
        dress: fn(&Scene),
        case: &Case,
        recording: &[Recorded],
    ) -> Self {
        let mut scene = Scene::of(original, options(seed)).await;
        dress(&scene);
        scene.reaper_comes(false).await;
        let request = scene.request_of_every_step().await;
        let decoys = decoys::place(&scene).await;
        scene.begin();
        let before = Before {
            decoys: decoys::describe(&scene).await,
            at: scene.local.cloud.world().now(),
            forbidden: case
                .faults
                .iter()
                .filter(|(fault, _)| *fault == Fault::AccessDenied)
                .map(|(_, call)| call.clone())
                .collect(),
        };
        let cloud = &scene.local.cloud;
        let faults = Faults::new(cloud.world(), cloud.lambda());
        cloud.world().add_layer(faults.clone());
        for (fault, call) in case.plot.given().iter().chain(&case.faults) {
            faults.arm(call.clone(), *fault, recording);
        }
        Self {
            scene,
            faults,
            before,
            decoys,
            request,
        }
    }

    async fn run(self, case: Case) -> (Tried, Vec<Recorded>) {
        let scene = &self.scene;
        let execution = scene.start(RESTORE_ID, self.request.clone()).await;
        if case.plot == Plot::Stopped {
            scene.until_state(&execution, "WaitForCluster").await;
            scene.reaper_comes(true).await;
            execution.stop(None, None);
        }
        let ended = tokio::time::timeout(LONGEST, execution.finished()).await;
        // What it says at its end has to be true then, and not once the reaper has been there.
        let mut at_the_end = Vec::new();
        if case.plot == Plot::Stopped {
            scene.sleep(REAPED_IN).await;
        } else {
            at_the_end = verdict::at_the_end(scene, &execution).await;
        }
        let recorded = self.faults.recorded();
        if case.has(Fault::InvokedLate) {
            scene.sleep(Fault::INVOKED_LATE_BY).await;
        }
        scene.reaper_comes(true).await;
        scene.sleep(SETTLES_IN).await;
        if case.plot == Plot::Stopped {
            scene.sleep(REAPED_IN).await; // a reaper that was held up has had its time
        }
        let mut verdict = verdict::judge(scene, &execution, &self.before).await;
        verdict.complaints.extend(at_the_end);
        if ended.is_err() {
            verdict.complaints.push("it did not end".to_owned());
        }
        let mut trace = execution.history().states_entered();
        trace.extend(
            self.faults
                .recorded()
                .iter()
                .map(|made| made.call.to_string()),
        );
        let reached = case
            .faults
            .iter()
            .all(|(fault, call)| self.faults.reached(call, *fault));
        let tried = Tried {
            case,
            reached,
            verdict,
            trace,
        };
        self.scene.local.shutdown().await;
        (tried, recorded)
    }
}

/// RDS is quick where slowness would only add more looks and passes of the same kind: each wait still looks twice.
fn options(seed: u64) -> LocalOptions {
    let mut options = LocalOptions::in_process(seed);
    let durations = &mut options.rds.durations;
    durations.copy_queue_across_regions = Duration::from_secs(30);
    durations.copy_per_gib = Duration::ZERO;
    durations.copy_snapshot = Duration::from_secs(60);
    durations.restore_cluster = Duration::from_secs(200);
    durations.restore_per_gib = Duration::ZERO;
    durations.create_instance = Duration::from_secs(200);
    options
}

/// Whether two runs took the same way.
pub(crate) fn fingerprint(tried: &[Tried]) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    for one in tried {
        (one.case.to_string(), &one.trace, &one.verdict.outcome).hash(&mut hasher);
    }
    hasher.finish()
}
