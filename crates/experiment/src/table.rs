//! Rows as CSV text.

use hone_train::TrainError;

/// The lines as a CSV file, quoted where needed; the first one is the header.
pub fn csv_text(lines: &[Vec<String>]) -> Result<String, TrainError> {
    let wrong = |e: String| TrainError::Option(format!("rows cannot be written as CSV: {e}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    for line in lines {
        writer
            .write_record(line)
            .map_err(|e| wrong(e.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|e| wrong(e.to_string()))?;
    String::from_utf8(bytes).map_err(|e| wrong(e.to_string()))
}
