//! Lists the tensors of a safetensors file: name, shape, stored type, and the magnitude of their numbers.
//!
//!     cargo run -p hone-tensor --example tensors -- FILE
//!
//! For example:
//!
//!     cargo run -p hone-tensor --example tensors -- crates/train/fixtures/trajectory/model.safetensors

use hone_tensor::SafetensorsFile;
use std::path::Path;
use std::process::ExitCode;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match list() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn list() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file] = &args[..] else {
        return Err("one argument was expected: a safetensors file".into());
    };
    let file = SafetensorsFile::open(Path::new(file))?;
    let widest = file.tensors().iter().map(|t| t.name.len()).max();
    let widest = widest.unwrap_or(0);
    let mut all = 0;
    for tensor in file.tensors() {
        // Whatever type is stored, numbers are read as f32.
        let numbers = file.read_f32(&tensor.name)?;
        let squares: f64 = numbers.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let magnitude = (squares / numbers.len().max(1) as f64).sqrt();
        all += numbers.len();
        println!(
            "{:widest$}  {:?}  {:?}  root mean square {magnitude:.4}",
            tensor.name, tensor.dtype, tensor.shape
        );
    }
    println!("{} tensors, {all} numbers", file.tensors().len());
    Ok(())
}
