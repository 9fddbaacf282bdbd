//! What the nodes say in their logs, as lines of the trace.

use std::cell::Cell;
use std::fmt::{Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, Subscriber};
use tracing::{Event, Level, Metadata};

use crate::core_sim::trace::Trace;

thread_local! {
    /// The time of the world, and the machine that has its turn.
    static TURN: Cell<(u64, usize)> = const { Cell::new((0, usize::MAX)) };
}

/// Notes who speaks from now on.
pub fn turn_of(now_us: u64, machine: usize) {
    TURN.set((now_us, machine));
}

/// The time of the world in the turn that runs.
pub fn now_us() -> u64 {
    TURN.get().0
}

/// Runs `life` with the nodes' logs in `trace`, if anybody listens to that.
pub fn listen<T>(trace: &Trace, life: impl FnOnce() -> T) -> T {
    if !trace.is_aloud() {
        return life();
    }
    // A trace stays on its thread; so does this subscriber, which is the default of this thread alone.
    LISTENER.with_borrow_mut(|listener| *listener = trace.clone());
    tracing::subscriber::with_default(Listener, life)
}

thread_local! {
    static LISTENER: std::cell::RefCell<Trace> = std::cell::RefCell::new(Trace::silent());
}

struct Listener;

#[derive(Default)]
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        written.expect("a string takes everything");
    }
}

impl Subscriber for Listener {
    fn register_callsite(&self, _metadata: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words::default();
        event.record(&mut words);
        let (now_us, machine) = TURN.get();
        let level = event.metadata().level();
        LISTENER.with_borrow(|trace| {
            trace.relay(|| format!("{:>10.6} machine {machine}: {level}{}", now_us as f64 / 1e6, words.0));
        });
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}
