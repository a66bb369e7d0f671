//! What backends on the host have in common.

/// The memory of a [`Backend`](crate::Backend) whose buffers are the host's and become slices: everything but `alloc`,
/// inside its `impl`. What is asked of it is done before it returns.
#[macro_export]
macro_rules! host_memory {
    () => {
        fn len<T: ::hone_tensor::Element>(&self, buf: &Self::Buf<T>) -> usize {
            buf.len()
        }

        fn view_len<T: ::hone_tensor::Element>(&self, view: &[T]) -> usize {
            view.len()
        }

        fn view<'a, T: ::hone_tensor::Element>(&self, buf: &'a Self::Buf<T>) -> &'a [T] {
            buf
        }

        fn all_mut<'a, T: ::hone_tensor::Element>(&self, buf: &'a mut Self::Buf<T>) -> &'a mut [T] {
            buf
        }

        fn slice<'a, T: ::hone_tensor::Element>(
            &self,
            view: Self::View<'a, T>,
            range: ::std::ops::Range<usize>,
        ) -> Self::View<'a, T> {
            &view[range]
        }

        fn slice_mut<'a, T: ::hone_tensor::Element>(
            &self,
            view: Self::ViewMut<'a, T>,
            range: ::std::ops::Range<usize>,
        ) -> Self::ViewMut<'a, T> {
            &mut view[range]
        }

        fn split_mut<'a, T: ::hone_tensor::Element>(
            &self,
            view: Self::ViewMut<'a, T>,
            mid: usize,
        ) -> (Self::ViewMut<'a, T>, Self::ViewMut<'a, T>) {
            view.split_at_mut(mid)
        }

        fn upload<T: ::hone_tensor::Element>(
            &self,
            to: &mut [T],
            from: &[T],
        ) -> Result<(), $crate::BackendError> {
            to.copy_from_slice(from);
            Ok(())
        }

        fn download<T: ::hone_tensor::Element>(
            &self,
            from: &[T],
            to: &mut [T],
        ) -> Result<(), $crate::BackendError> {
            to.copy_from_slice(from);
            Ok(())
        }

        fn fetch<T: ::hone_tensor::Element>(
            &self,
            from: &[T],
        ) -> Result<Vec<T>, $crate::BackendError> {
            Ok(from.to_vec())
        }

        fn arrived<T: ::hone_tensor::Element>(
            &self,
            coming: Vec<T>,
        ) -> Result<Vec<T>, $crate::BackendError> {
            Ok(coming)
        }

        fn sync(&self) -> Result<(), $crate::BackendError> {
            Ok(())
        }

        fn fill<T: ::hone_tensor::Element>(&self, value: T, y: &mut [T]) {
            y.fill(value);
        }

        fn copy<T: ::hone_tensor::Element>(&self, x: &[T], y: &mut [T]) {
            y.copy_from_slice(x);
        }
    };
}
