//! Buffers and their parts: addresses on the device with the borrow rules of slices.

use crate::driver::{Arg, Driver};
use hone_tensor::Element;
use std::marker::PhantomData;
use std::ops::Range;

/// Device memory of `len` elements.
pub struct Buf<D: Driver, T> {
    #[expect(
        dead_code,
        reason = "holds the allocation; its address stands beside it"
    )]
    pub(crate) memory: D::Memory,
    pub(crate) address: u64,
    pub(crate) len: usize,
    pub(crate) element: PhantomData<T>,
}

hone_tensor::brief_debug! { [D: Driver, T] Buf<D, T>, |b| len: b.len }

impl<D: Driver, T: Element> Buf<D, T> {
    /// The whole of it.
    pub(crate) fn view(&self) -> View<'_, T> {
        View::new(self.address, self.len)
    }

    /// The whole of it, exclusive.
    pub(crate) fn view_mut(&mut self) -> ViewMut<'_, T> {
        ViewMut::new(self.address, self.len)
    }

    /// Bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }
}

/// Elements on their way to the host.
pub struct Coming<D: Driver, T> {
    pub(crate) coming: D::Coming,
    pub(crate) len: usize,
    pub(crate) element: PhantomData<T>,
}

hone_tensor::brief_debug! { [D: Driver, T] Coming<D, T>, |c| len: c.len }

/// A shared part of a buffer.
pub struct View<'a, T> {
    pub(crate) address: u64,
    pub(crate) len: usize,
    borrow: PhantomData<&'a [T]>,
}

hone_tensor::brief_debug! { [T] View<'_, T>, |v| len: v.len }

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for View<'_, T> {}

/// An exclusive part of a buffer.
pub struct ViewMut<'a, T> {
    pub(crate) address: u64,
    pub(crate) len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

hone_tensor::brief_debug! { [T] ViewMut<'_, T>, |v| len: v.len }

/// Letter of a pointer to such elements, as the kernels declare it.
fn letter<T: Element>() -> char {
    match T::NAME {
        "f32" => 'F',
        "bf16" => 'B',
        "f64" => 'D',
        "u32" | "i32" => 'U',
        "u64" => 'L',
        _ => 'C',
    }
}

/// No memory where a kernel takes some or none.
pub(crate) fn nothing<T: Element>() -> Arg {
    Arg::Pointer(0, letter::<T>())
}

fn part<T>(address: u64, len: usize, range: &Range<usize>) -> (u64, usize) {
    assert!(
        range.start <= range.end && range.end <= len,
        "{range:?} of {len} elements"
    );
    (
        address + (range.start * size_of::<T>()) as u64,
        range.end - range.start,
    )
}

impl<'a, T: Element> View<'a, T> {
    pub(crate) fn new(address: u64, len: usize) -> Self {
        View {
            address,
            len,
            borrow: PhantomData,
        }
    }

    pub(crate) fn part(self, range: Range<usize>) -> View<'a, T> {
        let (address, len) = part::<T>(self.address, self.len, &range);
        View::new(address, len)
    }

    pub(crate) fn arg(self) -> Arg {
        Arg::Pointer(self.address, letter::<T>())
    }
}

impl<'a, T: Element> ViewMut<'a, T> {
    pub(crate) fn new(address: u64, len: usize) -> Self {
        ViewMut {
            address,
            len,
            borrow: PhantomData,
        }
    }

    pub(crate) fn part(self, range: Range<usize>) -> ViewMut<'a, T> {
        let (address, len) = part::<T>(self.address, self.len, &range);
        ViewMut::new(address, len)
    }

    pub(crate) fn split(self, mid: usize) -> (ViewMut<'a, T>, ViewMut<'a, T>) {
        let (left, right) = (0..mid, mid..self.len);
        let (a, a_len) = part::<T>(self.address, self.len, &left);
        let (b, b_len) = part::<T>(self.address, self.len, &right);
        (ViewMut::new(a, a_len), ViewMut::new(b, b_len))
    }

    /// A second handle for the launches of one operation.
    pub(crate) fn again(&mut self) -> ViewMut<'_, T> {
        ViewMut::new(self.address, self.len)
    }

    pub(crate) fn shared(&self) -> View<'_, T> {
        View::new(self.address, self.len)
    }

    pub(crate) fn arg(&self) -> Arg {
        Arg::Pointer(self.address, letter::<T>())
    }
}
