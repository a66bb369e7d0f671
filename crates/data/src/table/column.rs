//! One column: what its type holds, and its values, row after row, put together from levels and values as they are stored
//! (Dremel: a definition level says down to where a value is there, a repetition level of 0 where a row begins).

use super::features::{classes, features};
use super::pages::pages;
use super::{Fault, damaged};
use crate::labels::integer;
use bytes::Bytes;
use parquet::basic::{Compression, ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::schema::types::Type;
use serde_json::{Number, Value};

/// A column of a file.
pub(super) struct Column {
    pub name: String,
    pub holds: Holds,
    /// Names of its numbers, from 0 on; none where they are numbers.
    pub classes: Vec<String>,
    /// The first of the stored columns it is made of.
    leaf: usize,
}

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// A text, a number or a truth value, or nothing.
    One {
        /// Integers without a sign.
        unsigned: bool,
    },
    /// Lists of these.
    List {
        unsigned: bool,
        /// The definition level of an empty list: a lower one is none.
        empty: i16,
    },
    /// Something that is not read, in words.
    Other(&'static str),
}

fn is_optional(field: &Type) -> bool {
    let info = field.get_basic_info();
    info.has_repetition() && info.repetition() == Repetition::OPTIONAL
}

fn is_repeated(field: &Type) -> bool {
    let info = field.get_basic_info();
    info.has_repetition() && info.repetition() == Repetition::REPEATED
}

/// What a single value of a stored type is: whether it is an integer without a sign, or what is not read.
fn single(field: &Type) -> Result<bool, &'static str> {
    let info = field.get_basic_info();
    let unsigned = match info.logical_type_ref() {
        Some(LogicalType::Integer(integer)) => !integer.is_signed,
        Some(LogicalType::Date | LogicalType::Time { .. } | LogicalType::Timestamp { .. }) => {
            return Err("dates or times");
        }
        Some(LogicalType::Decimal { .. }) => return Err("decimal numbers"),
        _ => false,
    };
    match (field.get_physical_type(), info.converted_type()) {
        (Physical::INT96, _) => Err("dates or times"),
        (Physical::FIXED_LEN_BYTE_ARRAY, _) => Err("bytes of a fixed number"),
        (_, ConvertedType::DECIMAL) => Err("decimal numbers"),
        (_, ConvertedType::DATE | ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS)
        | (
            _,
            ConvertedType::TIMESTAMP_MILLIS
            | ConvertedType::TIMESTAMP_MICROS
            | ConvertedType::INTERVAL,
        ) => Err("dates or times"),
        (
            _,
            ConvertedType::UINT_8
            | ConvertedType::UINT_16
            | ConvertedType::UINT_32
            | ConvertedType::UINT_64,
        ) => Ok(true),
        _ => Ok(unsigned),
    }
}

/// What a column of this type holds.
fn holds(field: &Type) -> Holds {
    let list = |item: Result<bool, &'static str>, empty: i16| match item {
        Ok(unsigned) => Holds::List { unsigned, empty },
        Err(what) => Holds::Other(what),
    };
    if field.is_primitive() {
        return match single(field) {
            // As it was before there were lists.
            item if is_repeated(field) => list(item, 0),
            Ok(unsigned) => Holds::One { unsigned },
            Err(what) => Holds::Other(what),
        };
    }
    let info = field.get_basic_info();
    let lists = info.converted_type() == ConvertedType::LIST
        || matches!(info.logical_type_ref(), Some(LogicalType::List));
    let empty = i16::from(is_optional(field));
    let repeated = match field.get_fields() {
        [only] if lists && is_repeated(only) && !is_repeated(field) => only,
        _ => return Holds::Other("objects"),
    };
    let nested = Holds::Other("lists of lists or of objects");
    match repeated.is_primitive() {
        true => list(single(repeated), empty),
        false => match repeated.get_fields() {
            [item] if item.is_primitive() && !is_repeated(item) => list(single(item), empty),
            _ => nested,
        },
    }
}

/// The columns of a file.
pub(super) fn columns(metadata: &ParquetMetaData) -> Result<Vec<Column>, Fault> {
    let file = metadata.file_metadata();
    let schema = file.schema_descr();
    let said = file.key_value_metadata().into_iter().flatten();
    let said = said
        .filter(|pair| pair.key == "huggingface")
        .find_map(|pair| features(pair.value.as_ref()?));
    let mut columns: Vec<Column> = Vec::new();
    for (root, field) in schema.root_schema().get_fields().iter().enumerate() {
        let name = field.name().to_owned();
        let leaf = (0..schema.num_columns()).find(|&leaf| schema.get_column_root_idx(leaf) == root);
        let feature = said.as_ref().and_then(|all| all.get(&name));
        columns.push(Column {
            holds: leaf.map_or(Holds::Other("nothing"), |_| holds(field)),
            classes: feature.map_or(Ok(Vec::new()), |feature| classes(&name, feature))?,
            leaf: leaf.unwrap_or(0),
            name,
        });
    }
    Ok(columns)
}

/// The values of a column in a group of rows, from the first on.
pub(super) struct Stream<'c> {
    column: &'c Column,
    reader: ColumnReader,
    deepest: i16,
}

impl<'c> Stream<'c> {
    /// Of a group of `rows` rows.
    pub fn open(
        bytes: &Bytes,
        group: &RowGroupMetaData,
        column: &'c Column,
        rows: usize,
    ) -> Result<Stream<'c>, Fault> {
        let wrong = |reason| Fault::of(damaged(format!("column {}: {reason}", column.name)));
        let chunk = group.columns().get(column.leaf);
        let chunk = chunk.ok_or_else(|| wrong("it is not there".to_owned()))?;
        let packed = match chunk.compression() {
            Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_) => None,
            Compression::ZSTD(_) | Compression::LZ4 | Compression::LZ4_RAW => None,
            Compression::BROTLI(_) => Some("Brotli"),
            Compression::LZO => Some("LZO"),
        };
        if let Some(packed) = packed {
            return Err(Fault::of(format!(
                "the column {} is compressed with {packed}; Snappy, Zstandard, gzip and LZ4 are read",
                column.name
            )));
        }
        let pages = pages(bytes, chunk, rows).map_err(|e| wrong(e.to_string()))?;
        let kind = chunk.column_descr_ptr();
        Ok(Stream {
            column,
            deepest: kind.max_def_level(),
            reader: get_column_reader(kind, pages),
        })
    }

    /// The next `rows` values; the row of a fault is counted from the first of them, from 1.
    pub fn next(&mut self, rows: usize) -> Result<Vec<Value>, Fault> {
        let (column, deepest) = (self.column, self.deepest);
        let unsigned = match column.holds {
            Holds::One { unsigned } | Holds::List { unsigned, .. } => unsigned,
            Holds::Other(_) => false,
        };
        let levels = Levels {
            column,
            deepest,
            rows,
        };
        match &mut self.reader {
            ColumnReader::BoolColumnReader(r) => levels.read(r, |v| Ok(Value::Bool(*v))),
            ColumnReader::Int32ColumnReader(r) if unsigned => {
                levels.read(r, |v| Ok((*v as u32).into()))
            }
            ColumnReader::Int32ColumnReader(r) => levels.read(r, |v| Ok((*v).into())),
            ColumnReader::Int64ColumnReader(r) if unsigned => {
                levels.read(r, |v| Ok((*v as u64).into()))
            }
            ColumnReader::Int64ColumnReader(r) => levels.read(r, |v| Ok((*v).into())),
            // By its digits: 0.1 is 0.1 and not the number with twice as many that it is rounded from.
            ColumnReader::FloatColumnReader(r) => levels.read(r, |v| Ok(float(v.to_string()))),
            ColumnReader::DoubleColumnReader(r) => levels.read(r, |v| Ok(float(v.to_string()))),
            ColumnReader::ByteArrayColumnReader(r) => levels.read(r, text),
            ColumnReader::Int96ColumnReader(_) | ColumnReader::FixedLenByteArrayColumnReader(_) => {
                Err(Fault::of(damaged(format!(
                    "column {}: its type",
                    column.name
                ))))
            }
        }
    }
}

/// A number; what JSON has no number for, by its name.
fn float(digits: String) -> Value {
    let number = digits.parse().ok().and_then(Number::from_f64);
    number.map_or(Value::String(digits), Value::Number)
}

fn text(bytes: &ByteArray) -> Result<Value, String> {
    std::str::from_utf8(bytes.data())
        .map(|text| Value::String(text.to_owned()))
        .map_err(|e| format!("is not valid UTF-8 (byte {} of it)", e.valid_up_to()))
}

/// How levels and values make rows.
struct Levels<'c> {
    column: &'c Column,
    /// The definition level of a value that is there.
    deepest: i16,
    /// How many.
    rows: usize,
}

impl Levels<'_> {
    fn read<T: DataType>(
        &self,
        reader: &mut ColumnReaderImpl<T>,
        value: impl Fn(&T::T) -> Result<Value, String>,
    ) -> Result<Vec<Value>, Fault> {
        let name = &self.column.name;
        let broken = |reason: String| Fault::of(damaged(format!("column {name}: {reason}")));
        let (mut there, mut again, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let mut read = 0;
        while read < self.rows {
            let more = reader.read_records(
                self.rows - read,
                Some(&mut there),
                Some(&mut again),
                &mut values,
            );
            let (records, ..) = more.map_err(|e| broken(e.to_string()))?;
            if records == 0 {
                return Err(broken("it has fewer rows than the file".to_owned()));
            }
            read += records;
        }
        let mut values = values.iter();
        let mut next = |row: usize| -> Result<Value, Fault> {
            let stored = values
                .next()
                .ok_or_else(|| broken("values are missing".to_owned()))?;
            let named = value(stored).map_err(|what| format!("{name} {what}"));
            named
                .and_then(|value| self.named(value))
                .map_err(|reason| Fault {
                    row: Some(row),
                    reason,
                })
        };
        let Holds::List { empty, .. } = self.column.holds else {
            return match self.deepest {
                0 => (1..=self.rows).map(next).collect(),
                // As many as there are levels.
                deepest => (1..)
                    .zip(&there)
                    .map(|(row, &level)| match level == deepest {
                        true => next(row),
                        false => Ok(Value::Null),
                    })
                    .collect(),
            };
        };
        let mut rows: Vec<Value> = Vec::with_capacity(self.rows);
        for (&level, &again) in there.iter().zip(&again) {
            if again == 0 {
                rows.push(match level < empty {
                    true => Value::Null,
                    false => Value::Array(Vec::new()),
                });
            }
            if level <= empty {
                continue;
            }
            let row = rows.len();
            let Some(Value::Array(list)) = rows.last_mut() else {
                return Err(broken("an item without a list".to_owned()));
            };
            list.push(match level == self.deepest {
                true => next(row)?,
                false => Value::Null,
            });
        }
        match rows.len() == self.rows {
            true => Ok(rows),
            false => Err(broken(
                "its lists are of another number than its rows".to_owned(),
            )),
        }
    }

    /// A number by the name of its class, where the file has such; −1 is none.
    fn named(&self, value: Value) -> Result<Value, String> {
        let classes = &self.column.classes;
        if classes.is_empty() || !value.is_number() {
            return Ok(value);
        }
        let number = integer(&value.to_string());
        let list = matches!(self.column.holds, Holds::List { .. });
        match number.and_then(|n| classes.get(usize::try_from(n).ok()?)) {
            Some(name) => Ok(Value::String(name.clone())),
            None if number == Some(-1) && !list => Ok(Value::Null),
            None => Err(format!(
                "{} is {value}, and the file has names of classes for 0 to {}",
                self.column.name,
                classes.len() - 1
            )),
        }
    }
}
