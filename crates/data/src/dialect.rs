//! How a delimited file separates its fields: commas in `.csv`, tabs without quotes in `.tsv`. A `.csv` whose header holds
//! no comma but semicolons or tabs is what spreadsheets of many countries save, and is read as that.

use crate::read::Format;

/// What separates fields, and whether quotation marks enclose them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub delimiter: u8,
    pub quoting: bool,
}

impl Dialect {
    /// Of a file of this format with this text.
    pub fn of(format: Format, text: &str) -> Dialect {
        if format != Format::Csv {
            // GLUE's TSV files quote nothing: a quotation mark is a character like any other.
            return Dialect {
                delimiter: b'\t',
                quoting: false,
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
        }
    }

    /// A reader of all records, the header's first.
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
            _ => "a comma",
        }
    }

    /// What a reader should be told, where the format's name does not say it.
    pub fn note(&self) -> Option<&'static str> {
        match (self.quoting, self.delimiter) {
            (true, b';') => Some("fields are separated by semicolons"),
            (true, b'\t') => Some("fields are separated by tabs"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
