//! What an approval is: types and pure transitions
