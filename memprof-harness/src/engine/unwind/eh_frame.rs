//! The format of unwind tables: `.eh_frame` and its index `.eh_frame_hdr`, read where a loaded object has them.
//!
//! It is that of the Linux Standard Base with the instructions of DWARF 5, section 6.4.2. What of it does not occur at calls is
//! refused, and the walk that meets it is marked.

#![allow(unsafe_code)] // reads the tables of loaded objects

use crate::engine::unwind::code_at::Object;
use crate::engine::unwind::tables::{Base, Found, Rule};

/// Numbers of registers (System V ABI for x86-64, figure 3.36).
const FRAME: u64 = 6;
const STACK: u64 = 7;
const ADDRESS: u64 = 16;

/// What the tables of `object` say of the call at `call`, and where its function ends. `None`: nothing.
pub(crate) fn find(object: Object, call: usize) -> Option<(Found, usize)> {
    let (entry, end) = entry_at(object, call)?;
    let function = entry.start as u64;
    let rule = entry.run(call).and_then(|row| row.rule()).unwrap_or(Rule::Unknown);
    Some((Found { rule, function }, end))
}

/// Where the last function ends that begins before `address` and has a table; where there is none, where the object begins.
pub(crate) fn end_before(object: Object, address: usize) -> usize {
    last_entry(object, address).map_or(object.start, |(_, end)| end)
}

/// Whether there is a table for an address.
pub(crate) fn has(object: Object, address: usize) -> bool {
    entry_at(object, address).is_some()
}

/// Whether a function begins at an address.
pub(crate) fn begins_at(object: Object, address: usize) -> bool {
    entry_at(object, address).is_some_and(|(entry, _)| entry.start == address)
}

/// Where to read in an object.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    at: usize,
    end: usize,
}

impl Cursor {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let next = self.at.checked_add(N).filter(|&next| next <= self.end)?;
        // SAFETY: what the index and the tables of a loaded object lead to is mapped and constant, as for the unwinder that
        // throws through it, and it was seen to lie in the object. The object is loaded: code of it is on the stack.
        let bytes = unsafe { (self.at as *const [u8; N]).read() };
        self.at = next;
        Some(bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.bytes().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// DWARF 5, section 7.6.
    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let unused = 64 - (shift + 7).min(64);
                return Some(value << unused >> unused);
            }
        }
        None
    }

    /// A pointer (Linux Standard Base, "DWARF extensions").
    fn pointer(&mut self, encoding: u8) -> Option<usize> {
        let here = self.at;
        let value = match encoding & 0x0f {
            0x00 | 0x04 | 0x0c => self.u64()?,
            0x01 => self.unsigned()?,
            0x02 => u64::from(self.u16()?),
            0x03 => u64::from(self.u32()?),
            0x09 => self.signed()? as u64,
            0x0a => i64::from(self.u16()? as i16) as u64,
            0x0b => i64::from(self.i32()?) as u64,
            _ => return None,
        };
        match encoding & 0xf0 {
            0x00 => Some(value as usize),
            0x10 => Some(here.wrapping_add(value as usize)),
            _ => None,
        }
    }

    fn skip(&mut self, len: usize) -> Option<()> {
        self.at = self.at.checked_add(len).filter(|&next| next <= self.end)?;
        Some(())
    }

    /// The next `len` bytes, which are passed over.
    fn part(&mut self, len: usize) -> Option<Cursor> {
        let at = self.at;
        self.skip(len)?;
        Some(Cursor { at, end: self.at })
    }
}

/// What is said of one function, and of all whose description begins alike.
struct Entry {
    start: usize,
    code_unit: u64,
    data_unit: i64,
    common: Cursor,
    own: Cursor,
}

/// Finds the entry of the function that holds `call`. Gives where the function ends, too.
fn entry_at(object: Object, call: usize) -> Option<(Entry, usize)> {
    last_entry(object, call).filter(|(entry, end)| (entry.start..*end).contains(&call))
}

/// Finds the last entry up to `call` in the index: a table of functions by their beginning, sorted. Gives where the function ends, too.
fn last_entry(object: Object, call: usize) -> Option<(Entry, usize)> {
    const SORTED_TABLE: u8 = 0x3b;
    let index = object.index?;
    let mut cursor = Cursor { at: index, end: object.end };
    let [version, tables, count, table] = cursor.bytes()?;
    if version != 1 || table != SORTED_TABLE {
        return None;
    }
    cursor.pointer(tables)?;
    let count = cursor.pointer(count)?;
    let first = cursor.at;
    let entry = |i: usize| -> Option<(usize, usize)> {
        let mut cursor = Cursor { at: first.checked_add(i.checked_mul(8)?)?, end: object.end };
        let mut next = || cursor.i32().map(|way| index.wrapping_add(way as isize as usize));
        Some((next()?, next()?))
    };
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if entry(middle)?.0 <= call {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let (_, description) = entry(low.checked_sub(1)?)?;
    let (entry, len) = description_at(description, object)?;
    let end = entry.start.checked_add(len)?;
    Some((entry, end))
}

/// Reads a function's description. Gives how long the function is, too.
fn description_at(at: usize, object: Object) -> Option<(Entry, usize)> {
    let mut cursor = Cursor { at, end: object.end };
    let len = cursor.u32()? as usize;
    let mut own = cursor.part(len)?;
    let way = own.u32()? as usize;
    let mut cursor = Cursor { at: (own.at - 4).checked_sub(way)?, end: object.end };
    let len = cursor.u32()? as usize;
    let mut common = cursor.part(len)?;
    let is_common = common.u32()? == 0;
    let version = common.u8()?;
    if !is_common || !matches!(version, 1 | 3) {
        return None;
    }
    let (mut encoding, mut augmented) = (0, false);
    let mut letters = common;
    while common.u8()? != 0 {}
    let code_unit = common.unsigned()?;
    let data_unit = common.signed()?;
    let address = if version == 1 { u64::from(common.u8()?) } else { common.unsigned()? };
    if address != ADDRESS {
        return None;
    }
    loop {
        match letters.u8()? {
            0 => break,
            b'z' => {
                augmented = true;
                common.unsigned()?;
            }
            b'R' => encoding = common.u8()?,
            b'L' => _ = common.u8()?,
            b'P' => {
                let encoding = common.u8()?;
                // Whether it is looked up through a pointer does not matter: it is passed over.
                common.pointer(encoding & 0x7f)?;
            }
            // A signal handler returns there, which its instructions say as well.
            b'S' => {}
            _ => return None,
        }
    }
    let start = own.pointer(encoding)?;
    let len = own.pointer(encoding & 0x0f)?;
    if augmented {
        let len = own.unsigned()?;
        own.skip(len as usize)?;
    }
    Some((Entry { start, code_unit, data_unit, common, own }, len))
}

/// Where a frame ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Register(u64, i64),
    /// What lies `.1` above a register, and `.2` above that.
    Through(u64, i64, i64),
    Unknown,
}

/// Where what a register held is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nobody said: where it is.
    Same,
    FromEnd(i64),
    FromRegister(u64, i64),
    /// It is gone: of the return address, there is none.
    Undefined,
    Unknown,
}

/// What is said of one address.
#[derive(Debug, Clone, Copy)]
struct Row {
    end: End,
    frame: Place,
    address: Place,
}

impl Row {
    const NOTHING: Row = Row { end: End::Unknown, frame: Place::Same, address: Place::Same };

    fn rule(self) -> Option<Rule> {
        let distance = |bytes: i64| u32::try_from(bytes).ok();
        let below = |place: Place| match place {
            Place::FromEnd(bytes) => distance(-bytes),
            _ => None,
        };
        if self.address == Place::Undefined {
            return Some(Rule::Outermost);
        }
        match self.end {
            End::Register(register, end) => {
                if below(self.address)? != 8 {
                    return None;
                }
                let frame = match self.frame {
                    Place::Same => None,
                    place => Some(below(place)?),
                };
                let (base, end) = (base(register)?, distance(end)?);
                if (base, end, frame) == (Base::Frame, 16, Some(16)) {
                    return Some(Rule::FramePointer);
                }
                Some(Rule::Table { base, end, frame })
            }
            End::Through(FRAME, link, end) => match self.frame {
                Place::FromRegister(FRAME, frame) if end == 0 && below(self.address)? == 8 => {
                    Some(Rule::Aligned { end: distance(link.checked_neg()?)?, frame: distance(frame.checked_neg()?)? })
                }
                frame => Some(Rule::Switch {
                    link: distance(link)?,
                    end: distance(end)?,
                    address: below(self.address)?,
                    frame: below(frame)?,
                }),
            },
            End::Through(STACK, stack, 0) => {
                let above = |place: Place| match place {
                    Place::FromRegister(STACK, bytes) => distance(bytes),
                    _ => None,
                };
                Some(Rule::Signal { stack: distance(stack)?, address: above(self.address)?, frame: above(self.frame)? })
            }
            _ => None,
        }
    }
}

fn base(register: u64) -> Option<Base> {
    match register {
        FRAME => Some(Base::Frame),
        STACK => Some(Base::Stack),
        _ => None,
    }
}

/// Rows that may be set aside at once; compilers need one.
const MOST_KEPT: usize = 4;

impl Entry {
    /// What is said of the call at `call`. `None` where the instructions cannot be followed.
    fn run(&self, call: usize) -> Option<Row> {
        let mut rows = Rows { now: Row::NOTHING, first: Row::NOTHING, kept: [Row::NOTHING; MOST_KEPT], len: 0 };
        self.follow(self.common, usize::MAX, &mut rows)?;
        rows.first = rows.now;
        self.follow(self.own, call, &mut rows)?;
        Some(rows.now)
    }

    /// Follows instructions as far as they are about `call`.
    fn follow(&self, mut code: Cursor, call: usize, rows: &mut Rows) -> Option<()> {
        let mut at = self.start;
        let factored = |value: i64| value.checked_mul(self.data_unit);
        while code.at < code.end {
            let byte = code.u8()?;
            let low = u64::from(byte & 0x3f);
            match byte >> 6 {
                1 => at = self.advance(at, low)?,
                2 => {
                    let place = Place::FromEnd(factored(i64::try_from(code.unsigned()?).ok()?)?);
                    rows.set(low, place);
                }
                3 => rows.restore(low),
                _ => match byte {
                    0x00 => {}
                    0x02 => at = self.advance(at, u64::from(code.u8()?))?,
                    0x03 => at = self.advance(at, u64::from(code.u16()?))?,
                    0x04 => at = self.advance(at, u64::from(code.u32()?))?,
                    0x05 => {
                        let register = code.unsigned()?;
                        rows.set(register, Place::FromEnd(factored(i64::try_from(code.unsigned()?).ok()?)?));
                    }
                    0x06 => rows.restore(code.unsigned()?),
                    0x07 => rows.set(code.unsigned()?, Place::Undefined),
                    0x08 => rows.set(code.unsigned()?, Place::Same),
                    0x09 => {
                        let register = code.unsigned()?;
                        code.unsigned()?;
                        rows.set(register, Place::Unknown);
                    }
                    0x0a => {
                        *rows.kept.get_mut(rows.len)? = rows.now;
                        rows.len += 1;
                    }
                    0x0b => {
                        rows.len = rows.len.checked_sub(1)?;
                        rows.now = *rows.kept.get(rows.len)?;
                    }
                    0x0c => {
                        let register = code.unsigned()?;
                        rows.now.end = End::Register(register, i64::try_from(code.unsigned()?).ok()?);
                    }
                    0x0d => {
                        let End::Register(_, offset) = rows.now.end else { return None };
                        rows.now.end = End::Register(code.unsigned()?, offset);
                    }
                    0x0e => {
                        let End::Register(register, _) = rows.now.end else { return None };
                        rows.now.end = End::Register(register, i64::try_from(code.unsigned()?).ok()?);
                    }
                    0x0f => {
                        let len = code.unsigned()? as usize;
                        rows.now.end = end_through(code.part(len)?).unwrap_or(End::Unknown);
                    }
                    0x10 => {
                        let register = code.unsigned()?;
                        let len = code.unsigned()? as usize;
                        let place = from_register(&mut code.part(len)?, true);
                        rows.set(register, place.map_or(Place::Unknown, |(base, way)| Place::FromRegister(base, way)));
                    }
                    0x11 => {
                        let register = code.unsigned()?;
                        rows.set(register, Place::FromEnd(factored(code.signed()?)?));
                    }
                    0x12 => {
                        let register = code.unsigned()?;
                        rows.now.end = End::Register(register, factored(code.signed()?)?);
                    }
                    0x13 => {
                        let End::Register(register, _) = rows.now.end else { return None };
                        rows.now.end = End::Register(register, factored(code.signed()?)?);
                    }
                    0x14 => {
                        let register = code.unsigned()?;
                        code.unsigned()?;
                        rows.set(register, Place::Unknown);
                    }
                    0x15 => {
                        let register = code.unsigned()?;
                        code.signed()?;
                        rows.set(register, Place::Unknown);
                    }
                    0x16 => {
                        let register = code.unsigned()?;
                        let len = code.unsigned()? as usize;
                        code.skip(len)?;
                        rows.set(register, Place::Unknown);
                    }
                    // The size of arguments on the stack, which is in the end's distance already.
                    0x2e => _ = code.unsigned()?,
                    _ => return None,
                },
            }
            if at > call {
                break;
            }
        }
        Some(())
    }

    fn advance(&self, at: usize, units: u64) -> Option<usize> {
        at.checked_add(usize::try_from(units.checked_mul(self.code_unit)?).ok()?)
    }
}

/// The row as it is, and those that are set aside.
struct Rows {
    now: Row,
    /// As all functions with this description begin.
    first: Row,
    kept: [Row; MOST_KEPT],
    len: usize,
}

impl Rows {
    fn set(&mut self, register: u64, place: Place) {
        match register {
            FRAME => self.now.frame = place,
            ADDRESS => self.now.address = place,
            _ => {}
        }
    }

    fn restore(&mut self, register: u64) {
        match register {
            FRAME => self.now.frame = self.first.frame,
            ADDRESS => self.now.address = self.first.address,
            _ => {}
        }
    }
}

/// A place that is a distance from a register: `DW_OP_breg`, and nothing else where that is `all`.
fn from_register(code: &mut Cursor, all: bool) -> Option<(u64, i64)> {
    let operation = code.u8()?;
    let register = u64::from(operation.checked_sub(0x70)?);
    let distance = code.signed()?;
    (register < 32 && (!all || code.at == code.end)).then_some((register, distance))
}

/// A place that a pointer at a distance from a register leads to: `DW_OP_breg`, `DW_OP_deref`, and perhaps `DW_OP_plus_uconst`.
fn end_through(mut code: Cursor) -> Option<End> {
    let (register, link) = from_register(&mut code, false)?;
    if code.u8()? != 0x06 {
        return None;
    }
    if code.at == code.end {
        return Some(End::Through(register, link, 0));
    }
    let plus = code.u8()? == 0x23;
    let end = i64::try_from(code.unsigned()?).ok()?;
    (plus && code.at == code.end).then_some(End::Through(register, link, end))
}
