//! The client against a scripted gateway.

#[cfg(test)]
mod bills;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod scripted;
