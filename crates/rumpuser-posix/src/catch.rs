//! Catching panics of kernel components, with their message and place, and without noise on standard error.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    sync::Once,
    thread,
};

thread_local! {
    /// How many calls of [`catch`] are on this thread's stack.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// The panic on its way to the innermost of them.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `body`; a panic in it is described as `message, at file:line:column`.
///
/// The process's panic hook is wrapped once: inside `catch` it records and stays silent, elsewhere it does what it did before.
/// Every system call of a kernel comes through here: what is needed only once, or only when something panics, stands apart.
///
/// # Errors
/// The description, if `body` panicked.
#[inline]
pub fn catch(body: &mut dyn FnMut()) -> Result<(), String> {
    if !HOOK.is_completed() {
        install_hook();
    }
    if thread::panicking() {
        return catch_meanwhile(body);
    }
    catch_now(body)
}

static HOOK: Once = Once::new();

#[cold]
fn install_hook() {
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !record(info) {
                previous(info);
            }
        }));
    });
}

/// A destructor catches while a panic is on its way through it: that one waits.
#[cold]
fn catch_meanwhile(body: &mut dyn FnMut()) -> Result<(), String> {
    let outer = CAUGHT.take();
    let result = catch_now(body);
    CAUGHT.set(outer);
    result
}

#[inline]
fn catch_now(body: &mut dyn FnMut()) -> Result<(), String> {
    DEPTH.set(DEPTH.get() + 1);
    // The state that `body` may have left half changed is the caller's concern: it takes the component out of service.
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    DEPTH.set(DEPTH.get() - 1);
    match result {
        Ok(()) => Ok(()),
        Err(payload) => Err(caught(payload)),
    }
}

#[cold]
fn caught(_payload: Box<dyn Any + Send>) -> String {
    // None only if somebody replaced the hook after us.
    CAUGHT.take().unwrap_or_else(|| "panic".into())
}

/// Whether a panic is on its way to the innermost [`catch`] of this thread.
#[must_use]
pub fn unwinding() -> bool {
    thread::panicking() && CAUGHT.with_borrow(Option::is_some)
}

/// Notes the panic for [`catch`]. `false` if the thread is not inside it, or if a panic is noted already: then this is a panic in a
/// destructor that runs because of the first, the process is about to abort, and the user has to see why.
fn record(info: &PanicHookInfo<'_>) -> bool {
    if DEPTH.with(Cell::get) == 0 {
        return false;
    }
    CAUGHT.with(|caught| {
        let mut caught = caught.borrow_mut();
        if let Some(first) = &*caught {
            eprintln!("panic while unwinding from: {first}");
            return false;
        }
        let message = info.payload_as_str().unwrap_or("panic");
        *caught = Some(match info.location() {
            Some(place) => format!("{message}, at {place}"),
            None => message.into(),
        });
        true
    })
}

#[cfg(test)]
mod tests {
    use super::{catch, unwinding};

    #[test]
    fn message_and_place_are_reported() {
        let line = line!() + 1;
        let error = catch(&mut || panic!("block {} is mad", 7)).unwrap_err();
        let place = format!("block 7 is mad, at {}:{line}:", file!());
        assert!(error.starts_with(&place), "{error}");
    }

    #[test]
    fn what_does_not_panic_is_ok() {
        let mut ran = 0;
        assert_eq!(catch(&mut || ran += 1), Ok(()));
        assert_eq!(ran, 1);
    }

    #[test]
    fn inner_and_outer_panics_stay_apart() {
        let outer = catch(&mut || {
            let inner = catch(&mut || panic!("inner")).unwrap_err();
            assert!(inner.starts_with("inner, at "), "{inner}");
            panic!("outer");
        });
        assert!(outer.unwrap_err().starts_with("outer, at "));
    }

    /// Says when it is dropped whether a panic is on its way, and makes a call of its own.
    struct Witness<'a>(&'a std::cell::Cell<Option<(bool, bool)>>);

    impl Drop for Witness<'_> {
        fn drop(&mut self) {
            let outside = unwinding();
            let mut inside = true;
            assert_eq!(catch(&mut || inside = unwinding()), Ok(()));
            let inner = catch(&mut || panic!("inner")).unwrap_err();
            assert!(inner.starts_with("inner, at "), "{inner}");
            self.0.set(Some((outside, inside)));
        }
    }

    #[test]
    fn destructors_know_whether_a_panic_is_on_its_way_through_them() {
        let seen = std::cell::Cell::new(None);
        let outer = catch(&mut || {
            let _witness = Witness(&seen);
            panic!("outer");
        });
        assert!(outer.unwrap_err().starts_with("outer, at "));
        assert_eq!(seen.take(), Some((true, false)));
        drop(Witness(&seen));
        assert_eq!(seen.take(), Some((false, false)));
    }

    #[test]
    fn each_thread_sees_its_own() {
        std::thread::scope(|scope| {
            for number in 0..8 {
                scope.spawn(move || {
                    for _ in 0..50 {
                        let error = catch(&mut || panic!("thread {number}")).unwrap_err();
                        assert!(
                            error.starts_with(&format!("thread {number}, at ")),
                            "{error}"
                        );
                    }
                });
            }
        });
    }
}
