//! What happens in a history: drawn from a seed, step by step, so that the beginning of a history is a history.

/// Small, and the same on every machine: xorshift64*.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        // Seeds are small numbers: spread their bits, and never begin with zero.
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap_or(1)).unwrap_or(0)
    }

    pub(super) fn within(&mut self, first: i64, last: i64) -> i64 {
        let count = usize::try_from(last - first + 1).unwrap_or(1);
        first + i64::try_from(self.below(count)).unwrap_or(0)
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// Accounts of a history: those of people, the first of them with one for test keys too, and one that does not exist.
pub(super) const PEOPLE: usize = 3;
pub(super) const OF_TESTS: usize = PEOPLE;
pub(super) const NOBODYS: usize = PEOPLE + 1;
/// What charges and holds are for.
pub(super) const WHATS: usize = 3;

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The clock jumps, perhaps backwards.
    Clock(i64),
    Grant {
        account: usize,
        points: i64,
        lasts: Option<i64>,
    },
    Ask {
        wishes: Vec<Wish>,
        how: How,
    },
    /// What the sweeping job does.
    Sweep(usize),
    Merge {
        younger: usize,
        older: usize,
    },
    /// Everything that is not on the disk is lost.
    Restart,
}

/// How several requests are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Each after the answer to the one before.
    InTurn,
    /// All at once.
    AtOnce,
    /// As one batch.
    Batch,
    /// All at once, and some requesters leave after a moment and ask again later.
    Impatiently { moment: usize },
    /// All at once; the process dies meanwhile, at some moment, and they are asked again after a restart.
    Dying { moment: usize },
}

/// A request before it is known what it can name.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) account: usize,
    pub(super) kind: Kind,
    pub(super) points: i64,
    pub(super) seconds: i64,
    /// Which hold, charge or earlier request is meant, counted from the last.
    pub(super) back: usize,
    /// Goes on at the other node.
    pub(super) elsewhere: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Charge,
    Hold,
    Extend,
    Capture,
    Release,
    Refund {
        whole: bool,
    },
    /// An earlier request once more.
    Again,
    /// An earlier request's key with something else.
    Reuse,
}

/// The next step; `number` counts from 0.
pub(super) fn step(random: &mut Random, number: usize) -> Step {
    if number < 2 {
        return grant(random);
    }
    match random.below(100) {
        0..8 => Step::Clock(clock(random)),
        8..24 => grant(random),
        24..27 => Step::Sweep(random.below(PEOPLE + 1)),
        27 => Step::Merge {
            younger: random.below(PEOPLE),
            older: random.below(PEOPLE),
        },
        28 => Step::Restart,
        _ => ask(random),
    }
}

fn grant(random: &mut Random) -> Step {
    let points_max = if random.one_in(2) { 30 } else { 500 };
    let lasts = match random.below(3) {
        0 => None,
        1 => Some(random.within(1, 200)),
        _ => Some(random.within(1, 5_000)),
    };
    Step::Grant {
        account: if random.one_in(2) {
            0
        } else {
            random.below(PEOPLE + 1)
        },
        points: random.within(1, points_max),
        lasts,
    }
}

fn clock(random: &mut Random) -> i64 {
    match random.below(12) {
        0 => random.within(-60, -1),
        1 => random.within(100, 400),
        2 if random.one_in(3) => random.within(20_000, 200_000),
        _ => random.within(1, 30),
    }
}

fn ask(random: &mut Random) -> Step {
    let how = match random.below(40) {
        0..12 => How::InTurn,
        12..28 => How::AtOnce,
        28..36 => How::Batch,
        36..39 => How::Impatiently {
            moment: moment(random),
        },
        _ => How::Dying {
            moment: moment(random),
        },
    };
    let count = match random.below(4) {
        0 => 1,
        1 => 2,
        _ => 1 + random.below(16),
    };
    // Mostly on one account, where their order matters.
    let main = if random.one_in(3) {
        random.below(PEOPLE)
    } else {
        0
    };
    let wishes = (0..count).map(|_| wish(random, main)).collect();
    Step::Ask { wishes, how }
}

/// Nothing has begun, something has, or much of it is done.
fn moment(random: &mut Random) -> usize {
    match random.below(3) {
        0 => random.below(3),
        1 => random.below(30),
        _ => random.below(500),
    }
}

fn wish(random: &mut Random, main: usize) -> Wish {
    let account = match random.below(50) {
        0 => NOBODYS,
        1..4 => OF_TESTS,
        4..12 => random.below(PEOPLE),
        _ => main,
    };
    let kind = match random.below(24) {
        0..9 => Kind::Charge,
        9..12 => Kind::Hold,
        12..14 => Kind::Extend,
        14..16 => Kind::Capture,
        16 => Kind::Release,
        17..20 => Kind::Refund {
            whole: random.one_in(2),
        },
        20..23 => Kind::Again,
        _ => Kind::Reuse,
    };
    let points = match random.below(80) {
        0 => 0,
        1 => super::auditor::POINTS_MAX,
        2 => super::auditor::POINTS_MAX + 1,
        3 => i64::MAX,
        4..12 => random.within(20, 90),
        _ => random.within(1, 12),
    };
    Wish {
        account,
        kind,
        points,
        seconds: random.within(-2, 90),
        // Mostly something recent.
        back: if random.one_in(4) {
            random.below(200)
        } else {
            random.below(5)
        },
        elsewhere: random.one_in(3),
    }
}
