//! The macros that make a type a message, an element, or a choice of them.
//!
//! Invariant: what a macro makes follows `COD-1` to `COD-3`: fields in the order of their tags, one
//! spelling, nothing guessed.
//!
//! Not here: the traits (`fields`).

/// Makes types that are written as text fields: they need `as_str` and a strict `FromStr`.
#[macro_export]
macro_rules! proto_text {
    ($($type:ty),+ $(,)?) => {$(
        impl $crate::codec::fields::Element for $type {
            fn put(&self, tag: u32, out: &mut Vec<u8>) {
                $crate::codec::fields::put_bytes(tag, self.as_str().as_bytes(), out);
            }

            fn get(wire: $crate::codec::fields::Wire<'_>) -> Result<Self, $crate::Invalid> {
                $crate::codec::fields::text(wire)?.parse()
            }
        }
    )+};
}

/// Makes types that are written as 16 bytes: they need `as_bytes` and `from_slice`.
#[macro_export]
macro_rules! proto_id {
    ($($type:ty),+ $(,)?) => {$(
        impl $crate::codec::fields::Element for $type {
            fn put(&self, tag: u32, out: &mut Vec<u8>) {
                $crate::codec::fields::put_bytes(tag, self.as_bytes(), out);
            }

            fn get(wire: $crate::codec::fields::Wire<'_>) -> Result<Self, $crate::Invalid> {
                Self::from_slice($crate::codec::fields::bytes(wire)?)
            }
        }
    )+};
}

/// Makes closed vocabularies that are written by their numbers: they need `number` and
/// `from_number`.
#[macro_export]
macro_rules! proto_vocabulary {
    ($($type:ty),+ $(,)?) => {$(
        impl $crate::codec::fields::Element for $type {
            fn put(&self, tag: u32, out: &mut Vec<u8>) {
                $crate::codec::fields::put_number(tag, self.number().into(), out);
            }

            fn get(wire: $crate::codec::fields::Wire<'_>) -> Result<Self, $crate::Invalid> {
                Self::from_number($crate::codec::fields::number(wire)?)
            }
        }
    )+};
}

/// Makes a struct a message. `proto_message!(Name { 1 => field, 2 => other; derived })`: the fields
/// after the semicolon are not written, and are their type's default when read.
#[macro_export]
macro_rules! proto_message {
    ($type:ident { $($tag:literal => $field:tt),* $(; $($derived:ident),+)? $(,)? }) => {
        impl $crate::codec::fields::Message for $type {
            #[allow(unused_variables)]
            fn write(&self, out: &mut Vec<u8>) {
                $($crate::codec::fields::Field::write_field(&self.$field, $tag, out);)*
            }

            #[allow(unused_variables)]
            fn read(
                fields: &mut $crate::codec::fields::Fields<'_>,
            ) -> Result<Self, $crate::Invalid> {
                Ok(Self {
                    $($field: $crate::codec::fields::Field::read_field($tag, fields)
                        .map_err(|invalid| $crate::codec::fields::within(stringify!($field), invalid))?,)*
                    $($($derived: Default::default(),)+)?
                })
            }
        }

        $crate::proto_element!($type);
    };
}

/// Makes an enum a message of which exactly one field is there. Every variant holds one message or
/// one element: `proto_oneof!(Name { 1 => First, 2 => Second })`.
#[macro_export]
macro_rules! proto_oneof {
    ($type:ident { $($tag:literal => $variant:ident),+ $(,)? }) => {
        impl $crate::codec::fields::Message for $type {
            fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(value) => {
                        $crate::codec::fields::Element::put(value, $tag, out);
                    })+
                }
            }

            fn read(
                fields: &mut $crate::codec::fields::Fields<'_>,
            ) -> Result<Self, $crate::Invalid> {
                match fields.next_tag()? {
                    $($tag => {
                        $crate::codec::fields::present(fields.take($tag)?).map(Self::$variant)
                    })+
                    tag => Err($crate::Invalid::new(
                        stringify!($type),
                        format!("is of unknown kind {tag}: use a newer hivemem"),
                    )),
                }
            }
        }

        $crate::proto_element!($type);
    };
}

/// Makes a message usable as the value of a field.
#[macro_export]
macro_rules! proto_element {
    ($type:ty) => {
        impl $crate::codec::fields::Element for $type {
            fn put(&self, tag: u32, out: &mut Vec<u8>) {
                let mut inner = Vec::new();
                $crate::codec::fields::Message::write(self, &mut inner);
                $crate::codec::fields::put_bytes(tag, &inner, out);
            }

            fn get(wire: $crate::codec::fields::Wire<'_>) -> Result<Self, $crate::Invalid> {
                let mut fields =
                    $crate::codec::fields::Fields::new($crate::codec::fields::bytes(wire)?);
                let value = $crate::codec::fields::Message::read(&mut fields)?;
                fields.finish()?;
                Ok(value)
            }
        }
    };
}
