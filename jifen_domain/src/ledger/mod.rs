//! The ledger of one account: lots of points with their own expiry, an append-only list of numbered entries, and holds.
//!
//! An [`Account`] is loaded, asked for movements, and written back with its [`Account::journal`], its
//! [`Account::changed_lots`] and its [`Account::changed_holds`]. Invariant, held by construction and checked after every load:
//! `balance = Σ entries = Σ remainders of the lots`, and `0 ≤ held ≤ balance`.
//!
//! Most charges are paid by one lot, the front: the first in the order of drawing that has something free. An account loaded
//! with its [`State`] alone knows its front and can make those charges; everything else needs its lots and open holds.

mod account;
mod entry;
mod hold;
mod lot;
mod refund;
mod spending;
mod state;

pub use account::Account;
pub use entry::{ChargeDetail, Draw, Entry, HeldUntil, Movement, Request, TariffUse};
pub use hold::{Capture, Captured, Hold, HoldState};
pub use lot::{Grant, Lot, LotSource};
pub use refund::{Refund, RefundSource};
pub use state::{Broken, Counts, Front, Refused, State};

/// Characters of a charge's title.
pub const TITLE_CHARS_MAX: usize = 128;
/// Characters of a charge's description.
pub const DESCRIPTION_CHARS_MAX: usize = 512;
/// Open holds of one account.
pub const OPEN_HOLDS_MAX: usize = 1_000;
