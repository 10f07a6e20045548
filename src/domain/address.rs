//! Where goods go.

/// Most bytes of each part of an address: more than any postal service prints.
pub const PART_BYTES_MAX: usize = 200;

/// A country: two upper-case letters (ISO 3166-1 alpha-2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Parses two upper-case ASCII letters; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Some(Self([*a, *b])),
            _ => None,
        }
    }

    /// The two letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only `parse` makes one, so the bytes are ASCII.
        std::str::from_utf8(&self.0).unwrap_or("ZZ")
    }

    /// The two letters as bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 2] {
        self.0
    }
}

impl std::fmt::Debug for Country {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A postal address. What a person wrote: its `Debug` shows the country only.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Of whoever receives it.
    pub name: Box<str>,
    /// Street and number.
    pub line1: Box<str>,
    /// Whatever does not fit there.
    pub line2: Option<Box<str>>,
    /// Town.
    pub city: Box<str>,
    /// State, province or county.
    pub region: Option<Box<str>>,
    /// Postal code.
    pub postal_code: Box<str>,
    /// Country.
    pub country: Country,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Address({}, ..)", self.country.as_str())
    }
}
