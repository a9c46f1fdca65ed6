//! Closed vocabularies: an enum, its words and the list of all, from one table, so that none can miss a word.

/// Writes an enum with `ALL`, `WORDS`, `as_str`, `parse` and `Display`.
macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$item_doc])* $item,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$item,)*];

            /// All of them with their words.
            pub const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$item),)*];

            /// Its word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$item => $word,)* }
            }

            /// Reads back what [`Self::as_str`] gave.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|item| item.as_str() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use vocabulary;
