//! `/api/v2/api-keys`: a user's API keys with all they can have. Version 1's are in [`crate::mall::api_keys`].

pub(crate) mod body;
pub(crate) mod collection;
pub(crate) mod one;
pub(crate) mod rotate;
