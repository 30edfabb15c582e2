//! Jobs spread over threads, with results handled on the caller's thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::halt::Halt;

/// Does `work` for each job on at most `threads` threads, in the order of the jobs, and passes each
/// result to `hear` on this thread as soon as it is ready. A thread takes its next job when its
/// last result has been taken, so there are never more waiting results than threads and one. Once
/// `halt` is set no job begins; results of jobs in flight are still passed on.
pub(crate) fn spread<J: Sync, T: Send>(
    jobs: &[J],
    threads: usize,
    halt: &Halt,
    work: impl Fn(&J) -> T + Sync,
    mut hear: impl FnMut(usize, T),
) {
    let next = AtomicUsize::new(0);
    // Without a buffer, sending waits until the result is taken.
    let (sender, receiver) = mpsc::sync_channel(0);
    thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                while !halt.is_set() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(number) else { break };
                    if sender.send((number, work(job))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        // The receiver is dropped here, so that a panic in `hear` ends the threads.
        let receiver = receiver;
        for (number, result) in &receiver {
            hear(number, result);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_done_once_and_heard_here() {
        let jobs: Vec<usize> = (0..100).collect();
        let mut heard = vec![0; jobs.len()];
        let here = thread::current().id();
        spread(
            &jobs,
            4,
            &Halt::default(),
            |job| job * 2,
            |number, result| {
                assert_eq!(thread::current().id(), here);
                assert_eq!(result, number * 2);
                heard[number] += 1;
            },
        );
        assert!(heard.iter().all(|&times| times == 1));
    }

    #[test]
    fn after_a_halt_only_jobs_in_flight_end() {
        let jobs = vec![(); 1000];
        let halt = Halt::default();
        let mut heard = 0;
        spread(
            &jobs,
            4,
            &halt,
            |()| (),
            |_, ()| {
                heard += 1;
                if heard == 10 {
                    halt.set();
                }
            },
        );
        assert!((10..=14).contains(&heard), "{heard}");
    }

    #[test]
    fn no_jobs_are_no_work() {
        spread(&[], 4, &Halt::default(), |()| (), |_, ()| unreachable!("there is nothing to hear"));
    }
}
