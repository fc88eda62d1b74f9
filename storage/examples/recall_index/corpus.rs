//! Memories, queries and filters drawn from one seed: words by Zipf's law, lengths and namespaces as agents have them.

use storage::index::{Attributes, Audiences, Change, Filter, prepare};

/// First instant of the corpus; each memory is 30 s younger than the one before.
const START_MS: i64 = 1_700_000_000_000;
const STEP_MS: i64 = 30_000;
const VOCABULARY: usize = 200_000;
const COMMON: &[&str] = &[
    "the", "of", "and", "to", "a", "in", "is", "that", "for", "it", "was", "on", "with", "as",
    "be", "by", "at", "this", "have", "from", "or", "an", "not", "are", "but", "we", "they",
    "when",
];
const OWNERS: usize = 100;
const PROJECTS: usize = 200;
const TEAMS: usize = 20;

/// SplitMix64.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Log-uniform below `bound`: small numbers are common.
    fn skewed(&mut self, bound: usize) -> usize {
        ((bound as f64).powf(self.unit()) - 1.0) as usize
    }
}

/// The words and how often they occur.
pub struct Corpus {
    words: Vec<String>,
    /// Cumulative Zipf weights.
    cumulative: Vec<f64>,
}

/// A memory before it is prepared.
pub struct Memory {
    pub title: String,
    pub content: String,
    pub attributes: Attributes,
}

impl Corpus {
    pub fn new() -> Self {
        let mut rng = Rng::new(1);
        let syllables = [
            "ba", "ker", "lo", "tin", "mar", "es", "dol", "vi", "ran", "che", "pu", "ost", "gel",
            "fi",
        ];
        let word =
            |_| (0..2 + rng.below(3)).map(|_| syllables[rng.below(syllables.len())]).collect();
        let words = (0..VOCABULARY).map(word).collect();
        let mut sum = 0.0;
        let weight = |rank: usize| {
            sum += 1.0 / (rank as f64 + 8.0).powf(1.05);
            sum
        };
        Self { words, cumulative: (0..VOCABULARY).map(weight).collect() }
    }

    fn word(&self, rng: &mut Rng) -> &str {
        if rng.unit() < 0.42 {
            return COMMON[rng.skewed(COMMON.len())];
        }
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        let at = rng.unit() * total;
        &self.words[self.cumulative.partition_point(|sum| *sum < at).min(VOCABULARY - 1)]
    }

    fn text(&self, rng: &mut Rng, words: usize) -> String {
        (0..words).map(|_| self.word(rng)).collect::<Vec<_>>().join(" ")
    }

    /// The memory of a row; the same for the same row.
    pub fn memory(&self, rowid: i64) -> Memory {
        let mut rng = Rng::new(rowid as u64 * 7919 + 13);
        let (title, sentences) = (4 + rng.below(5), 1 + rng.below(5));
        let words = (0..sentences).map(|_| 8 + rng.below(14)).sum();
        let namespace = match rng.unit() {
            x if x < 0.05 => 0,
            x if x < 0.30 => 1 + rng.skewed(TEAMS),
            _ => 1 + TEAMS + rng.skewed(PROJECTS),
        };
        let author = rng.skewed(OWNERS) as u32;
        let created_ms = START_MS + rowid * STEP_MS;
        let attributes = Attributes {
            namespace: namespace as u32,
            audience: if rng.unit() < 0.8 { 0 } else { 1 + author },
            author,
            kind: rng.below(6) as u8,
            tier: rng.below(4) as u8,
            priority: 5,
            confidence_permille: 1000,
            flags: 0,
            created_ms,
            updated_ms: created_ms,
            valid_from_ms: created_ms,
            valid_until_ms: if rng.unit() < 0.95 { 0 } else { created_ms + 1 },
            expires_at_ms: 0,
            tags: vec![rng.below(32) as u32, rng.below(32) as u32],
        };
        Memory {
            title: self.text(&mut rng, title),
            content: self.text(&mut rng, words),
            attributes: attributes.sorted(),
        }
    }

    /// The change that stores a row.
    pub fn change(&self, rowid: i64) -> Change {
        let memory = self.memory(rowid);
        let prepared = prepare(&memory.title, &memory.content, []);
        Change::Put { rowid, attributes: memory.attributes, prepared }
    }

    /// Three to eight words of one memory, half of the time a contiguous span.
    pub fn question(&self, rng: &mut Rng, memories: i64) -> String {
        let memory = self.memory(rng.below(memories as usize) as i64);
        let text = format!("{} {}", memory.title, memory.content);
        let words: Vec<&str> = text.split(' ').collect();
        let count = 3 + rng.below(6);
        if rng.unit() < 0.5 {
            let from = rng.below(words.len() - count);
            return words[from..from + count].join(" ");
        }
        (0..count).map(|_| words[rng.below(words.len())]).collect::<Vec<_>>().join(" ")
    }
}

/// 0: valid now and visible; 1: and in one project, its team or the root; 2: and of one kind, three tiers, some tags and
/// the younger half.
pub fn filter(level: u8, rng: &mut Rng, memories: i64) -> Filter {
    let end_ms = START_MS + memories * STEP_MS;
    let audiences = Audiences::new(vec![0, 1 + rng.below(OWNERS) as u32]);
    let mut filter = Filter::new(audiences, end_ms);
    if level >= 1 {
        let project = rng.skewed(PROJECTS);
        let (team, project) = (1 + project / 10, 1 + TEAMS + project);
        filter = filter.namespaces([0, team as u32, project as u32]);
    }
    if level >= 2 {
        filter = filter.kinds(1 << rng.below(6)).tiers(0b111).any_tag(0..24);
        filter = filter.created_between(START_MS + memories / 2 * STEP_MS, end_ms);
    }
    filter
}
