//! The real driver: an NVIDIA card through the CUDA driver API, one stream. The host waits for the queue where memory is
//! read or freed, but for what is fetched; allocations are the driver's plain ones and may wait too. Libraries
//! are loaded when a [`Card`] is opened, never by the build; what is missing is named.

mod choices;
mod graph;
mod machine;
mod pinned;
mod products;
mod shape;
#[cfg(test)]
mod standin;
mod stopwatch;

use crate::act::Number;
use crate::driver::{Driver, Launch, Product};
use crate::images::{Image, Images};
use crate::live::Held;
use crate::sources;
use crate::tape::Tape;
use choices::Choices;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
pub use graph::CardGraph;
use hone_kernels::BackendError;
use machine::{architectures, driver_words, missing_in_words, plain, words};
pub use machine::{has_driver, missing};
use pinned::{Piece, Pinned};
pub use products::Choice;
use products::Products;
use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A card.
pub struct Card {
    context: Context,
    stream: sys::CUstream,
    functions: HashMap<&'static str, sys::CUfunction>,
    act: Number,
    products: Products,
    pinned: Pinned,
    held: Arc<Mutex<Held>>,
    name: String,
}

hone_tensor::brief_debug! { [] Card, |c| name: c.name, act: c.act, kernels: c.functions.len() }

/// Hears, a line each, of what nobody asked about but should know: that kernels are being compiled, that something
/// could not be kept.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// Bytes on their way to the host: in pinned memory, or there already where that was too small.
pub enum CardComing {
    /// The card writes them.
    Pinned(Piece),
    /// The host waited.
    Here(Vec<u8>),
}

hone_tensor::brief_debug! { [] CardComing, |c| pinned: matches!(c, CardComing::Pinned(_)) }

/// The card's context; whoever calls the driver makes it its thread's own first.
#[derive(Clone, Copy)]
struct Context(sys::CUcontext);

thread_local! {
    /// The context that was made this thread's own last, by the one function that does.
    static CURRENT: Cell<sys::CUcontext> = const { Cell::new(std::ptr::null_mut()) };
}

impl Context {
    /// Makes it the calling thread's, unless it is.
    fn make_current(self) -> Result<(), DriverError> {
        if CURRENT.get() != self.0 {
            // SAFETY: the context lives as long as the process.
            unsafe { result::ctx::set_current(self.0) }?;
            CURRENT.set(self.0);
        }
        Ok(())
    }
}

/// Arguments that a kernel has at most.
const ARGUMENTS: usize = 32;

// SAFETY: the driver API may be called from any thread; handles are no thread's own.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}
// SAFETY: the driver API orders calls on one stream by itself; the functions' table is not changed after opening, and
// the products' state is behind a lock.
unsafe impl Send for Card {}
// SAFETY: as above.
unsafe impl Sync for Card {}

/// Memory of a card.
pub struct CardMemory {
    address: sys::CUdeviceptr,
    bytes: usize,
    held: Arc<Mutex<Held>>,
    context: Context,
}

hone_tensor::brief_debug! { [] CardMemory, |m| bytes: m.bytes }

impl Drop for CardMemory {
    fn drop(&mut self) {
        // SAFETY: the address came from the driver and is freed once, after what was queued before: freeing may wait
        // for that, but the driver does not promise it.
        unsafe {
            let _ = self.context.make_current();
            let _ = result::ctx::synchronize();
            let _ = result::free_sync(self.address);
        }
        lock(&self.held).take(self.bytes);
    }
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Card {
    /// Opens card number `ordinal` for activations of one type: loads the driver and cuBLASLt, and every kernel's image
    /// from the binary or `images` (compiled by NVRTC where it is in neither). Products run cuBLASLt's own first algorithms.
    pub fn open(ordinal: usize, act: Number, images: Option<&Path>) -> Result<Card, BackendError> {
        Card::with(ordinal, act, images, Choice::Heuristic, Arc::new(|_| ()))
    }

    /// [`Card::open`] with a say in how products' algorithms are chosen; what was timed is kept in `images`, which
    /// must then be a folder. `tell` hears what takes long and what could not be kept.
    pub fn with(
        ordinal: usize,
        act: Number,
        images: Option<&Path>,
        choice: Choice,
        tell: Tell,
    ) -> Result<Card, BackendError> {
        let device = format!("cuda:{ordinal}");
        let fail = |reason: String| BackendError::Device {
            device: device.clone(),
            reason,
        };
        let missing = missing();
        if !missing.is_empty() {
            let missing = missing_in_words(missing);
            return Err(fail(format!("{missing} could not be loaded")));
        }
        let told = |what: &str, error: DriverError| fail(format!("{what}: {}", words(error)));
        result::init().map_err(|e| told("the driver does not start", e))?;
        let count = result::device::get_count().map_err(|e| told("counting cards", e))?;
        let number = i32::try_from(ordinal).ok().filter(|&n| n < count);
        let Some(number) = number else {
            return Err(fail(format!(
                "this machine has {count} cards, numbered from 0"
            )));
        };
        let handle = result::device::get(number).map_err(|e| told("the card", e))?;
        use sys::CUdevice_attribute_enum as Attribute;
        let attribute = |attribute| {
            // SAFETY: the handle is a device's.
            unsafe { result::device::get_attribute(handle, attribute) }
                .map_err(|e| told("the card's attributes", e))
        };
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let units = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let architectures = architectures(major, minor).map_err(fail)?;
        let architectures: Vec<&str> = architectures.iter().map(String::as_str).collect();
        // SAFETY: the handle is a device's; the primary context is kept to the end of the process.
        let context = unsafe { result::primary_ctx::retain(handle) };
        let context = Context(context.map_err(|e| told("the card's context", e))?);
        context.make_current().map_err(|e| told("the context", e))?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .map_err(|e| told("a stream", e))?;
        let version = Products::version();
        let card = result::device::get_name(handle).map_err(|e| told("its name", e))?;
        let choices = match choice {
            Choice::Heuristic => None,
            Choice::Timed => {
                let file = choices::file_name(&format!("{card}-{units}sm"), version);
                let Some(folder) = images else {
                    return Err(fail(
                        "timed products need a folder to be kept in".to_owned(),
                    ));
                };
                Some(Choices::open(folder, file, tell.clone()).map_err(fail)?)
            }
        };
        let images = Images::new(images, None, tell);
        let functions = load(&images, &architectures, act).map_err(fail)?;
        let products = Products::new(stream, choices).map_err(fail)?;
        Ok(Card {
            context,
            stream,
            functions,
            act,
            products,
            pinned: Pinned::new(),
            held: Arc::default(),
            // What the choice of algorithms, and with it a product's bits, depend on beside the shape.
            name: format!(
                "cuda-{}-{}-{units}sm-cublaslt{version}{}",
                plain(&card),
                architectures[0],
                match choice {
                    Choice::Heuristic => "",
                    Choice::Timed => "-timed",
                }
            ),
        })
    }

    fn fail(&self, what: &str, error: DriverError) -> BackendError {
        BackendError::Device {
            device: self.name.clone(),
            reason: format!("{what}: {}", words(error)),
        }
    }

    /// Makes the card the calling thread's.
    fn current(&self) -> Result<(), BackendError> {
        self.context
            .make_current()
            .map_err(|e| self.fail("the context", e))
    }

    /// Seconds, on the card's own clock, for what `run` queues: a few dozen operations at most, queued while the card is
    /// kept busy, so that the host's time is not in it.
    pub fn seconds(&self, run: &mut dyn FnMut()) -> Result<f64, BackendError> {
        self.current()?;
        let mut run = || {
            run();
            Ok(())
        };
        let seconds = self.products.stopwatch().seconds(&mut run);
        seconds.map_err(|reason| BackendError::Device {
            device: self.name.clone(),
            reason,
        })
    }
}

/// Every kernel of every file, by name. Files are compiled side by side.
fn load(
    images: &Images,
    architectures: &[&str],
    act: Number,
) -> Result<HashMap<&'static str, sys::CUfunction>, String> {
    let files: Vec<_> = sources::FILES
        .into_iter()
        .filter(|(name, _)| sources::acts(name).contains(&act))
        .collect();
    let made: Vec<Result<Image, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = files
            .iter()
            .map(|&(name, _)| scope.spawn(move || images.get(name, architectures, act)))
            .collect();
        threads
            .into_iter()
            .map(|t| {
                t.join()
                    .unwrap_or_else(|_| Err("a compiler's thread died".to_owned()))
            })
            .collect()
    });
    let mut functions = HashMap::new();
    for ((name, text), image) in files.into_iter().zip(made) {
        let image = image?;
        // SAFETY: images are whole: compiled now, or the bytes that were written. The module is kept to the end of the
        // process, so its functions stay.
        let load = |image: &Image| {
            unsafe { result::module::load_data(image.bytes.as_ptr().cast()) }.map_err(|e| {
                let (from, why, driver) = (&image.from, words(e), driver_words());
                format!("kernels that the driver does not load: {from}: {why} ({driver})")
            })
        };
        // An image that the driver refuses (another compiler's, say) is made anew, once.
        let module = load(&image).or_else(|refused| {
            let anew = images.compile(name, architectures[0], act);
            load(&anew.map_err(|_| refused)?)
        })?;
        let at = |e: DriverError| format!("{name}.cu for {}: {}", architectures[0], words(e));
        for kernel in sources::kernels(text) {
            let c_name = CString::new(kernel.name).map_err(|e| e.to_string())?;
            // SAFETY: the module was just loaded.
            let function = unsafe { result::module::get_function(module, c_name) }.map_err(at)?;
            functions.insert(kernel.name, function);
        }
    }
    Ok(functions)
}

impl Driver for Card {
    type Memory = CardMemory;
    type Coming = CardComing;
    type Graph = CardGraph;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn alloc(&self, bytes: usize) -> Result<CardMemory, BackendError> {
        self.current()?;
        // SAFETY: the memory is owned by what is returned, and cleared before anything else can be queued on it.
        unsafe {
            // Any call may report the fault of a kernel queued before; only one code says that memory is short.
            let address = result::malloc_sync(bytes).map_err(|e| match e.0 {
                sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => BackendError::OutOfMemory {
                    device: self.name.clone(),
                    what: "a buffer".to_owned(),
                    bytes,
                },
                _ => self.fail("an allocation", e),
            })?;
            lock(&self.held).add(bytes);
            let memory = CardMemory {
                address,
                bytes,
                held: self.held.clone(),
                context: self.context,
            };
            result::memset_d8_async(address, 0, bytes, self.stream)
                .map_err(|e| self.fail("clearing memory", e))?;
            Ok(memory)
        }
    }

    fn address(&self, memory: &CardMemory) -> u64 {
        memory.address
    }

    fn peak_memory(&self) -> u64 {
        lock(&self.held).most + products::WORKSPACE as u64
    }

    fn workspace(&self) -> usize {
        products::WORKSPACE
    }

    fn upload(&self, to: u64, from: &[u8]) -> Result<(), BackendError> {
        self.current()?;
        if from.is_empty() {
            return Ok(());
        }
        let told = |e| self.fail("an upload", e);
        let Some(mut piece) = self.pinned.lend(from.len()).map_err(told)? else {
            // SAFETY: the typed views say that the target is that long; the driver promises for no pageable memory when
            // it has read it, so the stream is waited for before `from` may go.
            unsafe { result::memcpy_htod_async(to, from, self.stream) }.map_err(told)?;
            return self.sync();
        };
        let staged = piece.bytes(from.len());
        staged.copy_from_slice(from);
        // SAFETY: the typed views say that the target is that long; the piece is not lent again before its event, which
        // is recorded behind the copy.
        let queued = unsafe { result::memcpy_htod_async(to, staged, self.stream) };
        let queued = queued.and_then(|()| piece.used(self.stream));
        self.pinned.back(piece);
        queued.map_err(told)
    }

    fn download(&self, from: u64, to: &mut [u8]) -> Result<(), BackendError> {
        self.current()?;
        if to.is_empty() {
            return Ok(());
        }
        // SAFETY: the typed views say that the source is that long; the stream is waited for before `to` is read.
        unsafe {
            result::memcpy_dtoh_async(to, from, self.stream)
                .map_err(|e| self.fail("a download", e))?;
        }
        self.sync()
    }

    fn fetch(&self, from: u64, bytes: usize) -> Result<CardComing, BackendError> {
        self.current()?;
        let told = |e| self.fail("a download", e);
        let Some(mut piece) = self.pinned.lend(bytes).map_err(told)? else {
            let mut here = vec![0; bytes];
            self.download(from, &mut here)?;
            return Ok(CardComing::Here(here));
        };
        if bytes > 0 {
            // SAFETY: the typed views say that the source is that long; the piece is read after its event, which is
            // recorded behind the copy.
            unsafe { result::memcpy_dtoh_async(piece.bytes(bytes), from, self.stream) }
                .map_err(told)?;
        }
        piece.used(self.stream).map_err(told)?;
        Ok(CardComing::Pinned(piece))
    }

    fn arrived(&self, coming: CardComing, to: &mut [u8]) -> Result<(), BackendError> {
        self.current()?;
        match coming {
            CardComing::Here(bytes) => to.copy_from_slice(&bytes),
            CardComing::Pinned(mut piece) => {
                piece.wait().map_err(|e| self.fail("a download", e))?;
                to.copy_from_slice(piece.bytes(to.len()));
                self.pinned.back(piece);
            }
        }
        Ok(())
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), BackendError> {
        self.current()?;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the typed views say that both are that long.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream) }
            .map_err(|e| self.fail("a copy", e))
    }

    fn clear(&self, to: u64, bytes: usize) -> Result<(), BackendError> {
        self.current()?;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the typed views say that the target is that long.
        unsafe { result::memset_d8_async(to, 0, bytes, self.stream) }
            .map_err(|e| self.fail("clearing", e))
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), BackendError> {
        self.current()?;
        let function = match self.functions.get(launch.kernel) {
            Some(&function) if launch.act == self.act => function,
            _ => {
                return Err(BackendError::Device {
                    device: self.name.clone(),
                    reason: format!("no kernel {} in {}", launch.kernel, launch.act.name()),
                });
            }
        };
        let (mut words, mut pointers) = ([0u64; ARGUMENTS], [std::ptr::null_mut(); ARGUMENTS]);
        assert!(launch.args.len() <= ARGUMENTS, "{}", launch.kernel);
        for ((word, pointer), arg) in words.iter_mut().zip(&mut pointers).zip(launch.args) {
            *word = arg.word();
            *pointer = std::ptr::from_mut(word).cast::<c_void>();
        }
        let [x, y, z] = launch.grid;
        let [tx, ty] = launch.block;
        // SAFETY: the arguments are of the kernel's own types, in its order (the emulator compares every launch with
        // the kernel's declaration, letter by letter), and are read before this returns; the typed launchers hold
        // views of what they point to.
        unsafe {
            result::launch_kernel(
                function,
                (x, y, z),
                (tx, ty, 1),
                0,
                self.stream,
                &mut pointers[..launch.args.len()],
            )
        }
        .map_err(|e| self.fail(launch.kernel, e))
    }

    fn product(&self, product: &Product) -> Result<(), BackendError> {
        self.current()?;
        let done = self.products.queue(product);
        done.map_err(|reason| BackendError::Device {
            device: self.name.clone(),
            reason,
        })
    }

    fn capture(&self, tape: &Tape) -> Result<CardGraph, BackendError> {
        self.current()?;
        CardGraph::capture(
            self.stream,
            self.context,
            || tape.run(self),
            |e| self.fail("a graph (--no-graphs goes on without)", e),
        )
    }

    fn replay(&self, graph: &CardGraph) -> Result<(), BackendError> {
        self.current()?;
        graph
            .launch(self.stream)
            .map_err(|e| self.fail("a graph", e))
    }

    fn sync(&self) -> Result<(), BackendError> {
        self.current()?;
        // SAFETY: the stream lives as long as the card.
        unsafe { result::stream::synchronize(self.stream) }.map_err(|e| self.fail("the stream", e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kernel_has_more_arguments_than_a_launch_has_room_for() {
        for (file, text) in sources::FILES {
            for declared in text.split("__global__ void").skip(1) {
                let list = declared.split('{').next().unwrap_or("");
                let count = list.matches(',').count() + 1;
                assert!(count <= ARGUMENTS, "{file}: {count} in {list}");
            }
        }
    }

    #[test]
    fn without_a_driver_opening_says_what_is_missing() {
        let missing = missing();
        if missing.is_empty() {
            eprintln!("skipped: this machine has an NVIDIA driver");
            return;
        }
        let said = Card::open(0, Number::F32, Some(Path::new("nowhere"))).err();
        let said = said.map(|e| e.to_string()).unwrap_or_default();
        assert!(missing.iter().all(|m| said.contains(m)), "{said}");
        assert!(said.starts_with("cuda:0"), "{said}");
    }
}
