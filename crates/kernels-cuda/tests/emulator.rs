//! The emulator's own word: small kernels with one fault each, and what it says of them.

use hone_kernels_cuda::emulator::Sources;
use hone_kernels_cuda::{Arg, Driver, Emulator, Launch, Number, Order};
use std::path::Path;

/// What a launch of `body` says over 64 threads and 64 floats, or the floats.
fn run(order: Order, body: &str) -> Result<Vec<f32>, String> {
    run_behind("", order, body)
}

/// The same with something in front of the kernel.
fn run_behind(before: &str, order: Order, body: &str) -> Result<Vec<f32>, String> {
    let text = format!(
        "#include \"device.cuh\"\n{before}\nextern \"C\" __global__ void __launch_bounds__(64) probe(float* x) {{\n{body}\n}}\n"
    );
    let sources = Sources {
        files: vec![("probe", text)],
        acts: vec![Number::F32],
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated");
    let emulator = Emulator::with_sources(&folder, order, &sources)?;
    let memory = emulator.alloc(256).map_err(|e| e.to_string())?;
    let at = emulator.address(&memory);
    let launch = Launch {
        file: "probe",
        kernel: "probe",
        act: Number::F32,
        grid: [1, 1, 1],
        block: [64, 1],
        args: &[Arg::Pointer(at, 'F')],
    };
    emulator.launch(&launch).map_err(|e| e.to_string())?;
    let mut host = [0.0f32; 64];
    emulator
        .download(at, bytemuck::cast_slice_mut(&mut host))
        .map_err(|e| e.to_string())?;
    Ok(host.to_vec())
}

const ORDERS: [Order; 3] = [Order::Forward, Order::Reverse, Order::Random(1)];

#[test]
fn threads_share_and_wait() {
    let body = "__shared__ float s[64]; s[threadIdx.x] = threadIdx.x; __syncthreads();\n\
                x[threadIdx.x] = s[63 - threadIdx.x] + warp_sum((float)lane());";
    for order in ORDERS {
        let got = run(order, body).expect("a sound kernel");
        let want: Vec<f32> = (0..64).map(|t| (63 - t) as f32 + 496.0).collect();
        assert_eq!(got, want, "{order:?}");
    }
}

/// What files define is their own, statics of inline functions too: launches of different files run side by side.
#[test]
fn files_share_no_statics() {
    let before = "inline float& kept() { static float x = 0.0f; return x; }";
    for copy in ["one", "another"] {
        let body = format!("if (threadIdx.x == 0) x[0] = kept() += 1.0f;  // {copy}");
        let got = run_behind(before, Order::Forward, &body).expect("a sound kernel");
        assert!(got[0] == 1.0, "{copy}: {}", got[0]);
    }
}

#[test]
fn faults_are_named() {
    let cases = [
        (
            "a barrier that half of the block does not reach",
            "if (threadIdx.x < 32) __syncthreads();",
            "divergence",
        ),
        (
            "two barriers instead of one",
            "if (threadIdx.x < 32)\n__syncthreads();\nelse\n__syncthreads();",
            "divergence",
        ),
        (
            "a shuffle that half of a warp does not reach",
            "if (threadIdx.x % 2) x[0] = warp_sum(1.0f);",
            "divergence",
        ),
        (
            "a shuffle of part of a warp",
            "x[threadIdx.x] = __shfl_xor_sync(0xffffu, 1.0f, 1);",
            "part of a warp",
        ),
        (
            "a write behind the buffer",
            "x[threadIdx.x + 1] = 1.0f;",
            "wrote at byte 256 of a buffer of 256",
        ),
        (
            "a write before the buffer",
            "x[(int)threadIdx.x - 1] = 1.0f;",
            "wrote at byte -4",
        ),
    ];
    for (what, body, says) in cases {
        for order in ORDERS {
            let said = run(order, body).expect_err(what);
            assert!(said.contains(says), "{what}: {said}");
        }
    }
}

#[test]
fn shared_memory_is_poisoned_and_a_missing_barrier_is_seen() {
    let poisoned = run(
        Order::Forward,
        "__shared__ float s[64]; x[threadIdx.x] = s[threadIdx.x];",
    );
    assert!(
        poisoned
            .expect("no fault of order")
            .iter()
            .all(|x| x.is_nan())
    );
    let body =
        "__shared__ float s[64]; s[threadIdx.x] = 1.0f; x[threadIdx.x] = s[63 - threadIdx.x];";
    for order in ORDERS {
        let got = run(order, body).expect("a race is no fault of order");
        assert!(got.iter().any(|x| x.is_nan()), "{order:?}");
    }
}

/// What is said of a launch of `fill_32` that must not be.
fn refused(threads: u32, args: &[Arg]) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated");
    let emulator = Emulator::new(&folder, Order::Forward).expect("a C++ compiler");
    let launch = Launch {
        file: "sweep",
        kernel: "fill_32",
        act: Number::F32,
        grid: [1, 1, 1],
        block: [threads, 1],
        args,
    };
    let said = emulator.launch(&launch).expect_err("a launch");
    said.to_string()
}

#[test]
fn arguments_must_be_what_the_kernel_declares() {
    let said = refused(256, &[Arg::U64(0), Arg::F32(1.0), Arg::Pointer(0, 'U')]);
    assert!(said.contains("takes luU, but was given lfU"), "{said}");
}

#[test]
fn threads_must_be_what_the_kernel_is_bound_to() {
    let said = refused(128, &[Arg::U64(0), Arg::U32(1), Arg::Pointer(0, 'U')]);
    let wanted = "bound to 256 threads, but was given 128";
    assert!(said.contains(wanted), "{said}");
}
