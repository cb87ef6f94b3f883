//! Ids and digests as they are written.

use placet_core::digest::{ActionDigest, Sha256Digest, ShortCode};
use placet_core::entropy::Entropy;
use placet_core::id::{ExecutionId, PersonId, RequestId};
use placet_core::secret::Secret;
use placet_core::time::Timestamp;
use proptest::prelude::*;

struct Ones;

impl Entropy for Ones {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0xff);
    }
}

#[test]
fn ids_are_uuids_of_version_seven_and_sort_by_time() {
    let id = RequestId::new(Timestamp::from_millis(0x0123_4567_89ab), &Ones);
    assert_eq!(id.as_bytes()[..8], [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0x7f, 0xff]);
    assert_eq!(id.as_bytes()[8], 0xbf, "the variant of RFC 9562");
    let later = RequestId::new(Timestamp::from_millis(0x0123_4567_89ac), &Ones);
    assert!(id < later && id.to_string() < later.to_string());
}

#[test]
fn an_id_of_another_kind_is_refused() {
    let id = PersonId::from_bytes([1; 16]).to_string();
    assert!(RequestId::parse(&id).is_err());
    assert!(ExecutionId::parse(&id.replacen("per", "exe", 1)).is_ok());
}

proptest! {
    #[test]
    fn ids_are_read_back_and_sort_as_they_are_written(one in any::<[u8; 16]>(), other in any::<[u8; 16]>()) {
        let (one, other) = (RequestId::from_bytes(one), RequestId::from_bytes(other));
        prop_assert_eq!(RequestId::parse(&one.to_string()), Ok(one));
        prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
    }

    #[test]
    fn of_all_texts_only_the_written_one_is_an_id(text in "req_[0-9a-z]{26}") {
        if let Ok(id) = RequestId::parse(&text) {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn digests_are_read_back(bytes in any::<[u8; 32]>()) {
        let digest = Sha256Digest::from_bytes(bytes);
        prop_assert_eq!(Sha256Digest::parse(&digest.to_string()), Ok(digest));
    }

    #[test]
    fn short_codes_are_read_back(key in any::<[u8; 32]>(), id in any::<[u8; 16]>(), attempt in any::<u8>()) {
        let digest = ActionDigest::of_canonical("{}");
        let code = ShortCode::derive(&Secret::new(key), RequestId::from_bytes(id), digest, attempt);
        prop_assert_eq!(ShortCode::parse(code.as_str()), Ok(code.clone()));
        prop_assert_eq!(ShortCode::parse(&code.as_str().to_lowercase().replace('-', " ")), Ok(code));
    }

    #[test]
    fn times_are_read_back_in_their_order(one in 0..253_402_300_799_999i64, other in 0..253_402_300_799_999i64) {
        let (one, other) = (Timestamp::from_millis(one), Timestamp::from_millis(other));
        prop_assert_eq!(Timestamp::parse(&one.to_string()), Ok(one));
        prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
    }
}
