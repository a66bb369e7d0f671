//! `Debug` of types that hold more than anybody would read.

/// Implements `Debug` for a type: these expressions of it, by name, and `..` for the rest. No bound is put on its parameters.
///
/// ```
/// struct Arena<'a, T> {
///     name: &'a str,
///     numbers: Vec<T>,
/// }
///
/// hone_tensor::brief_debug! { ['a, T] Arena<'a, T>, |a| name: a.name, numbers: a.numbers.len() }
///
/// struct Opaque;
/// let arena = Arena { name: "weights", numbers: vec![Opaque, Opaque] };
/// assert_eq!(format!("{arena:?}"), r#"Arena { name: "weights", numbers: 2, .. }"#);
/// ```
#[macro_export]
macro_rules! brief_debug {
    ([$($generics:tt)*] $name:ident $(<$($argument:tt),*>)?, |$this:ident| $($field:ident: $value:expr),* $(,)?) => {
        impl<$($generics)*> ::std::fmt::Debug for $name $(<$($argument),*>)? {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let $this = self;
                let _ = $this;
                let mut said = f.debug_struct(stringify!($name));
                $(said.field(stringify!($field), &$value);)*
                said.finish_non_exhaustive()
            }
        }
    };
}
