//! Caches of keys and values: the interface, and bookkeeping of sequences.

use super::shape::Attend;

/// The id of a sequence in a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SequenceId(pub(crate) usize);

/// Consecutive new tokens of one sequence: the next rows of a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The sequence that they continue.
    pub sequence: SequenceId,
    /// Number of tokens.
    pub len: usize,
}

/// Attention that stores keys and values. A pass is [`Self::begin`], [`Attend::attend`] for each layer from
/// 0 up, and [`Self::commit`].
pub trait KvCache: Attend {
    /// Opens a sequence. With a parent, it continues from the current end of the parent and shares its
    /// tokens. The parent must not grow afterwards and must not be closed before its children.
    fn open(&mut self, parent: Option<SequenceId>) -> SequenceId;

    /// Closes a sequence and frees its storage.
    fn close(&mut self, sequence: SequenceId);

    /// Returns the number of tokens of a sequence, the parent's included.
    fn len(&self, sequence: SequenceId) -> usize;

    /// Starts a pass whose rows are `spans`.
    fn begin(&mut self, spans: &[Span]);

    /// Ends a pass after its last layer: its rows now count as tokens of their sequences.
    fn commit(&mut self);
}

/// Sequences by id. The ids of removed sequences are used again.
#[derive(Clone, Debug)]
pub(crate) struct Table<T> {
    slots: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Table<T> {
    pub(crate) fn insert(&mut self, value: T) -> SequenceId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(value);
        SequenceId(slot)
    }

    pub(crate) fn remove(&mut self, id: SequenceId) -> Option<T> {
        let removed = self.slots[id.0].take();
        if removed.is_some() {
            self.free.push(id.0);
        }
        removed
    }

    pub(crate) fn get(&self, id: SequenceId) -> &T {
        self.slots[id.0].as_ref().expect("the sequence is open")
    }

    pub(crate) fn get_mut(&mut self, id: SequenceId) -> &mut T {
        self.slots[id.0].as_mut().expect("the sequence is open")
    }
}

/// The tokens of a sequence, with `L` for each layer.
#[derive(Clone, Debug)]
pub(crate) struct Sequence<L> {
    pub(crate) parent: Option<SequenceId>,
    /// Position of the first token that is its own.
    pub(crate) start: usize,
    /// Number of its own tokens.
    pub(crate) len: usize,
    /// Its own keys and values.
    pub(crate) layers: Vec<L>,
}

/// A cache that stores the tokens of each sequence apart. A sequence stores its own tokens and refers to
/// its parent, the prompt that its group shares.
#[derive(Clone, Debug)]
pub struct SequenceCache<L> {
    pub(crate) sequences: Table<Sequence<L>>,
    /// The rows of the current pass.
    pub(crate) spans: Vec<Span>,
}

impl<L> Default for SequenceCache<L> {
    fn default() -> Self {
        Self { sequences: Table::default(), spans: Vec::new() }
    }
}

impl<L> SequenceCache<L> {
    /// Creates an empty cache.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<L> KvCache for SequenceCache<L>
where
    Self: Attend,
{
    fn open(&mut self, parent: Option<SequenceId>) -> SequenceId {
        let start = parent.map_or(0, |parent| self.len(parent));
        self.sequences.insert(Sequence { parent, start, len: 0, layers: Vec::new() })
    }

    fn close(&mut self, sequence: SequenceId) {
        self.sequences.remove(sequence);
    }

    fn len(&self, sequence: SequenceId) -> usize {
        let Sequence { start, len, .. } = self.sequences.get(sequence);
        start + len
    }

    fn begin(&mut self, spans: &[Span]) {
        self.spans = spans.to_vec();
    }

    fn commit(&mut self) {
        for span in std::mem::take(&mut self.spans) {
            self.sequences.get_mut(span.sequence).len += span.len;
        }
    }
}
