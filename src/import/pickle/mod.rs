//! `pickle` decodes Python pickles that hold plain data, and nothing else.
//!
//! A pickle is a program: it may name any function of Python and call it. This decoder calls nothing.
//! It knows the instructions that build plain data, in the protocols 0 to 5, and a handful of names from
//! the standard library that stand for plain data; at anything else it stops. Values live in one list and
//! refer to each other by number, so that neither depth nor a value in itself costs a stack.

mod encodings;
mod names;

use std::collections::HashMap;

use time::{OffsetDateTime, UtcOffset};

use encodings::{is_integer, little_endian, unescaped};
pub use names::Name;
use names::refused;

/// Largest number of values that a pickle may build.
const MAX_VALUES: usize = 1_000_000;
/// Longest line of the text instructions of protocol 0, in bytes.
const MAX_LINE: usize = 64 * 1024;

/// Why a pickle is refused; never with any of its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// It would do something else than build plain data.
    #[error("it is more than plain data: {0} is refused")]
    Refused(&'static str),
    /// An instruction that no protocol up to 5 has.
    #[error("it is no pickle: there is no instruction {0:#04x}")]
    Unknown(u8),
    /// It ends too early.
    #[error("it is cut off")]
    CutOff,
    /// An instruction does not fit what stands before it.
    #[error("it is damaged at {0}")]
    Damaged(&'static str),
    /// It builds too much.
    #[error("it holds more than {MAX_VALUES} values")]
    TooMany,
}

type Result<T> = std::result::Result<T, PickleError>;

/// The number of a value in its [`Pickle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueId(usize);

/// A value of plain data.
#[derive(Debug, Clone, PartialEq)]
pub enum PickleValue {
    /// `None`.
    Empty,
    /// `True` or `False`.
    Boolean(bool),
    /// An integer of 64 bits.
    Integer(i64),
    /// A larger integer, which is not kept.
    LargeInteger,
    /// A floating-point number.
    Float(f64),
    /// A string.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A `datetime.datetime`, in UTC where it has no zone.
    Time(OffsetDateTime),
    /// A list, tuple or set.
    List(Vec<ValueId>),
    /// A dict, in its order.
    Map(Vec<(ValueId, ValueId)>),
    /// A name that stands for plain data, before it is given its values.
    Named(Name),
    /// A `datetime.timedelta`, in seconds.
    Span(i64),
    /// A `datetime.timezone`.
    Zone(UtcOffset),
}

/// A decoded pickle.
#[derive(Debug)]
pub struct Pickle {
    values: Vec<PickleValue>,
    root: ValueId,
}

impl Pickle {
    /// The value that was pickled.
    #[must_use]
    pub fn root(&self) -> &PickleValue {
        self.get(self.root)
    }

    /// A value by its number. A value may hold itself: who follows numbers must limit the depth.
    #[must_use]
    pub fn get(&self, id: ValueId) -> &PickleValue {
        self.values.get(id.0).unwrap_or(&PickleValue::Empty)
    }
}

/// Decodes a pickle.
///
/// # Errors
/// When it is damaged, too large, or would do anything but build plain data.
pub fn decode(bytes: &[u8]) -> Result<Pickle> {
    let mut decoder = Decoder {
        rest: bytes,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    while decoder.step()? {}
    let root = decoder.pop("STOP")?;
    Ok(Pickle {
        values: decoder.values,
        root,
    })
}

struct Decoder<'a> {
    rest: &'a [u8],
    values: Vec<PickleValue>,
    stack: Vec<ValueId>,
    /// Lengths of the stack at each MARK.
    marks: Vec<usize>,
    memo: HashMap<u64, ValueId>,
}

impl Decoder<'_> {
    /// Follows one instruction; returns whether there are more.
    fn step(&mut self) -> Result<bool> {
        let [opcode] = self.array()?;
        match opcode {
            b'.' => return Ok(false),
            0x80 => drop(self.array::<1>()?),
            0x95 => drop(self.array::<8>()?),
            b'(' => self.mark()?,
            b'0' => drop(self.pop("POP")?),
            b'1' => drop(self.pop_mark("POP_MARK")?),
            b'2' => {
                let top = *self.stack.last().ok_or(PickleError::Damaged("DUP"))?;
                self.put(top)?;
            }
            b'N' => self.push(PickleValue::Empty)?,
            0x88 => self.push(PickleValue::Boolean(true))?,
            0x89 => self.push(PickleValue::Boolean(false))?,
            b'I' | b'L' | b'J' | b'K' | b'M' | 0x8a | 0x8b => self.integer(opcode)?,
            b'F' => {
                let number = self.line("FLOAT")?.trim().parse();
                let number = number.map_err(|_| PickleError::Damaged("FLOAT"))?;
                self.push(PickleValue::Float(number))?;
            }
            b'G' => {
                let number = f64::from_be_bytes(self.array()?);
                self.push(PickleValue::Float(number))?;
            }
            b'S' | b'V' | b'X' | 0x8c | 0x8d | b'T' | b'U' => self.text(opcode)?,
            b'B' | b'C' | 0x8e | 0x96 => {
                let bytes = self.sized(opcode)?.to_vec();
                self.push(PickleValue::Bytes(bytes))?;
            }
            b']' | b')' | 0x8f => self.push(PickleValue::List(Vec::new()))?,
            b'}' => self.push(PickleValue::Map(Vec::new()))?,
            b'l' | b't' | 0x91 => {
                let items = self.pop_mark("LIST")?;
                self.push(PickleValue::List(items))?;
            }
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let start = self.stack.len().checked_sub(count);
                let start = start.filter(|start| *start >= self.floor());
                let start = start.ok_or(PickleError::Damaged("TUPLE"))?;
                let items = self.stack.split_off(start);
                self.push(PickleValue::List(items))?;
            }
            b'd' => {
                let pairs = pairs(&self.pop_mark("DICT")?)?;
                self.push(PickleValue::Map(pairs))?;
            }
            b'a' | b'e' | 0x90 => self.append(opcode)?,
            b's' | b'u' => self.set_items(opcode)?,
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.remember(opcode)?,
            b'c' | 0x93 => self.name(opcode)?,
            b'R' => self.reduce()?,
            other => return Err(refused(other)),
        }
        Ok(true)
    }

    /// Takes so many bytes from the pickle.
    fn take(&mut self, count: u64) -> Result<&[u8]> {
        let count = usize::try_from(count).map_err(|_| PickleError::CutOff)?;
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(PickleError::CutOff)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(PickleError::CutOff)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes a line of text, without its end.
    fn line(&mut self, doing: &'static str) -> Result<&str> {
        let end = self.rest.iter().take(MAX_LINE).position(|b| *b == b'\n');
        let end = end.ok_or(PickleError::CutOff)?;
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        std::str::from_utf8(line).map_err(|_| PickleError::Damaged(doing))
    }

    /// Takes what stands behind its own length.
    fn sized(&mut self, opcode: u8) -> Result<&[u8]> {
        let length = match opcode {
            b'U' | b'C' | 0x8c => self.array::<1>()?[0].into(),
            b'T' | b'B' | b'X' => u32::from_le_bytes(self.array()?).into(),
            _ => u64::from_le_bytes(self.array()?),
        };
        self.take(length)
    }

    /// What may not be popped: it stands below the last MARK.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn mark(&mut self) -> Result<()> {
        if self.marks.len() >= MAX_VALUES {
            return Err(PickleError::TooMany);
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn pop(&mut self, doing: &'static str) -> Result<ValueId> {
        match self.stack.len() > self.floor() {
            true => self.stack.pop().ok_or(PickleError::Damaged(doing)),
            false => Err(PickleError::Damaged(doing)),
        }
    }

    fn pop_mark(&mut self, doing: &'static str) -> Result<Vec<ValueId>> {
        let mark = self.marks.pop().ok_or(PickleError::Damaged(doing))?;
        Ok(self.stack.split_off(mark))
    }

    fn put(&mut self, id: ValueId) -> Result<()> {
        if self.stack.len() >= MAX_VALUES {
            return Err(PickleError::TooMany);
        }
        self.stack.push(id);
        Ok(())
    }

    fn push(&mut self, value: PickleValue) -> Result<()> {
        if self.values.len() >= MAX_VALUES {
            return Err(PickleError::TooMany);
        }
        self.values.push(value);
        self.put(ValueId(self.values.len() - 1))
    }

    fn integer(&mut self, opcode: u8) -> Result<()> {
        let value = match opcode {
            b'J' => PickleValue::Integer(i32::from_le_bytes(self.array()?).into()),
            b'K' => PickleValue::Integer(self.array::<1>()?[0].into()),
            b'M' => PickleValue::Integer(u16::from_le_bytes(self.array()?).into()),
            0x8a | 0x8b => {
                let length = match opcode {
                    0x8a => self.array::<1>()?[0].into(),
                    _ => u32::from_le_bytes(self.array()?),
                };
                little_endian(self.take(length.into())?)
            }
            _ => match self.line("INT")?.trim_end_matches('L') {
                // protocol 0 has no other way to write them
                "00" => PickleValue::Boolean(false),
                "01" => PickleValue::Boolean(true),
                digits => match digits.parse() {
                    Ok(number) => PickleValue::Integer(number),
                    Err(_) if is_integer(digits) => PickleValue::LargeInteger,
                    Err(_) => return Err(PickleError::Damaged("INT")),
                },
            },
        };
        self.push(value)
    }

    fn text(&mut self, opcode: u8) -> Result<()> {
        let text = match opcode {
            b'V' => unescaped(self.line("UNICODE")?)?,
            b'S' => {
                let line = self.line("STRING")?.trim();
                let quote = line.chars().next().filter(|c| matches!(c, '\'' | '"'));
                let quote = quote.ok_or(PickleError::Damaged("STRING"))?;
                let inside = line[1..].strip_suffix(quote);
                match inside.ok_or(PickleError::Damaged("STRING"))? {
                    plain if !plain.contains('\\') => plain.to_owned(),
                    _ => return Err(PickleError::Refused("STRING with a backslash")),
                }
            }
            // what Python 2 wrote may be bytes; a lone surrogate is no UTF-8
            _ => String::from_utf8_lossy(self.sized(opcode)?).into_owned(),
        };
        self.push(PickleValue::Text(text))
    }

    fn append(&mut self, opcode: u8) -> Result<()> {
        let items = match opcode {
            b'a' => vec![self.pop("APPEND")?],
            _ => self.pop_mark("APPENDS")?,
        };
        match self.top("APPENDS")? {
            PickleValue::List(list) => list.extend(items),
            _ => return Err(PickleError::Damaged("APPENDS")),
        }
        Ok(())
    }

    fn set_items(&mut self, opcode: u8) -> Result<()> {
        let items = match opcode {
            b's' => {
                let value = self.pop("SETITEM")?;
                vec![self.pop("SETITEM")?, value]
            }
            _ => self.pop_mark("SETITEMS")?,
        };
        let pairs = pairs(&items)?;
        match self.top("SETITEMS")? {
            PickleValue::Map(map) => map.extend(pairs),
            _ => return Err(PickleError::Damaged("SETITEMS")),
        }
        Ok(())
    }

    /// The value on top of the stack.
    fn top(&mut self, doing: &'static str) -> Result<&mut PickleValue> {
        let top = self.stack.get(self.floor()..).and_then(<[_]>::last);
        let top = top.and_then(|top| self.values.get_mut(top.0));
        top.ok_or(PickleError::Damaged(doing))
    }

    /// Keeps the value on top under a number, or brings one back.
    fn remember(&mut self, opcode: u8) -> Result<()> {
        let number = match opcode {
            b'p' | b'g' => {
                let number = self.line("GET")?.trim().parse();
                number.map_err(|_| PickleError::Damaged("GET"))?
            }
            b'q' | b'h' => self.array::<1>()?[0].into(),
            b'r' | b'j' => u32::from_le_bytes(self.array()?).into(),
            _ => self.memo.len() as u64,
        };
        if let b'g' | b'h' | b'j' = opcode {
            let known = self.memo.get(&number).copied();
            return self.put(known.ok_or(PickleError::Damaged("GET"))?);
        }
        if self.memo.len() >= MAX_VALUES {
            return Err(PickleError::TooMany);
        }
        let top = *self.stack.last().ok_or(PickleError::Damaged("PUT"))?;
        self.memo.insert(number, top);
        Ok(())
    }

    fn name(&mut self, opcode: u8) -> Result<()> {
        let known = match opcode {
            b'c' => {
                let module = self.line("GLOBAL")?.to_owned();
                Name::of(&module, self.line("GLOBAL")?)
            }
            _ => {
                let (name, module) = (self.pop("STACK_GLOBAL")?, self.pop("STACK_GLOBAL")?);
                match (&self.values[module.0], &self.values[name.0]) {
                    (PickleValue::Text(module), PickleValue::Text(name)) => Name::of(module, name),
                    _ => return Err(PickleError::Damaged("STACK_GLOBAL")),
                }
            }
        };
        match known {
            Some(name) => self.push(PickleValue::Named(name)),
            None => Err(PickleError::Refused(match opcode {
                b'c' => "GLOBAL",
                _ => "STACK_GLOBAL",
            })),
        }
    }

    /// Builds the plain data that a name stands for.
    fn reduce(&mut self) -> Result<()> {
        let (arguments, name) = (self.pop("REDUCE")?, self.pop("REDUCE")?);
        let PickleValue::List(arguments) = &self.values[arguments.0] else {
            return Err(PickleError::Damaged("REDUCE"));
        };
        let arguments = arguments.iter().map(|id| &self.values[id.0]);
        let arguments: Vec<&PickleValue> = arguments.take(4).collect();
        let PickleValue::Named(name) = self.values[name.0] else {
            return Err(PickleError::Refused("REDUCE"));
        };
        let value = name.given(&arguments);
        self.push(value.ok_or(PickleError::Refused("REDUCE"))?)
    }
}

/// Keys and values that follow each other.
fn pairs(items: &[ValueId]) -> Result<Vec<(ValueId, ValueId)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    match rest {
        [] => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
        _ => Err(PickleError::Damaged("SETITEMS")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pickle: &Pickle, value: &PickleValue) -> String {
        let id = |id: &ValueId| shown(pickle, pickle.get(*id));
        match value {
            PickleValue::Empty => "None".into(),
            PickleValue::Text(text) => format!("{text:?}"),
            PickleValue::Integer(number) => number.to_string(),
            PickleValue::Float(number) => format!("{number:?}"),
            PickleValue::Boolean(value) => value.to_string(),
            PickleValue::Time(time) => crate::clock::utc(*time),
            PickleValue::Bytes(bytes) => format!("b{bytes:?}"),
            PickleValue::List(list) => {
                format!("[{}]", list.iter().map(id).collect::<Vec<_>>().join(", "))
            }
            PickleValue::Map(map) => {
                let pairs = map
                    .iter()
                    .map(|(key, value)| format!("{}: {}", id(key), id(value)));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
            }
            other => format!("{other:?}"),
        }
    }

    fn said(bytes: &[u8]) -> String {
        match decode(bytes) {
            Ok(pickle) => shown(&pickle, pickle.root()),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn every_protocol_says_the_same() {
        // pickle.dumps({"@persistence_version": 1, "last": 1.5, "ids": ["a", None, True, -300]}, PROTOCOL)
        let wanted = r#"{"@persistence_version": 1, "last": 1.5, "ids": ["a", None, true, -300]}"#;
        for bytes in [
            &b"(dp0\nV@persistence_version\np1\nI1\nsVlast\np2\nF1.5\nsVids\np3\n(lp4\nVa\np5\naNaI01\naI-300\nas."[..],
            b"\x80\x02}q\x00(X\x14\x00\x00\x00@persistence_versionq\x01K\x01X\x04\x00\x00\x00lastq\x02G?\xf8\x00\x00\x00\x00\x00\x00X\x03\x00\x00\x00idsq\x03]q\x04(X\x01\x00\x00\x00aq\x05N\x88J\xd4\xfe\xff\xffeu.",
            b"\x80\x04\x95\x3f\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x14@persistence_version\x94K\x01\x8c\x04last\x94G?\xf8\x00\x00\x00\x00\x00\x00\x8c\x03ids\x94]\x94(\x8c\x01a\x94N\x88J\xd4\xfe\xff\xffeu.",
        ] {
            assert_eq!(said(bytes), wanted);
        }
    }

    #[test]
    fn plain_data_is_built_and_what_is_more_is_refused_by_name() {
        for (bytes, wanted) in [
            (&b"N."[..], "None"),
            (b"\x80\x05\x8e\x02\0\0\0\0\0\0\0ab.", "b[97, 98]"),
            (b"\x80\x02\x8a\x05\0\0\0\0\x01.", "4294967296"),
            (b"\x80\x02\x8a\x01\xff.", "-1"),
            (b"\x80\x02\x8a\x00.", "0"),
            (b"L12345678901234567890123L\n.", "LargeInteger"),
            (b"V\\u00e9\\U0001f600\n.", "\"é😀\""),
            (b"S'abc'\n.", "\"abc\""),
            (b"K\x01K\x02\x86.", "[1, 2]"),
            (b"(K\x01K\x02t.", "[1, 2]"),
            (b"\x8f(K\x01\x90.", "[1]"),
            // datetime(2026, 11, 26, 19, 0, 5, 7), without and with +02:00
            (b"cdatetime\ndatetime\nC\x0a\x07\xea\x0b\x1a\x13\x00\x05\x00\x00\x07\x85R.", "2026-11-26T19:00:05Z"),
            (b"\x80\x04\x8c\x08datetime\x8c\x08datetime\x93C\x0a\x07\xea\x0b\x1a\x13\x00\x05\x00\x00\x07\x8c\x08datetime\x8c\x08timezone\x93\x8c\x08datetime\x8c\x09timedelta\x93K\x00M\x20\x1cK\x00\x87R\x85R\x86R.", "2026-11-26T17:00:05Z"),
            // defaultdict(list)
            (b"ccollections\ndefaultdict\nc__builtin__\nlist\n\x85RX\x01\0\0\0aK\x01s.", "{\"a\": 1}"),
            // what runs code in Python
            (b"cos\nsystem\n(S'true'\ntR.", "Refused(\"GLOBAL\")"),
            (b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.", "Refused(\"STACK_GLOBAL\")"),
            (b"cbuiltins\neval\n(S'1'\ntR.", "Refused(\"GLOBAL\")"),
            (b"(S'true'\nios\nsystem\n.", "Refused(\"INST\")"),
            (b"(cdatetime\ndatetime\no.", "Refused(\"OBJ\")"),
            (b"cdatetime\ndatetime\n)\x81.", "Refused(\"NEWOBJ\")"),
            (b"}}b.", "Refused(\"BUILD\")"),
            (b"Pid\n.", "Refused(\"PERSID\")"),
            (b"\x82\x01.", "Refused(\"EXT1\")"),
            (b"}]R.", "Refused(\"REDUCE\")"),
            (b"cdatetime\ndatetime\n]R.", "Refused(\"REDUCE\")"),
            (b"cdatetime\ndatetime\nC\x0a\x07\xea\x0d\x1a\x13\x00\x05\x00\x00\x07\x85R.", "Refused(\"REDUCE\")"),
            // damage
            (b"", "CutOff"),
            (b"}", "CutOff"),
            (b".", "Damaged(\"STOP\")"),
            (b"(.", "Damaged(\"STOP\")"),
            (b"N(0.", "Damaged(\"POP\")"),
            (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", "CutOff"),
            (b"h\x05.", "Damaged(\"GET\")"),
            (b"}K\x01u.", "Damaged(\"SETITEMS\")"),
            (b"}(K\x01u.", "Damaged(\"SETITEMS\")"),
            (b"K\x01K\x02a.", "Damaged(\"APPENDS\")"),
            (b"K\x01\x86.", "Damaged(\"TUPLE\")"),
            (b"\xff.", "Unknown(255)"),
            (b"{\"a\": 1}", "Unknown(123)"),
        ] {
            assert_eq!(said(bytes), wanted, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_holds_itself_or_is_deep_or_endless_costs_no_stack_and_little_memory() {
        // a list in itself
        let itself = decode(b"]q\x00h\x00a.").unwrap();
        let PickleValue::List(list) = itself.root() else {
            panic!("no list")
        };
        assert_eq!(itself.get(list[0]), itself.root());
        // a list in a list, 400,000 deep
        let deep = [
            &b"]"[..],
            &b"]a".repeat(0),
            &b"]".repeat(400_000),
            &b"a".repeat(400_000),
            b".",
        ];
        assert!(decode(&deep.concat()).is_ok());
        for endless in [&b"("[..], b"N", b"N2"] {
            let bytes = endless.repeat(MAX_VALUES + 2);
            assert_eq!(decode(&bytes).unwrap_err(), PickleError::TooMany);
        }
        // each list holds the one before twice: a tree of 2^30 leaves in a few bytes
        let doubling = b"h\x00h\x00\x86q\x00".repeat(30);
        let doubling = [&b"]q\x00"[..], &doubling, b"."].concat();
        assert_eq!(decode(&doubling).unwrap().values.len(), 31);
    }
}
