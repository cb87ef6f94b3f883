//! What is sealed in rows: JSON with its own structs, versioned, and the conversions from and to core's types.
//!
//! Core's types have no serde on purpose: a field that is renamed there changes nothing that is stored. Every struct
//! here refuses members that it does not know, and [`decode`] refuses versions that it does not know.

mod decision;
mod directory;
mod request;

pub(crate) use self::request::Body;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use placet_core::action::{Grade, PepKind, Principal};
use placet_core::decision::RoleName;
use placet_core::digest::{ActionDigest, BundleDigest, Sha256Digest, ShortCode};
use placet_core::directory::GroupName;
use placet_core::id::{AgentId, Id, Kind, PersonId};
use placet_core::request::{Reporter, Status};
use placet_core::review::{Assurance, Verdict};
use placet_core::text::Untrusted;
use placet_core::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// A core type, and the shape in which it is stored.
pub(crate) trait Form: Sized {
    /// The stored shape.
    type Row: Serialize + DeserializeOwned;
    /// Into the stored shape.
    fn to_row(&self) -> Self::Row;
    /// Out of it, refusing what no version of us would have written.
    fn from_row(row: Self::Row) -> Result<Self, RowError>;
}

/// Stored JSON that this version cannot read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    #[error("it has version {0}, which this placet does not know")]
    Version(u32),
    #[error("it is not what this version writes: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it has a {0} that this version does not know")]
    Value(&'static str),
}

/// The version that [`encode`] writes.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Versioned<T> {
    v: u32,
    d: T,
}

/// The bytes to seal.
pub(crate) fn encode<T: Form>(value: &T) -> Result<Zeroizing<Vec<u8>>, RowError> {
    Ok(Zeroizing::new(serde_json::to_vec(&Versioned { v: VERSION, d: value.to_row() })?))
}

/// Reads what was sealed.
pub(crate) fn decode<T: Form>(bytes: &[u8]) -> Result<T, RowError> {
    // The version first: what a newer one wrote is not a damaged old one.
    let versioned: Versioned<&RawValue> = serde_json::from_slice(bytes)?;
    if versioned.v != VERSION {
        return Err(RowError::Version(versioned.v));
    }
    T::from_row(serde_json::from_str(versioned.d.get())?)
}

impl<T: Form> Form for Option<T> {
    type Row = Option<T::Row>;
    fn to_row(&self) -> Self::Row {
        self.as_ref().map(T::to_row)
    }
    fn from_row(row: Self::Row) -> Result<Self, RowError> {
        row.map(T::from_row).transpose()
    }
}

impl<T: Form> Form for Vec<T> {
    type Row = Vec<T::Row>;
    fn to_row(&self) -> Self::Row {
        self.iter().map(T::to_row).collect()
    }
    fn from_row(row: Self::Row) -> Result<Self, RowError> {
        row.into_iter().map(T::from_row).collect()
    }
}

impl<T: Form + Ord> Form for BTreeSet<T> {
    type Row = Vec<T::Row>;
    fn to_row(&self) -> Self::Row {
        self.iter().map(T::to_row).collect()
    }
    fn from_row(row: Self::Row) -> Result<Self, RowError> {
        row.into_iter().map(T::from_row).collect()
    }
}

impl<K: Form<Row = String> + Ord, V: Form> Form for BTreeMap<K, V> {
    type Row = BTreeMap<String, V::Row>;
    fn to_row(&self) -> Self::Row {
        self.iter().map(|(key, value)| (key.to_row(), value.to_row())).collect()
    }
    fn from_row(row: Self::Row) -> Result<Self, RowError> {
        row.into_iter().map(|(key, value)| Ok((K::from_row(key)?, V::from_row(value)?))).collect()
    }
}

/// Types that are stored as one text.
macro_rules! texts {
    ($($kind:ty: $name:literal, $write:expr, $read:expr;)*) => {$(
        impl Form for $kind {
            type Row = String;
            fn to_row(&self) -> String {
                let write: fn(&$kind) -> String = $write;
                write(self)
            }
            fn from_row(row: String) -> Result<Self, RowError> {
                let read: fn(&str) -> Option<$kind> = $read;
                read(&row).ok_or(RowError::Value($name))
            }
        }
    )*};
}

// Thirteen times the same impl: the table reads better.
texts! {
    String: "text", String::clone, |text| Some(text.to_owned());
    Untrusted: "text", |text| text.as_raw().to_owned(), |text| Some(Untrusted::new(text));
    Sha256Digest: "digest", ToString::to_string, |text| Sha256Digest::parse(text).ok();
    ActionDigest: "action digest", ToString::to_string, |text| ActionDigest::parse(text).ok();
    BundleDigest: "bundle digest", ToString::to_string, |text| BundleDigest::parse(text).ok();
    ShortCode: "short code", ToString::to_string, |text| ShortCode::parse(text).ok();
    RoleName: "role", ToString::to_string, |text| RoleName::parse(text).ok();
    GroupName: "group", |group| group.as_str().to_owned(), |text| GroupName::parse(text).ok();
    Grade: "grade", |grade| grade.as_str().to_owned(), Grade::parse;
    PepKind: "pep", |pep| pep.as_str().to_owned(), PepKind::parse;
    Assurance: "assurance", |level| level.as_str().to_owned(), Assurance::parse;
    Verdict: "verdict", |verdict| verdict.as_str().to_owned(), Verdict::parse;
    Status: "status", |status| status.as_str().to_owned(), Status::parse;
    Reporter: "reporter", |reporter| reporter.as_str().to_owned(), |text| {
        [Reporter::Placet, Reporter::Agent, Reporter::Nobody].into_iter().find(|reporter| reporter.as_str() == text)
    };
    Principal: "principal", |principal| format!("{}:{principal}", principal.kind()), |text| {
        let (kind, id) = text.split_once(':')?;
        match kind {
            "agent" => AgentId::parse(id).ok().map(Principal::Agent),
            "pipeline" => AgentId::parse(id).ok().map(Principal::Pipeline),
            "person" => PersonId::parse(id).ok().map(Principal::Person),
            _ => None,
        }
    };
}

impl<K: Kind> Form for Id<K> {
    type Row = String;
    fn to_row(&self) -> String {
        self.to_string()
    }
    fn from_row(row: String) -> Result<Self, RowError> {
        Id::parse(&row).map_err(|_| RowError::Value("id"))
    }
}

impl Form for Timestamp {
    type Row = i64;
    fn to_row(&self) -> i64 {
        self.as_millis()
    }
    fn from_row(row: i64) -> Result<Self, RowError> {
        let time = Timestamp::from_millis(row);
        if time.as_millis() == row { Ok(time) } else { Err(RowError::Value("time")) }
    }
}

/// In milliseconds, the resolution of policy's durations.
impl Form for Duration {
    type Row = u64;
    fn to_row(&self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
    fn from_row(row: u64) -> Result<Self, RowError> {
        Ok(Duration::from_millis(row))
    }
}

impl Form for i64 {
    type Row = i64;
    fn to_row(&self) -> i64 {
        *self
    }
    fn from_row(row: i64) -> Result<Self, RowError> {
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_version_is_named_and_an_unknown_member_refused() {
        let encoded = encode(&Duration::from_secs(1)).unwrap();
        assert_eq!(encoded.as_slice(), br#"{"v":1,"d":1000}"#);
        assert_eq!(decode::<Duration>(&encoded).unwrap(), Duration::from_secs(1));
        assert!(matches!(decode::<Duration>(br#"{"v":2,"d":{"new":1}}"#), Err(RowError::Version(2))));
        assert!(matches!(decode::<Duration>(br#"{"v":1,"d":1,"x":1}"#), Err(RowError::Json(_))));
        assert!(matches!(decode::<Timestamp>(br#"{"v":1,"d":-1}"#), Err(RowError::Value("time"))));
    }

    #[test]
    fn a_principal_keeps_its_kind() {
        let agent = AgentId::from_bytes([7; 16]);
        for principal in [
            Principal::Agent(agent),
            Principal::Pipeline(agent),
            Principal::Person(PersonId::from_bytes([8; 16])),
        ] {
            assert_eq!(Principal::from_row(principal.to_row()).unwrap(), principal);
        }
        for other in
            ["agent", "robot:agt_00000000000000000000000000", "person:agt_00000000000000000000000000"]
        {
            assert!(Principal::from_row(other.to_owned()).is_err(), "{other}");
        }
    }
}
