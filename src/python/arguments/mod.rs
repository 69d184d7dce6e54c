//! Conversion of arguments.

mod advice;
pub mod named;
mod reading;
mod service;

pub use advice::Shape;
pub use reading::{Argument, Refusal};
pub use service::{
    ActionId, Callback, CommandIndex, CommandsArgument, MachineArgument, Top, parse_on_busy,
    read_items,
};
