//! The kept answer of a request: a retry gets it again (I5).

/// What stands under [`super::keys::once`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Answered {
    /// The method that answered.
    #[prost(string, tag = "1")]
    pub(crate) method: String,
    /// Keyed digest of the request's content without challenge and signature: 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) body_mac: Vec<u8>,
    /// The outcome, without signatures and codes: those are made again.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) outcome: Vec<u8>,
}
