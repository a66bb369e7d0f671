//! Fetches a model by name and lists its files: `cargo run -p hone-hub --example fetch -- minilm`.

use hone_hub::{Event, Hub};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "minilm".into());
    let model = Hub::from_env()?.fetch(&name, "main", &mut |event| {
        if let Event::Note(line) = event {
            eprintln!("{line}");
        }
    })?;
    println!("{} from {}", model.folder.display(), model.source);
    for file in &model.files {
        println!("{:>12} bytes  {}  {}", file.bytes, file.sha256, file.name);
    }
    Ok(())
}
