//! Addresses of either family, in one form that programs compare word by word.
//!
//! Entry point: [`Address`].

/// An IPv6 address, or an IPv4 address in IPv6-mapped form, as four words in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address {
    /// The 16 octets, four to a word, each word as it lies in memory.
    pub words: [u32; 4],
}

/// The third word of an IPv6-mapped IPv4 address.
pub const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl Address {
    /// An IPv4 address whose octets lie in memory as those of `word`.
    #[inline(always)]
    pub const fn v4(word: u32) -> Self {
        Self { words: [0, 0, MAPPED, word] }
    }

    /// The address with these octets, IPv4 in mapped form.
    pub const fn from_octets(o: [u8; 16]) -> Self {
        Self {
            words: [
                u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
                u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
                u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
                u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
            ],
        }
    }

    /// The octets, IPv4 in mapped form.
    pub const fn octets(self) -> [u8; 16] {
        let (a, b) = (self.words[0].to_ne_bytes(), self.words[1].to_ne_bytes());
        let (c, d) = (self.words[2].to_ne_bytes(), self.words[3].to_ne_bytes());
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
    }

    /// Whether this is an IPv4 address in mapped form.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED
    }

    /// Whether this is 127.0.0.0/8 or `::1`.
    #[inline(always)]
    pub const fn is_loopback(&self) -> bool {
        if self.is_v4() {
            self.words[3].to_ne_bytes()[0] == 127
        } else {
            self.words[0] == 0
                && self.words[1] == 0
                && self.words[2] == 0
                && self.words[3] == u32::from_ne_bytes([0, 0, 0, 1])
        }
    }

    /// Whether this is 0.0.0.0 or `::`, which connect(2) takes for loopback.
    #[inline(always)]
    pub const fn is_unspecified(&self) -> bool {
        self.words[0] == 0
            && self.words[1] == 0
            && (self.words[2] == 0 || self.words[2] == MAPPED)
            && self.words[3] == 0
    }

    /// Whether both are the same address; word by word, which the verifier follows.
    #[inline(always)]
    pub const fn same(&self, other: &Self) -> bool {
        self.words[0] == other.words[0]
            && self.words[1] == other.words[1]
            && self.words[2] == other.words[2]
            && self.words[3] == other.words[3]
    }
}
