//! Threads for requests that may wait for the device.
//!
//! One thread that takes requests and answers most of them itself is woken where the last one was answered; were there several, the host would wake
//! them in turn, on other processors as a rule, at a quarter more of processor time for each request. So what may take long goes on to others.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{Builder, JoinHandle},
};

type Job = Box<dyn FnOnce() + Send>;

/// Threads that wait for work.
pub(crate) struct Pool {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts so many.
    ///
    /// # Errors
    /// The host has no room for threads.
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let (jobs, work) = channel::<Job>();
        let work = Arc::new(Mutex::new(work));
        let start = |number| {
            let work = work.clone();
            let thread = Builder::new().name(format!("p2k-{number}"));
            thread.spawn(move || attend(&work))
        };
        Ok(Self {
            jobs: Some(jobs),
            threads: (0..threads).map(start).collect::<io::Result<_>>()?,
        })
    }

    /// Has one of them do it.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(jobs) = &self.jobs {
            // They take work until `finish`. What is not taken is dropped, which answers a request with an error.
            let _ = jobs.send(Box::new(job));
        }
    }

    /// Ends them when all is done.
    pub(crate) fn finish(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A job that panicked has ended its thread, and has been told of.
            let _ = thread.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.finish();
    }
}

fn attend(work: &Mutex<Receiver<Job>>) {
    loop {
        let job = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else {
            return;
        };
        job();
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc::channel,
    };

    #[test]
    fn work_is_done_at_the_same_time_and_before_the_end() {
        let mut pool = Pool::start(2).unwrap();
        let (there, here) = channel();
        let (back, again) = channel::<()>();
        // The first waits for the second.
        pool.run(move || there.send(again.recv()).unwrap());
        pool.run(move || back.send(()).unwrap());
        assert_eq!(here.recv().unwrap(), Ok(()));
        let done = Arc::new(AtomicU32::new(0));
        for _ in 0..100 {
            let done = done.clone();
            pool.run(move || {
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        pool.finish();
        assert_eq!(done.load(Ordering::Relaxed), 100);
    }
}
