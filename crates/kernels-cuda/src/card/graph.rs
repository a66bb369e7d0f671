//! CUDA graphs: operations captured from the stream, and launched as one.

use super::Context;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use hone_kernels::BackendError;

/// Operations that the card runs as one.
pub struct CardGraph {
    graph: sys::CUgraphExec,
    context: Context,
}

hone_tensor::brief_debug! { [] CardGraph, |_g| }

// SAFETY: the handle is no thread's own, and whoever holds the graph has the only one.
unsafe impl Send for CardGraph {}

impl Drop for CardGraph {
    fn drop(&mut self) {
        // SAFETY: the handle came from the driver and is given back once; the driver keeps a graph that is running until
        // it is done.
        unsafe {
            let _ = self.context.make_current();
            let _ = result::graph::exec_destroy(self.graph);
        }
    }
}

impl CardGraph {
    /// Captures what `queue` queues on `stream`; nothing of it runs.
    pub(super) fn capture(
        stream: sys::CUstream,
        context: Context,
        queue: impl FnOnce() -> Result<(), BackendError>,
        told: impl Fn(DriverError) -> BackendError,
    ) -> Result<CardGraph, BackendError> {
        // Other threads may allocate meanwhile.
        let mode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives as long as the card; a capture that began is ended, whatever happened in it.
        let (queued, ended) = unsafe {
            result::stream::begin_capture(stream, mode).map_err(&told)?;
            (queue(), result::stream::end_capture(stream))
        };
        let captured = match (queued, ended) {
            (Ok(()), ended) => ended.map_err(&told)?,
            (Err(error), ended) => {
                if let Ok(graph) = ended {
                    // SAFETY: it was just made, and nobody else has it.
                    let _ = unsafe { result::graph::destroy(graph) };
                }
                return Err(error);
            }
        };
        // SAFETY: the captured graph is this function's own, given back once it is instantiated.
        let graph = unsafe {
            let flags = sys::CUgraphInstantiate_flags(0);
            let graph = result::graph::instantiate(captured, flags);
            let _ = result::graph::destroy(captured);
            graph.map_err(told)?
        };
        Ok(CardGraph { graph, context })
    }

    /// Launches it.
    pub(super) fn launch(&self, stream: sys::CUstream) -> Result<(), DriverError> {
        // SAFETY: graph and stream live; what its operations read and write is what the tape's did.
        unsafe { result::graph::launch(self.graph, stream) }
    }
}
