//! How a delimited file separates its fields: commas in `.csv`, tabs without quotes in `.tsv`. A `.csv` whose header holds
//! no comma but semicolons or tabs is what spreadsheets of many countries save, and is read as that; one that begins with a
//! line `sep=;` says it itself.

use crate::read::Format;

/// What separates fields, and whether quotation marks enclose them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub delimiter: u8,
    pub quoting: bool,
    /// Whether the first line says the delimiter and nothing else.
    pub told: bool,
}

/// What a file's first line says its delimiter is.
fn told(text: &str) -> Option<u8> {
    let first = text.split(['\r', '\n']).next()?;
    match first
        .get(..4)?
        .eq_ignore_ascii_case("sep=")
        .then(|| &first.as_bytes()[4..])?
    {
        &[delimiter @ (b',' | b';' | b'\t' | b'|' | b':')] => Some(delimiter),
        _ => None,
    }
}

impl Dialect {
    /// Of a file of this format with this text.
    pub fn of(format: Format, text: &str) -> Dialect {
        if format != Format::Csv {
            // GLUE's TSV files quote nothing: a quotation mark is a character like any other.
            return Dialect {
                delimiter: b'\t',
                quoting: false,
                told: false,
            };
        }
        if let Some(delimiter) = told(text) {
            return Dialect {
                delimiter,
                quoting: true,
                told: true,
            };
        }
        let mut quoted = false;
        let mut separators = Vec::new();
        for byte in text.trim_start_matches(['\r', '\n']).bytes() {
            match byte {
                b'"' => quoted = !quoted,
                b'\n' | b'\r' if !quoted => break,
                b',' | b';' | b'\t' if !quoted => separators.push(byte),
                _ => {}
            }
        }
        let delimiter = [b',', b';', b'\t']
            .into_iter()
            .find(|d| separators.contains(d));
        Dialect {
            delimiter: delimiter.unwrap_or(b','),
            quoting: true,
            told: false,
        }
    }

    /// The text that records are in: of a line that says the delimiter only its end is left, so that lines still count.
    pub fn body<'t>(&self, text: &'t str) -> &'t str {
        match self.told {
            true => &text["sep=;".len()..],
            false => text,
        }
    }

    /// The line that says the delimiter, where there was one, ended as lines are.
    pub fn line(&self, crlf: bool) -> String {
        let end = if crlf { "\r\n" } else { "\n" };
        match self.told {
            true => format!("sep={}{end}", char::from(self.delimiter)),
            false => String::new(),
        }
    }

    /// A reader of all records in a [`Dialect::body`], the header's first.
    pub fn reader<'t>(&self, text: &'t str) -> csv::Reader<&'t [u8]> {
        csv::ReaderBuilder::new()
            .delimiter(self.delimiter)
            .quoting(self.quoting)
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes())
    }

    /// What writes records as they were read, in lines that end as these do.
    pub fn writer(&self, crlf: bool) -> csv::WriterBuilder {
        let mut builder = csv::WriterBuilder::new();
        builder
            .delimiter(self.delimiter)
            .quote_style(match self.quoting {
                true => csv::QuoteStyle::Necessary,
                false => csv::QuoteStyle::Never,
            })
            .terminator(match crlf {
                true => csv::Terminator::CRLF,
                false => csv::Terminator::Any(b'\n'),
            });
        builder
    }

    /// One separator in words.
    pub fn separator(&self) -> &'static str {
        match self.delimiter {
            b';' => "a semicolon",
            b'\t' => "a tab",
            b'|' => "a vertical bar",
            b':' => "a colon",
            _ => "a comma",
        }
    }

    /// What a reader should be told, where the format's name does not say it.
    pub fn note(&self) -> Option<&'static str> {
        match (self.quoting, self.delimiter) {
            (true, b';') => Some("fields are separated by semicolons"),
            (true, b'\t') => Some("fields are separated by tabs"),
            (true, b'|') => Some("fields are separated by vertical bars"),
            (true, b':') => Some("fields are separated by colons"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_line_tells_and_is_no_record() {
        for (text, delimiter, body) in [
            ("sep=;\r\na,b;label\r\n", b';', "\r\na,b;label\r\n"),
            ("SEP=|\ntext|label\n", b'|', "\ntext|label\n"),
            ("sep=;\ra,b;label\r", b';', "\ra,b;label\r"),
            ("sep=\t\ntext\tlabel\n", b'\t', "\ntext\tlabel\n"),
        ] {
            let found = Dialect::of(Format::Csv, text);
            assert_eq!((found.delimiter, found.told), (delimiter, true), "{text:?}");
            assert_eq!(found.body(text), body);
            let records = found.reader(body).records().count();
            assert_eq!(records, 1);
            let first = text.split(['\r', '\n']).next().unwrap();
            assert!(
                found
                    .line(false)
                    .eq_ignore_ascii_case(&format!("{first}\n"))
            );
        }
        let semicolons = Dialect::of(Format::Csv, "sep=;\r\na;b\r\n");
        assert_eq!(semicolons.line(true), "sep=;\r\n");
        for text in ["sep=\na,b\n", "sep=;x\n", "sep,label\n", "se"] {
            assert!(!Dialect::of(Format::Csv, text).told, "{text:?}");
        }
        assert!(!Dialect::of(Format::Tsv, "sep=;\n").told);
    }

    #[test]
    fn a_header_tells() {
        for (header, delimiter) in [
            ("text,label\na;b;c,1\n", b','),
            ("text;label\nWell, well;1\n", b';'),
            ("text\tlabel\na, b\t1\n", b'\t'),
            ("text;label,x\n", b','),
            ("\"a,b\";label\n", b';'),
            ("\r\n\"two\nlines, one\";label\r\n", b';'),
            ("text\na;b\n", b','),
            ("", b','),
        ] {
            let found = Dialect::of(Format::Csv, header);
            assert_eq!(found.delimiter, delimiter, "{header:?}");
            assert!(found.quoting);
            let plain = Dialect::of(Format::Tsv, header);
            assert_eq!((plain.delimiter, plain.quoting), (b'\t', false));
        }
    }
}
