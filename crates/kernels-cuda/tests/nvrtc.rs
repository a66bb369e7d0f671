//! All sources under NVIDIA's own compiler, for every architecture: they compile, nothing spills, and every kernel keeps
//! to its budget of registers and shared memory. Needs no card; the folder `HONE_NVRTC` names holds the compiler (the
//! Python package `nvidia-cuda-nvrtc` unpacked). `cargo xtask cuda` prints the same as a table.

use hone_kernels_cuda::nvrtc::{ARCHITECTURES, Nvrtc, costs};
use hone_kernels_cuda::{Number, sources};
use std::path::Path;

#[test]
fn every_source_compiles_within_its_budget() {
    let Ok(folder) = std::env::var("HONE_NVRTC") else {
        eprintln!("skipped: HONE_NVRTC names no folder with libnvrtc (see .ci/run)");
        return;
    };
    let nvrtc = Nvrtc::load(Some(Path::new(&folder))).expect("HONE_NVRTC holds the compiler");
    let mut complaints = Vec::new();
    for (name, text) in sources::FILES {
        let unit = sources::expand(name, text);
        for architecture in ARCHITECTURES {
            for &act in sources::acts(name) {
                let made = nvrtc
                    .compile(name, &unit, architecture, act)
                    .unwrap_or_else(|said| panic!("{said}"));
                assert!(made.image.starts_with(b"\x7fELF"), "{name}: an image");
                let costs = costs(&made.log);
                assert_eq!(
                    costs.len(),
                    sources::kernels(text).len(),
                    "{name}: {}",
                    made.log
                );
                let of_file = costs.iter().filter_map(|c| c.complaint());
                complaints.extend(of_file.map(|c| format!("{architecture} {}: {c}", act.name())));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_source_that_does_not_compile_is_told_by_file_and_line() {
    let Ok(folder) = std::env::var("HONE_NVRTC") else {
        eprintln!("skipped: HONE_NVRTC names no folder with libnvrtc (see .ci/run)");
        return;
    };
    let nvrtc = Nvrtc::load(Some(Path::new(&folder))).expect("HONE_NVRTC holds the compiler");
    let text = "#include \"device.cuh\"\nextern \"C\" __global__ void broken(float* x) { x[0] = nowhere; }\n";
    let said = nvrtc
        .compile(
            "broken",
            &sources::expand("broken", text),
            "sm_80",
            Number::F32,
        )
        .expect_err("an unknown name");
    assert!(
        said.contains("broken.cu(2)") && said.contains("nowhere"),
        "{said}"
    );
}
