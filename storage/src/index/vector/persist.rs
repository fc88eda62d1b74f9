//! Which file holds what, and how each is read back: rows and codes per segment, the centre, the graph.
//!
//! Invariants: the rows files decide which vectors are there; every other file is checked against them or can be made
//! from them. Bit sets, codes and centre are verified when they are opened; a matrix (the bulk) later by maintenance,
//! until when a damaged row can only score wrongly; a graph before its first use.

use std::ops::Range;

use super::super::bitmap::Bitmap;
use super::column::{Column, SlotBits};
use super::error::{FileFault, Finding, VectorError};
use super::file::{Folder, Framed, Kind, Label};
use super::graph::GraphShape;
use super::segment::{SEGMENT_ROWS, SEGMENT_WORDS, Segment, Shape};
use super::signs::Centre;

const CENTRE_NAME: &str = "centre.vec";
const GRAPH_NAME: &str = "graph.vec";

pub(super) fn rows_name(segment: u32) -> String {
    format!("rows-{segment:06}.vec")
}

pub(super) fn codes_name(segment: u32) -> String {
    format!("codes-{segment:06}.vec")
}

/// The segment number in the name of a rows file.
fn rows_number(name: &str) -> Option<u32> {
    let number = name.strip_prefix("rows-")?.strip_suffix(".vec")?.parse().ok()?;
    (rows_name(number) == name).then_some(number)
}

fn fault(file: String, fault: FileFault) -> Finding {
    Finding { file, fault }
}

impl Folder {
    /// Numbers of the segments that have a rows file, ascending. Leftovers of interrupted writes are removed.
    pub(super) fn segment_numbers(&self) -> Result<Vec<u32>, VectorError> {
        let names = self.list()?;
        for leftover in names.iter().filter(|name| name.ends_with(".vec.tmp")) {
            self.remove(leftover)?;
        }
        Ok(names.iter().filter_map(|name| rows_number(name)).collect())
    }

    /// Reads the centre; `None` if there is none.
    pub(super) fn read_centre(&self, dimension: u16) -> Result<Option<Centre>, Finding> {
        let Some(file) = self.open(CENTRE_NAME, Kind::Centre)? else { return Ok(None) };
        let found = |reason| fault(CENTRE_NAME.to_owned(), reason);
        if !file.verify(0) {
            return Err(found(FileFault::Checksum));
        }
        let (_, bytes) = file.section(0).ok_or_else(|| found(FileFault::Truncated))?;
        let numbers: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect();
        if numbers.len() != usize::from(dimension) {
            return Err(found(FileFault::Unfitting));
        }
        Ok(Some(Centre::from_numbers(numbers, file.label.rows)))
    }

    /// Writes the centre.
    pub(super) fn write_centre(&self, centre: &Centre) -> Result<(), VectorError> {
        let bytes: Vec<u8> = centre.numbers().iter().flat_map(|n| n.to_le_bytes()).collect();
        let label = Label { kind: Kind::Centre, ordinal: 0, rows: centre.rows, centre: [0; 32] };
        self.write(CENTRE_NAME, label, &[&bytes])
    }

    /// Opens a segment's rows and, if they fit, its codes. The matrix is not verified yet: the returned file is to be.
    pub(super) fn read_segment(
        &self,
        number: u32,
        shape: Shape,
        centre: &Centre,
        findings: &mut Vec<Finding>,
    ) -> Result<(Segment, Framed), Finding> {
        let name = rows_name(number);
        let found = |reason| fault(name.clone(), reason);
        let file = self.open(&name, Kind::Rows)?.ok_or_else(|| found(FileFault::Unreadable))?;
        if file.label.ordinal != number {
            return Err(found(FileFault::Foreign));
        }
        if !file.verify(0) {
            return Err(found(FileFault::Checksum));
        }
        let (_, written) = file.section(0).ok_or_else(|| found(FileFault::Truncated))?;
        let written = SlotBits::from_words(words(written));
        if written.words().count() != SEGMENT_WORDS || written.count() != file.label.rows {
            return Err(found(FileFault::Unfitting));
        }
        let rows =
            Self::column(&file, 1, shape.rows_len()).ok_or_else(|| found(FileFault::Truncated))?;
        let codes = self.read_codes(number, shape, centre, file.label.rows).unwrap_or_else(|bad| {
            findings.push(bad);
            None
        });
        Ok((Segment::from_file(shape, rows, codes, written, centre), file))
    }

    /// The codes of a segment, if they were made with this centre for this many rows.
    fn read_codes(
        &self,
        number: u32,
        shape: Shape,
        centre: &Centre,
        rows: u32,
    ) -> Result<Option<Column<u64>>, Finding> {
        let name = codes_name(number);
        let Some(file) = self.open(&name, Kind::Codes)? else { return Ok(None) };
        if !file.verify(0) {
            return Err(fault(name, FileFault::Checksum));
        }
        let fits = file.label.ordinal == number
            && file.label.rows == rows
            && file.label.centre == centre.digest();
        match Self::column(&file, 0, shape.codes_len()) {
            Some(codes) if fits => Ok(Some(codes)),
            _ => Err(fault(name, FileFault::Unfitting)),
        }
    }

    fn column<T: super::column::Plain>(
        file: &Framed,
        section: usize,
        len: usize,
    ) -> Option<Column<T>> {
        let (offset, bytes) = file.section(section)?;
        (bytes.len() == len * size_of::<T>())
            .then(|| Column::in_file(&file.bytes, offset, len))
            .flatten()
    }

    /// Writes a segment nobody adds to, and gives its columns back, served from the files.
    pub(super) fn write_segment(
        &self,
        number: u32,
        shape: Shape,
        segment: &Segment,
        centre: &Centre,
    ) -> Result<(Column<u16>, Column<u64>), VectorError> {
        let codes = self.write_codes(number, shape, segment, centre)?;
        let written: Vec<u8> = segment.written().words().flat_map(u64::to_le_bytes).collect();
        let label = Label {
            kind: Kind::Rows,
            ordinal: number,
            rows: segment.written().count(),
            centre: [0; 32],
        };
        let name = rows_name(number);
        // SAFETY: nobody adds to the segment.
        self.write(&name, label, &[&written, unsafe { segment.rows().bytes() }])?;
        let rows = self
            .open(&name, Kind::Rows)
            .ok()
            .flatten()
            .and_then(|file| Self::column(&file, 1, shape.rows_len()));
        Ok((rows.ok_or_else(|| unread(name))?, codes))
    }

    /// Writes the codes of a segment nobody adds to, and gives them back, served from the file.
    pub(super) fn write_codes(
        &self,
        number: u32,
        shape: Shape,
        segment: &Segment,
        centre: &Centre,
    ) -> Result<Column<u64>, VectorError> {
        let label = Label {
            kind: Kind::Codes,
            ordinal: number,
            rows: segment.written().count(),
            centre: centre.digest(),
        };
        let name = codes_name(number);
        // SAFETY: nobody adds to the segment.
        self.write(&name, label, &[unsafe { segment.codes().bytes() }])?;
        self.open(&name, Kind::Codes)
            .ok()
            .flatten()
            .and_then(|file| Self::column(&file, 0, shape.codes_len()))
            .ok_or_else(|| unread(name))
    }

    /// Removes the files of a segment.
    pub(super) fn remove_segment(&self, number: u32) -> Result<(), VectorError> {
        self.remove(&rows_name(number))?;
        self.remove(&codes_name(number))
    }

    /// Opens the graph file; `None` if there is none. Nothing but its header is verified yet.
    pub(super) fn open_graph(&self) -> Result<Option<Framed>, Finding> {
        self.open(GRAPH_NAME, Kind::Graph)
    }

    /// Verifies a graph file and reads who is in it and where the graph lies.
    pub(super) fn read_graph(
        file: &Framed,
        shape: GraphShape,
    ) -> Result<(Bitmap, Range<usize>), Finding> {
        let found = |reason| fault(GRAPH_NAME.to_owned(), reason);
        if !(file.verify(0) && file.verify(1)) {
            return Err(found(FileFault::Checksum));
        }
        let sections = file.section(0).zip(file.section(1));
        let ((_, members), (offset, graph)) =
            sections.ok_or_else(|| found(FileFault::Truncated))?;
        let members: Vec<u64> = words(members).collect();
        let bound = u32::try_from(members.len() * 64).map_err(|_| found(FileFault::Unfitting))?;
        let members = Bitmap::from_words(members, bound);
        if members.count() != file.label.rows || file.label.ordinal != ordinal(shape) {
            return Err(found(FileFault::Unfitting));
        }
        Ok((members, offset..offset + graph.len()))
    }

    /// Writes a graph and opens the file.
    pub(super) fn write_graph(
        &self,
        members: &Bitmap,
        shape: GraphShape,
        graph: &[u8],
    ) -> Result<Framed, VectorError> {
        let words: Vec<u8> = members.words().iter().flat_map(|word| word.to_le_bytes()).collect();
        let label = Label {
            kind: Kind::Graph,
            ordinal: ordinal(shape),
            rows: members.count(),
            centre: [0; 32],
        };
        self.write(GRAPH_NAME, label, &[&words, graph])?;
        self.open_graph().ok().flatten().ok_or_else(|| unread(GRAPH_NAME.to_owned()))
    }

    /// Removes the graph file.
    pub(super) fn remove_graph(&self) -> Result<(), VectorError> {
        self.remove(GRAPH_NAME)
    }

    /// Removes the file a finding is about.
    pub(super) fn remove_found(&self, finding: &Finding) -> Result<(), VectorError> {
        self.remove(&finding.file)
    }
}

/// A graph of another shape is another graph: the shape takes the place of the segment number.
fn ordinal(shape: GraphShape) -> u32 {
    u32::from(shape.connectivity) << 16 | u32::from(shape.expansion_add)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks_exact(8).map(|eight| {
        let mut word = [0; 8];
        word.copy_from_slice(eight);
        u64::from_le_bytes(word)
    })
}

fn unread(name: String) -> VectorError {
    let source = std::io::Error::other("what was just written could not be read back");
    VectorError::File { name, source }
}

const _: () = assert!(SEGMENT_ROWS as usize == SEGMENT_WORDS * 64);
