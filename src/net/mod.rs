//! Calls to other people's servers over HTTP/1.1: one client, with everything bounded. No redirects, no proxies, no
//! cookies.

mod client;
mod endpoint;
#[cfg(test)]
mod tests;
mod trust;

pub use self::{
    client::{Answer, Client, Limits, NoAnswer},
    endpoint::{Endpoint, WrongUrl},
    trust::{NoAuthorities, Trust},
};
