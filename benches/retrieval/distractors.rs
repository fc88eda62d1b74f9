//! Memories that answer no question: sentences put together at random from the vocabulary of the
//! same projects, so that the words of a question occur in many of them.
//!
//! Invariant: a pure function of seed and count; the generator is written out because those of
//! libraries change between versions.
//!
//! Not here: truth. Nothing in these texts is meant.

use super::collection::Entry;

const SUBJECTS: &[&str] = &[
    "the billing job",
    "valve 12",
    "the old parser",
    "crane two",
    "the reception desk",
    "the night agent",
    "the build cache",
    "the east gate",
    "the vaccine list",
    "the cellar pump",
    "the review team",
    "the checkout page",
    "the soil probe",
    "the symbol table",
    "the yard planner",
    "the calendar feed",
    "the release branch",
    "the game server",
    "the loot table",
    "the mail relay",
    "the second fridge",
    "the guest network",
    "the choir",
    "the tax adviser",
    "the ferry office",
    "the backup host",
    "the access log",
    "the session store",
    "the coupon service",
    "the weather mast",
    "the type checker",
    "the customs office",
    "the label printer",
    "the crowd system",
    "the planner agent",
    "the DNS zone",
    "the message broker",
    "the payment form",
    "the harbour pilot",
    "the school",
    "the on-call engineer",
    "the formatter",
    "the third boss",
    "the drip line",
    "the microscope",
    "the freezer",
    "the editor",
    "the works council",
    "the lease",
    "the sequencing run",
    "the news archive",
];
const ACTIONS: &[&str] = &[
    "was restarted after",
    "waits for",
    "reports",
    "is checked before",
    "ignores",
    "was moved behind",
    "depends on",
    "slowed down because of",
    "was tested with",
    "is billed for",
    "fails without",
    "replaces",
    "needs",
    "writes to",
    "was blamed for",
    "is older than",
    "sends a message about",
    "is measured by",
    "was approved with",
    "runs beside",
    "copies",
    "opens after",
    "is limited by",
];
const OBJECTS: &[&str] = &[
    "the nightly backup",
    "a missing certificate",
    "the second queue",
    "the weekly budget",
    "a customer refund",
    "the frost warning",
    "the trait cache",
    "a late container",
    "the flu dose",
    "the school trip",
    "the retry limit",
    "the music cue",
    "the session cookie",
    "the driver update",
    "the water meter",
    "the tide table",
    "the patient form",
    "the winter tyres",
    "the mod sandbox",
    "the debug log",
    "the feature flag",
    "the drone image",
    "the inline threshold",
    "the seal number",
    "the audit record",
    "the spare key",
    "the saved game",
    "the hand-over note",
    "the connection pool",
    "the shipping limit",
    "the battery alarm",
    "the error message",
    "the diesel tank",
    "the waiting time",
    "the ferry booking",
    "the render thread",
    "the merge window",
    "the time server",
    "the fraud score",
    "the conductivity curve",
    "the fuzzer report",
    "the rail slot",
    "the prescription",
    "the birthday list",
    "the economy curve",
    "the stale branch",
    "the disk quota",
    "the embargo",
    "the antibody order",
    "the analysis plan",
    "the patent fee",
    "the photo policy",
    "the notice period",
];
const TAILS: &[&str] = &[
    "every {n} minutes",
    "since {month}",
    "for {n} customers",
    "on {day} mornings",
    "in {n} of 100 cases",
    "until {month}",
    "with {n} percent less memory",
    "after {n} failed attempts",
    "at {n} degrees",
    "for the third time",
    "without anybody noticing",
    "by decision of the team",
    "twice a week",
    "in the second region",
    "on the old hardware",
    "as the contract says",
    "before {day}",
];
const MONTHS: &[&str] = &["January", "March", "May", "July", "September", "November"];
const DAYS: &[&str] = &["Monday", "Tuesday", "Wednesday", "Friday", "Saturday"];
const PROJECTS: &[&str] = &[
    "shop/checkout",
    "farm/irrigation",
    "lang/compiler",
    "port/logistics",
    "clinic/rooms",
    "home/family",
    "studio/game",
    "fleet/agents",
    "infra/platform",
    "lab/protein",
    "press/newsroom",
    "law/contracts",
];

/// SplitMix64 (Steele et al., "Fast Splittable Pseudorandom Number Generators", 2014).
pub struct SplitMix(u64);

impl SplitMix {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is small.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len() as u64) as usize]
    }
}

fn sentence(random: &mut SplitMix) -> String {
    let tail = random
        .pick(TAILS)
        .replace("{n}", &(2 + random.below(58)).to_string())
        .replace("{month}", random.pick(MONTHS))
        .replace("{day}", random.pick(DAYS));
    let (subject, action) = (random.pick(SUBJECTS), random.pick(ACTIONS));
    let text = format!("{subject} {action} {} {tail}.", random.pick(OBJECTS));
    text[..1].to_uppercase() + &text[1..]
}

/// `count` memories that answer nothing.
pub fn distractors(seed: u64, count: usize) -> Vec<Entry> {
    let mut random = SplitMix::new(seed);
    let entry = |at: usize| {
        let (subject, object) = (random.pick(SUBJECTS), random.pick(OBJECTS));
        let sentences: Vec<String> =
            (0..2 + random.below(3)).map(|_| sentence(&mut random)).collect();
        Entry {
            key: format!("distractor-{at}"),
            namespace: random.pick(PROJECTS).to_owned(),
            kind: "observation".to_owned(),
            title: format!("{} and {object}", subject[..1].to_uppercase() + &subject[1..]),
            content: sentences.join(" "),
        }
    };
    (0..count).map(entry).collect()
}
