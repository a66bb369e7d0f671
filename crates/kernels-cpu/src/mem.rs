//! Memory: zeroed, 64-byte aligned arrays; large ones lie on 2 MB pages where the system has them.

use hone_kernels::BackendError;
use hone_tensor::Element;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A cache line; also the widest vector.
const LINE: usize = 64;

/// From this size on, arrays get mappings of their own. Walking a matrix of 9 MB in 4 KB pages misses the
/// first-level TLB at every row; 2 MB pages end that.
#[cfg(target_os = "linux")]
const HUGE: usize = 2 << 20;

/// An owned array of plain numbers, all zero at first.
pub struct Buf<T> {
    data: NonNull<T>,
    len: usize,
    memory: Memory,
}

enum Memory {
    /// Nothing to give back.
    None,
    /// From the global allocator.
    Heap(Layout),
    /// A mapping: its start and length.
    #[cfg(target_os = "linux")]
    Mapped(*mut libc::c_void, usize),
}

// SAFETY: the array is owned and reached only through `&self` and `&mut self`.
unsafe impl<T: Send> Send for Buf<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Buf<T> {}

impl<T: Element> Buf<T> {
    /// `len` zeros; `what` names them should memory run out.
    pub fn zeroed(len: usize, what: &str) -> Result<Buf<T>, BackendError> {
        let refused = || BackendError::OutOfMemory {
            device: "cpu".to_owned(),
            what: what.to_owned(),
            bytes: len.saturating_mul(size_of::<T>()),
        };
        let bytes = len.checked_mul(size_of::<T>()).ok_or_else(refused)?;
        if bytes == 0 {
            return Ok(Buf {
                data: NonNull::dangling(),
                len,
                memory: Memory::None,
            });
        }
        #[cfg(target_os = "linux")]
        if bytes >= HUGE {
            return map(bytes, len).ok_or_else(refused);
        }
        let layout = Layout::from_size_align(bytes, LINE).map_err(|_| refused())?;
        // SAFETY: the size is not zero. All-zero bytes are a valid `T`, which is `Pod`.
        let start = unsafe { alloc_zeroed(layout) };
        Ok(Buf {
            data: NonNull::new(start.cast::<T>()).ok_or_else(refused)?,
            len,
            memory: Memory::Heap(layout),
        })
    }
}

/// A private mapping aligned to 2 MB, with huge pages asked for; `None` where the system refuses.
#[cfg(target_os = "linux")]
fn map<T>(bytes: usize, len: usize) -> Option<Buf<T>> {
    let whole = bytes.checked_add(HUGE)?;
    // SAFETY: a fresh anonymous mapping touches nothing that exists.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            whole,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return None;
    }
    let skip = base.align_offset(HUGE);
    // SAFETY: `skip` is below HUGE, so `skip + bytes` lies inside the mapping.
    let start = unsafe { base.cast::<u8>().add(skip) };
    // Advice only: where it is refused the pages are small and the numbers the same.
    // SAFETY: the range lies inside the mapping.
    unsafe { libc::madvise(start.cast(), bytes, libc::MADV_HUGEPAGE) };
    Some(Buf {
        data: NonNull::new(start.cast::<T>())?,
        len,
        memory: Memory::Mapped(base, whole),
    })
}

impl<T> Drop for Buf<T> {
    fn drop(&mut self) {
        match self.memory {
            Memory::None => {}
            // SAFETY: allocated with this layout.
            Memory::Heap(layout) => unsafe { dealloc(self.data.as_ptr().cast(), layout) },
            #[cfg(target_os = "linux")]
            // SAFETY: mapped with this start and length; nothing borrows it any more.
            Memory::Mapped(base, whole) => unsafe {
                libc::munmap(base, whole);
            },
        }
    }
}

impl<T> Deref for Buf<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `len` initialised elements (or a dangling pointer and zero bytes).
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Buf<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

hone_tensor::brief_debug! { [T] Buf<T>, |b| len: b.len }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroed_aligned_and_writable() {
        for len in [0, 1, 17, 1000, (2 << 20) / 4, (5 << 20) / 4 + 3] {
            let mut buf = Buf::<f32>::zeroed(len, "a test").unwrap();
            assert_eq!(buf.len(), len);
            assert!(buf.iter().all(|x| *x == 0.0));
            if len > 0 {
                assert_eq!(buf.as_ptr() as usize % LINE, 0);
                buf[len - 1] = 1.0;
                buf[0] = 2.0;
            }
        }
    }

    #[test]
    fn too_much_is_an_error() {
        for len in [usize::MAX / 8, 1 << 55] {
            let error = Buf::<f32>::zeroed(len, "a test").unwrap_err();
            assert!(error.to_string().contains("a test"), "{error}");
        }
    }
}
