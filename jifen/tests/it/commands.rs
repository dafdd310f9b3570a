//! The operator's commands, run as a process beside a running mall.

mod audit;
mod checks;
mod credentials;
mod demo;
mod doctor;
mod maintenance;
mod migrate;
mod notices;
mod orders;
mod packages;
mod shell;
mod tariffs;
mod users;
